"""The problems: their optima, their laws, and what their descriptions claim."""

import math

import numpy as np
import pytest

from benchmarks.problems import CLAIM, PROBLEMS, TUNE, by_name
from benchmarks.problems.base import least_cost, nearest_point, share
from search.constraints import Constraint
from utils import InputError, derive_rng

SAMPLES = 500
each_problem = pytest.mark.parametrize("name", [*TUNE, *CLAIM])
# Shares of random configurations: feasible, and within the limits known before training.
FEASIBLE = {"sliver": 0.012, "crossing": 0.14, "noisy": 0.055, "widths": 0.03, "nested": 0.52}
FEASIBLE |= {"valley": 0.017, "late": 0.03, "many": 0.036, "deceptive": 0.06, "network": 0.04}


@pytest.fixture(scope="module")
def drawn():
    """Problem -> (problem, random configurations), drawn once for all tests."""
    found = {}

    def draw(name):
        if name not in found:
            problem, rng = by_name(name), derive_rng("test", name)
            count = SAMPLES if name != "many" else SAMPLES // 2  # sixty draws each
            found[name] = problem, [problem.space.sample(rng) for _ in range(count)]
        return found[name]

    return draw


def best_of(problem):
    return {name: problem.best[name] for name in problem.space.names if name in problem.best}


def around(problem, config, rng):
    """Neighbours of a configuration: small steps in some hyperparameters, a new value in one."""
    for _ in range(300):
        values = dict(config)
        for name in values:
            one = problem.space.configspace[name]
            if isinstance(values[name], float) and rng.random() < 0.5:
                moved = values[name] + rng.normal() * (one.upper - one.lower) * 10 ** rng.uniform(
                    -4, -1
                )
                values[name] = float(min(max(moved, one.lower), one.upper))
        child = problem.space.complete(values, rng)
        if child is not None:
            yield child if rng.random() < 0.5 else problem.space.mutate(child, rng)


@each_problem
def test_the_optimum_is_feasible_and_reached(name):
    problem = by_name(name)
    best, warnings = problem.space.adopt(best_of(problem))
    assert not warnings
    assert problem.violation(best) < 1e-9  # where a limit binds, up to rounding
    value = problem.metrics(best, problem.epochs)[problem.ranking.metric]
    assert value == pytest.approx(problem.optimum, abs=1e-9)


@each_problem
def test_nothing_beats_the_optimum(name, drawn):
    problem, configs = drawn(name)
    near = around(problem, best_of(problem), derive_rng("near", name))
    regrets = [problem.regret(config) for config in [*configs, *near]]
    assert min(regrets) >= -1e-9
    # Random search is far from it: these are no problems that chance solves.
    assert min(regrets[: len(configs)]) > 0.01


@pytest.mark.slow
@each_problem
def test_nothing_beats_the_optimum_among_thousands(name):
    problem, rng = by_name(name), derive_rng("thousands", name)
    assert min(problem.regret(problem.space.sample(rng)) for _ in range(2000)) >= 0.01


@each_problem
def test_the_share_of_feasible_ones_is_as_said(name, drawn):
    problem, configs = drawn(name)
    found = np.mean([problem.violation(config) == 0 for config in configs])
    error = math.sqrt(FEASIBLE[name] / len(configs))
    assert abs(found - FEASIBLE[name]) < 4 * error


@each_problem
def test_an_evaluation_is_a_pure_function(name, drawn):
    problem, configs = drawn(name)
    other = by_name(name)  # nothing is kept from one to the next
    for config in configs[:20]:
        for epochs in (1, problem.epochs):
            one = problem.evaluate(config, epochs, 7)
            assert one == other.evaluate(config, epochs, 7) == problem.evaluate(config, epochs, 7)
            assert all(math.isfinite(value) for value in one.values())
            assert set(problem.static_metrics(config)) <= set(one)


@each_problem
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


@each_problem
def test_the_metrics_hold_what_the_limits_need(name):
    problem = by_name(name)
    default = problem.space.default()
    measured = problem.evaluate(default, problem.min_epochs, 0)
    wanted = {Constraint.parse(text).metric for text in problem.constraints}
    assert wanted | {problem.ranking.metric} <= set(measured)


def ranks(values):
    return np.argsort(np.argsort(values))


def correlation(problem, configs, metric, epochs):
    """Rank correlation of a metric after some epochs with itself at the end."""
    full = [problem.metrics(config, problem.epochs)[metric] for config in configs]
    early = [problem.metrics(config, epochs)[metric] for config in configs]
    return np.corrcoef(ranks(full), ranks(early))[0, 1]


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


@pytest.mark.parametrize("name", ["widths", "network"])
def test_costs_differ_a_hundredfold(name, drawn):
    problem, configs = drawn(name)
    macs = [problem.static_metrics(config)["macs"] for config in configs]
    low, high = np.percentile(macs, [5, 95])
    assert high / low > 100


def test_few_matter_in_many(drawn):
    problem, configs = drawn("many")
    assert len(problem.space.names) == 60
    effective = {"f3", "f11", "f17", "f29", "i4", "c2"}
    for one, other in zip(configs[:50], configs[50:100], strict=True):
        mixed = {name: (one if name in effective else other)[name] for name in one}
        assert problem.metrics(mixed, 9) == problem.metrics(one, 9)


def test_the_trap_of_deceptive_is_wide(drawn):
    problem, configs = drawn("deceptive")
    finals = [problem.metrics(config, problem.epochs)["top3"] for config in configs]
    assert len({round(value, 9) for value in finals}) < 40, "steps"
    good = [c for c, value in zip(configs, finals, strict=True) if value > 0.7]
    near = [max(abs(c[f"x{i}"] - problem.centre[i]) for i in range(3)) < 0.25 for c in good]
    assert 0 < sum(near) < len(good) / 3, "most of the good ones are in the trap"


def test_the_halves_are_apart_and_whole():
    assert len(TUNE) == 5 and len(CLAIM) == 5 and not TUNE.keys() & CLAIM.keys()
    assert all(kind.name == name for name, kind in PROBLEMS.items())
    with pytest.raises(InputError, match="did you mean sliver"):
        by_name("silver")


def test_least_cost_against_a_fine_grid():
    terms, centre, bound = ((0.5, 0.3), (0.4, 0.2)), (0.6, 0.4), 0.35
    x = np.linspace(-1, 2, 2001)
    a, b = np.meshgrid(x, x)
    cost = 0.3 * (a - centre[0]) ** 2 + 0.2 * (b - centre[1]) ** 2
    least = cost[0.5 * a + 0.4 * b <= bound].min()
    excess = 0.5 * 0.6 + 0.4 * 0.4 - bound
    assert least_cost(excess, *terms) == pytest.approx(least, rel=1e-2)
    first, second = nearest_point(excess, list(centre), *terms)
    assert 0.5 * first + 0.4 * second == pytest.approx(bound)


@pytest.mark.parametrize("speed", [0.5, 3, 30])
def test_a_curve_rises_to_one(speed):
    curve = [share(epochs, 50, speed) for epochs in range(51)]
    assert curve[0] == 0 and curve[-1] == pytest.approx(1)
    assert all(a < b for a, b in zip(curve, curve[1:], strict=False))
