"""Evaluates configurations: candidates, results, intervals, tests."""
