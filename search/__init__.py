"""DECIDES: pure functions of recorded trials and derived generators.

No torch, clock, files or printing here.
"""
