"""Constrained problems on which a search costs no training, by name: see `literature`."""

from benchmarks.problems.base import Problem
from benchmarks.problems.literature import PROBLEMS
from utils import InputError, nearest


def by_name(name: str) -> Problem:
    """A problem. InputError for an unknown name."""
    if name not in PROBLEMS:
        known = ", ".join(PROBLEMS)
        raise InputError(f"there is no problem {name!r}, but {known}{nearest(name, PROBLEMS)}")
    return PROBLEMS[name]()
