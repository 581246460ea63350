"""The problems: their optima, their laws, and what their descriptions claim."""

import math

import numpy as np
import pytest

from benchmarks.problems import CONSTRUCTED, by_name
from search.constraints import Constraint
from utils import InputError, derive_rng

SAMPLES = 250
each_problem = pytest.mark.parametrize("name", CONSTRUCTED)
# Shares of random configurations that are feasible.
FEASIBLE = {"sliver": 0.012, "crossing": 0.14, "nested": 0.52, "late": 0.03, "deceptive": 0.06}


@pytest.fixture(scope="module")
def drawn():
    """Problem -> (problem, random configurations), drawn once for all tests."""
    found = {}

    def draw(name):
        if name not in found:
            problem, rng = by_name(name), derive_rng("test", name)
            found[name] = problem, [problem.space.sample(rng) for _ in range(SAMPLES)]
        return found[name]

    return draw


def best_of(problem):
    return {name: problem.best[name] for name in problem.space.names if name in problem.best}


def around(problem, config, rng):
    """Neighbours of a configuration: small steps in some hyperparameters, a new value in one."""
    for _ in range(80):
        values = dict(config)
        for name in values:
            one = problem.space.configspace[name]
            if isinstance(values[name], float) and rng.random() < 0.5:
                size = (one.upper - one.lower) * 10 ** rng.uniform(-4, -1)
                moved = values[name] + rng.normal() * size
                values[name] = float(min(max(moved, one.lower), one.upper))
        child = problem.space.complete(values, rng)
        if child is not None:
            yield child if rng.random() < 0.5 else problem.space.mutate(child, rng)


@each_problem
def test_the_optimum_is_feasible_and_reached_and_nothing_beats_it(name, drawn):
    problem, configs = drawn(name)
    best, warnings = problem.space.adopt(best_of(problem))
    assert not warnings
    assert problem.violation(best) < 1e-9  # where a limit binds, up to rounding
    value = problem.metrics(best, problem.epochs)[problem.ranking.metric]
    assert value == pytest.approx(problem.optimum, abs=1e-9)
    near = [problem.regret(one) for one in around(problem, best, derive_rng("near", name))]
    regrets = [problem.regret(config) for config in configs]
    assert min(*regrets, *near) >= -1e-9
    # Random search is far from it: these are no problems that chance solves.
    assert min(regrets) > 0.01
    feasible = sum(map(math.isfinite, regrets)) / len(configs)
    assert abs(feasible - FEASIBLE[name]) < 4 * math.sqrt(FEASIBLE[name] / len(configs))


@each_problem
def test_an_evaluation_is_a_pure_function(name, drawn):
    problem, configs = drawn(name)
    other = by_name(name)  # nothing is kept from one to the next
    wanted = {Constraint.parse(text).metric for text in problem.constraints}
    for config in configs[:10]:
        for epochs in (1, problem.epochs):
            one = problem.evaluate(config, epochs, 7)
            assert one == other.evaluate(config, epochs, 7) == problem.evaluate(config, epochs, 7)
            assert all(math.isfinite(value) for value in one.values())
            assert {*problem.static_metrics(config), *wanted, problem.ranking.metric} <= set(one)


@pytest.mark.parametrize("name", ["sliver", "crossing"])
def test_noise_is_of_the_stated_size_and_in_the_objective_only(name, drawn):
    problem, configs = drawn(name)
    metric, low, high = problem.ranking.metric, *problem.objective_range
    for config in configs:
        truth = problem.metrics(config, problem.epochs)
        if low + 0.2 < truth[metric] < high - 0.2:  # else it is cut at the range
            break
    measured = [problem.evaluate(config, problem.epochs, seed) for seed in range(300)]
    values = np.array([one[metric] for one in measured])
    assert np.std(values) == pytest.approx(problem.noise * math.hypot(1, 0.3), rel=0.2)
    assert np.mean(values) == pytest.approx(truth[metric], abs=4 * problem.noise / 17)
    for other in truth.keys() - {metric}:
        assert {one[other] for one in measured} == {truth[other]}


def correlation(problem, configs, metric, epochs):
    """Rank correlation of a metric after some epochs with itself at the end."""
    full = [problem.metrics(config, problem.epochs)[metric] for config in configs]
    early = [problem.metrics(config, epochs)[metric] for config in configs]
    ranks = [np.argsort(np.argsort(values)) for values in (full, early)]
    return np.corrcoef(*ranks)[0, 1]


def test_early_ranks_mislead_in_crossing(drawn):
    problem, configs = drawn("crossing")
    assert correlation(problem, configs, "top3", 3) < -0.3
    assert correlation(problem, configs, "top3", 25) < 0.6


def test_feasibility_comes_late_in_late(drawn):
    problem, configs = drawn("late")
    feasible = [config for config in configs if problem.violation(config) == 0]
    for config in feasible:
        assert problem.metrics(config, 25)["precision"] < 0.5
    assert correlation(problem, configs, "precision", 3) < 0.3
    # The feasible ones start below most others.
    early = [problem.metrics(config, 3)["precision"] for config in configs]
    late = [problem.metrics(config, 3)["precision"] for config in feasible]
    assert np.median(late) < np.median(early)


def test_the_trap_of_deceptive_is_wide(drawn):
    problem, configs = drawn("deceptive")
    finals = [problem.metrics(config, problem.epochs)["top3"] for config in configs]
    assert len({round(value, 9) for value in finals}) < 40, "steps"
    good = [c for c, value in zip(configs, finals, strict=True) if value > 0.7]
    near = [max(abs(c[f"x{i}"] - problem.centre[i]) for i in range(3)) < 0.25 for c in good]
    assert 0 < sum(near) < len(good) / 3, "most of the good ones are in the trap"


def test_an_unknown_problem_is_told():
    with pytest.raises(InputError, match="did you mean sliver"):
        by_name("silver")
