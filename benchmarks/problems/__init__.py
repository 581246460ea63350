"""Constrained problems on which a search costs no training, by name: see `literature`."""
