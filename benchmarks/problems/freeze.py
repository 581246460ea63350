"""Chooses the constraints and the optima of the problems of the literature, before any search.

    THIRD_PARTY_DIR=DIR python -m benchmarks.problems.freeze

The optimum is the best that is known: of all entries of a table; of a surrogate by evolution.
What literature.json has stays; given again, the command evolves from other samples, and keeps an
optimum that is better.
"""

import json
import operator
import sys
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
STARTS, SIZE, GENERATIONS = 6, 300, 60  # of evolution
BY_END = operator.itemgetter(0)  # of (`Problem.end`, configuration): the best first
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
    samples = (problem.space.sample(rng) for _ in range(SAMPLES))
    configs = list(configurations(problem.space) if isinstance(problem, Table) else samples)
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
        value, config = evolved(problem, config, rng)
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


def evolved(problem: Problem, known: Config, rng: np.random.Generator) -> tuple[float, Config]:
    """The best feasible value found, greater is better, and where it is; at least that known."""
    ends = [(problem.end(known), known), *(_evolution(problem, rng) for _ in range(STARTS))]
    (violation, value), config = min(ends, key=BY_END)
    assert violation == 0
    return -value, config


def _evolution(problem: Problem, rng: np.random.Generator) -> tuple[tuple[float, float], Config]:
    """The best of all in the end. Children are small steps or crossovers of tournament winners."""
    space = problem.space
    samples = (space.sample(rng) for _ in range(10 * SIZE))
    population = [(problem.end(one), one) for one in samples]
    for _ in range(GENERATIONS):
        population = sorted(population, key=BY_END)[:SIZE]
        for _ in range(SIZE):
            first, second = (population[min(rng.integers(SIZE, size=2))][1] for _ in range(2))
            step = rng.random() < 0.6
            child = space.perturb(first, rng) if step else space.recombine(first, second, rng)
            population.append((problem.end(child), child))
    return min(population, key=BY_END)


def main() -> int:
    """Freezes what is missing, family by family, in the order of a hash; then evolves."""
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
    """The best that is known, after evolution from other samples than those before."""
    rng, sign = derive_rng(problem.name, problem.optimum), problem.ranking.sign
    value, config = evolved(problem, problem.best, rng)
    print(problem.name, "optimum", problem.optimum, "->", sign * value, flush=True)
    return {"optimum": sign * value, "best": config}


if __name__ == "__main__":
    sys.exit(main())
