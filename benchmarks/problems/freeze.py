"""Chooses the constraints and the optima of the problems of the literature, before any search.

    THIRD_PARTY_DIR=DIR python -m benchmarks.problems.freeze

The optimum is the best that is known: of all entries of a table; of samples of a surrogate and of
steps from the best of them. What literature.json has stays; given again, the command draws other
samples, and keeps an optimum that is better.
"""

import json
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks.problems.base import Config, Problem
from benchmarks.problems.literature import FAMILIES, FROZEN, PROBLEMS
from benchmarks.problems.tables import Table
from benchmarks.problems.yahpo import Surrogate, tasks
from search.constraints import Constraint
from search.enumeration import configurations
from utils import derive_rng, derive_seed, write_json

SHARES = (0.1, 0.01, 0.001)
SAMPLES = 20_000  # configurations of a surrogate, which has too many to try all
STARTS, STEPS = 40, 2_000  # steps from each of the best
TASKS = {
    "hpobench": ["australian", "blood_transfusion", "car", "credit_g", "phoneme", "vehicle"],
    "hpolib": ["naval_propulsion", "parkinsons_telemonitoring", "slice_localization"],
    "nasbench201": ["cifar10"],
}


def freeze(kind: type[Problem], share: float) -> dict[str, Any] | None:
    """The constraints of a problem and its optimum; None if the best of all keeps them."""
    kind.constraints = ()
    problem = kind()
    rng = derive_rng(problem.name)
    configs = list(
        configurations(problem.space) if isinstance(problem, Table) else _drawn(problem, rng)
    )
    found = [problem.metrics(config, problem.epochs) for config in configs]
    kind.constraints = _constraints(kind.limited, found, share)
    problem = kind()
    limits = problem.ranking.constraints
    feasible = np.array([all(c.residual(metrics) <= 0 for c in limits) for metrics in found])
    values = np.array([problem.ranking.sign * one[problem.ranking.metric] for one in found])
    if feasible[int(np.argmax(values))]:
        return None
    best = sorted(np.flatnonzero(feasible), key=lambda i: -values[i])[:STARTS]
    value, config = float(values[best[0]]), configs[best[0]]
    if isinstance(problem, Surrogate):
        value, config = _climbed(problem, [configs[i] for i in best], rng)
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
    problem: Problem, starts: list[Config], rng: np.random.Generator
) -> tuple[float, Config]:
    """The best value, greater is better, after steps from each of these, and where it is."""
    ends = []
    for config in starts:
        value = problem.value(config)
        for _ in range(STEPS):
            near = problem.space.perturb(config, rng)
            other = problem.value(near)
            if other > value and problem.violation(near) == 0:
                value, config = other, near
        ends.append((value, config))
    return max(ends, key=lambda end: end[0])


def _drawn(problem: Problem, rng: np.random.Generator) -> Iterator[Config]:
    return (problem.space.sample(rng) for _ in range(SAMPLES))


def main() -> int:
    """Freezes what is missing, family by family, in the order of a hash; then climbs on."""
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
    for name, kind in PROBLEMS.items():
        if issubclass(kind, Surrogate):
            family, task = name.split("-", 1)
            frozen[family][task] |= better(kind())
            write_json(FROZEN, frozen)
    return 0


def better(problem: Problem) -> dict[str, Any]:
    """The best that is known, after other samples and steps from them than those before."""
    rng, sign = derive_rng(problem.name, problem.optimum), problem.ranking.sign
    feasible = [one for one in _drawn(problem, rng) if problem.violation(one) == 0]
    starts = sorted(feasible, key=lambda one: -problem.value(one))[:STARTS]
    value, config = _climbed(problem, [*starts, problem.best], rng)
    print(problem.name, "optimum", problem.optimum, "->", sign * value, flush=True)
    return {"optimum": sign * value, "best": config}


if __name__ == "__main__":
    sys.exit(main())
