"""Who watches: console, live display, W&B."""
