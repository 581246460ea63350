"""Constrained problems with known optimum, on which a search costs no training.

Each is made of formulas:

    sliver      T  small feasible region, a corner far from the free optimum
    crossing    T  early ranks mislead
    noisy       T  seeds differ as much as good configurations do
    widths      T  cost differs a hundredfold, a limit on parameters binds
    nested      T  mixed and conditional, forbidden clause
    valley      C  small feasible region, curved; the objective leads away from it
    late        C  feasibility comes late, early violations mislead
    many        C  sixty hyperparameters, few matter
    deceptive   C  plateaus, and a wide basin beside the best one
    network     C  all at once, as in the search of networks

`literature` adds 23 problems of the literature, whose optimum is the best that is known.

T: whatever is tuned, is tuned on these (`TUNE`). C: claims are made on these (`CLAIM`), on which
nothing may be tuned. The halves were fixed before anything was tuned.
"""

from benchmarks.problems import literature
from benchmarks.problems.base import Problem
from benchmarks.problems.claim import Deceptive, Late, Many, Network, Valley
from benchmarks.problems.tune import Crossing, Nested, Noisy, Sliver, Widths
from utils import InputError, nearest

TUNE: dict[str, type[Problem]] = {
    kind.name: kind for kind in (Sliver, Crossing, Noisy, Widths, Nested)
}
CLAIM: dict[str, type[Problem]] = {
    kind.name: kind for kind in (Valley, Late, Many, Deceptive, Network)
}
PROBLEMS: dict[str, type[Problem]] = {**TUNE, **CLAIM, **literature.PROBLEMS}


def by_name(name: str) -> Problem:
    """A problem. InputError for an unknown name."""
    if name not in PROBLEMS:
        known = ", ".join(PROBLEMS)
        raise InputError(f"there is no problem {name!r}, but {known}{nearest(name, PROBLEMS)}")
    return PROBLEMS[name]()
