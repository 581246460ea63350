"""The run folder: journal, history, environment, resume."""
