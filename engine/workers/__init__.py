"""Who trains: dispatch, processes, clusters, devices."""
