"""Constrained problems of the literature; `PROBLEMS` are frozen in literature.json.

    THIRD_PARTY_DIR=DIR python -m benchmarks.problems.literature    # freezes what is not yet

Each has two constraints of our own, by the same quantile of all configurations: 10, 1 or 0.1 % are
feasible, and the best without constraints is not. The optimum is the best that is known. All this
was chosen before any search saw a problem. Whatever is tuned, is tuned on `TUNE`; `CLAIM` is for
claims. A hash divides the two.
"""

import itertools
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.problems.base import Config, Problem
from benchmarks.problems.tables import HPOBench, HPOLib, NASBench201, Table
from benchmarks.problems.yahpo import SVM, LCBench, Ranger, Surrogate, tasks
from search.constraints import Constraint
from utils import derive_rng, derive_seed, write_json

FROZEN = Path(__file__).resolve().parent / "literature.json"
SHARES = (0.1, 0.01, 0.001)
SAMPLES, STEPS = 20_000, 4_000  # configurations of a surrogate, which has too many to try all
# family -> (problem, how many data sets, those that are kept for checks by others)
FAMILIES: dict[str, tuple[type[Problem], int, tuple[str, ...]]] = {
    "lcbench": (LCBench, 10, ("126029", "168868", "189908")),
    "rbv2_svm": (SVM, 2, ()),
    "iaml_ranger": (Ranger, 2, ()),
    "hpobench": (HPOBench, 5, ("kc1", "segment")),
    "hpolib": (HPOLib, 3, ("protein_structure",)),
    "nasbench201": (NASBench201, 1, ("cifar100", "imagenet")),
}
TASKS = {
    "hpobench": ["australian", "blood_transfusion", "car", "credit_g", "phoneme", "vehicle"],
    "hpolib": ["naval_propulsion", "parkinsons_telemonitoring", "slice_localization"],
    "nasbench201": ["cifar10"],
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
    """Every second one of each family in turn, in the order of a hash."""
    by_family = itertools.groupby(names, key=lambda name: name.split("-")[0])
    ordered = [n for _, f in by_family for n in sorted(f, key=lambda n: derive_seed("half", n))]
    return sorted(ordered[first::2])


PROBLEMS = _problems()
TUNE, CLAIM = _half(list(PROBLEMS), 0), _half(list(PROBLEMS), 1)


def freeze(kind: type[Problem], share: float) -> dict[str, Any] | None:
    """The constraints of a problem and its optimum; None if the best of all keeps them."""
    kind.constraints = ()
    problem = kind()
    rng = derive_rng(problem.name)
    configs = list(_all(problem) if isinstance(problem, Table) else _drawn(problem, rng))
    found = [problem.metrics(config, problem.epochs) for config in configs]
    kind.constraints = _constraints(kind.limited, found, share)
    problem = kind()
    limits = problem.ranking.constraints
    feasible = np.array([all(c.residual(metrics) <= 0 for c in limits) for metrics in found])
    values = np.array([problem.ranking.sign * one[problem.ranking.metric] for one in found])
    if feasible[int(np.argmax(values))]:
        return None
    best = max(np.flatnonzero(feasible), key=lambda i: values[i])
    value, config = float(values[best]), configs[best]
    if isinstance(problem, Surrogate):
        value, config = _climbed(problem, value, config, rng)
    return {
        "constraints": list(kind.constraints),
        "feasible": round(float(feasible.mean()), 5),
        "optimum": problem.ranking.sign * value,
        "best": config,
    }


def _constraints(
    limited: tuple[str, str], found: list[dict[str, float]], share: float
) -> tuple[str, str]:
    """Both at the same quantile, so that the share of configurations is feasible."""
    names = [text.split() for text in limited]
    columns = [np.array([one[name] for one in found]) for name, _ in names]
    signs = [1 if sense == "<=" else -1 for _, sense in names]
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        bounds = [s * np.quantile(s * c, middle) for s, c in zip(signs, columns, strict=True)]
        within = np.ones(len(found), bool)
        for sign, column, bound in zip(signs, columns, bounds, strict=True):
            within &= sign * column <= sign * float(f"{bound:.4g}")
        low, high = (middle, high) if within.mean() < share else (low, middle)
    first, second = (f"{t} {b:.4g}" for t, b in zip(limited, bounds, strict=True))
    return str(Constraint.parse(first)), str(Constraint.parse(second))


def _climbed(
    problem: Problem, value: float, config: Config, rng: np.random.Generator
) -> tuple[float, Config]:
    """The best after steps from the best."""
    for _ in range(STEPS):
        near = problem.space.perturb(config, rng)
        metrics = problem.metrics(near, problem.epochs)
        other = problem.ranking.sign * metrics[problem.ranking.metric]
        if other > value and problem.violation(near) == 0:
            value, config = other, near
    return value, config


def _drawn(problem: Problem, rng: np.random.Generator) -> Iterator[Config]:
    return (problem.space.sample(rng) for _ in range(SAMPLES))


def _all(problem: Table) -> Iterator[Config]:
    for choice in itertools.product(*problem.values.values()):
        yield dict(zip(problem.values, choice, strict=True))


def main() -> int:
    """Freezes what is missing, family by family, in the order of a hash."""
    frozen = json.loads(FROZEN.read_text()) if FROZEN.is_file() else {}
    for family, (kind, count, kept) in FAMILIES.items():
        found = frozen.setdefault(family, {})
        known = TASKS.get(family) or tasks(kind)
        for task in sorted({*known} - {*kept, *found}, key=lambda t: derive_seed("task", t)):
            if len(found) == count:
                break
            name = f"{family}-{task}"
            one = type(name, (kind,), {"name": name, "task": task})
            facts = freeze(one, SHARES[len(found) % 3])
            print(name, facts and {k: v for k, v in facts.items() if k != "best"}, flush=True)
            if facts:
                found[task] = facts
                write_json(FROZEN, frozen)
    return 0


if __name__ == "__main__":
    sys.exit(main())
