"""Workers: dispatch, processes, clusters, devices."""
