"""The search algorithms: pure functions of recorded trials and derived generators.

This package uses no torch, clock or printing, and writes no files.
"""
