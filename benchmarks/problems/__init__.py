"""Constrained problems on which a search costs no training, by name.

`literature`: surrogates and tables of published trainings, on which methods are compared.
`constructed`: formulas with a known optimum, on which the tests try them.
"""

from benchmarks.problems import constructed, literature
from benchmarks.problems.base import Problem
from utils import InputError, nearest

CONSTRUCTED: dict[str, type[Problem]] = {
    kind.name: kind
    for kind in (
        constructed.Sliver,
        constructed.Crossing,
        constructed.Nested,
        constructed.Late,
        constructed.Deceptive,
    )
}
PROBLEMS: dict[str, type[Problem]] = {**CONSTRUCTED, **literature.PROBLEMS}


def by_name(name: str) -> Problem:
    """A problem. InputError for an unknown name."""
    if name not in PROBLEMS:
        known = ", ".join(PROBLEMS)
        raise InputError(f"there is no problem {name!r}, but {known}{nearest(name, PROBLEMS)}")
    return PROBLEMS[name]()
