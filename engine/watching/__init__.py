"""Output of a running search: console, live display, W&B."""
