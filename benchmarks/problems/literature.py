"""Constrained problems of the literature, frozen in literature.json before any search used them.

We add two constraints to each, at the same quantile of all configurations: 10, 1 or 0.1 % are
feasible, and the unconstrained optimum is not. The optimum is the best known: of all entries of a
table, or of a surrogate by evolution (docs/decisions/README.md names the commit). `TUNE` is for
tuning, `CLAIM` for claims; a hash divides the two.
"""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.problems.base import Problem
from benchmarks.problems.tables import HPOBench, HPOLib, NASBench201
from benchmarks.problems.yahpo import SVM, LCBench, Ranger
from utils import InputError, derive_seed, nearest

FROZEN = Path(__file__).resolve().parent / "literature.json"
# family -> (problem, data sets that are reserved for checks by others)
FAMILIES: dict[str, tuple[type[Problem], tuple[str, ...]]] = {
    "lcbench": (LCBench, ("126029", "168868", "189908")),
    "rbv2_svm": (SVM, ()),
    "iaml_ranger": (Ranger, ()),
    "hpobench": (HPOBench, ("kc1", "segment")),
    "hpolib": (HPOLib, ("protein_structure",)),
    "nasbench201": (NASBench201, ("cifar100", "imagenet")),
}


def _problems() -> dict[str, type[Problem]]:
    frozen = json.loads(FROZEN.read_text()) if FROZEN.is_file() else {}
    return {
        f"{family}-{task}": _made(family, task, facts)
        for family, found in frozen.items()
        for task, facts in found.items()
    }


def _made(family: str, task: str, facts: dict[str, Any]) -> type[Problem]:
    kind = FAMILIES[family][0]
    facts = {**facts, "constraints": tuple(facts["constraints"])}
    name = f"{family}-{task}"
    return type(name, (kind,), {"__doc__": f"{task}.", "name": name, "task": task, **facts})


def _half(names: list[str], first: int) -> list[str]:
    """Every second problem of each family, in the order of a hash."""
    by_family = itertools.groupby(names, key=lambda name: name.split("-")[0])
    ordered = [n for _, f in by_family for n in sorted(f, key=lambda n: derive_seed("half", n))]
    return sorted(ordered[first::2])


PROBLEMS = _problems()
TUNE, CLAIM = _half(list(PROBLEMS), 0), _half(list(PROBLEMS), 1)


def named(words: Sequence[str]) -> list[str]:
    """Names of problems; `tune` and `claim` name a half. InputError for an unknown one."""
    halves = {"tune": TUNE, "claim": CLAIM}
    names = [name for word in words for name in halves.get(word, [word])]
    for name in names:
        if name not in PROBLEMS:
            known = ", ".join(PROBLEMS)
            raise InputError(f"no problem {name!r}; allowed is {known}{nearest(name, PROBLEMS)}")
    return names
