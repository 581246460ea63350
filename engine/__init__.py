"""DOES: every side effect of a run (settings, files, time, signals). Knows nothing of torch."""
