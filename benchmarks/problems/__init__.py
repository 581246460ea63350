"""Constrained problems that need no training, by name: see `literature`."""
