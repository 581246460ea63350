"""Small spaces: every configuration is tried, and dropped trials resume."""

import csv

import numpy as np
import pytest
from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    Constant,
    EqualsCondition,
    Float,
    ForbiddenAndConjunction,
    ForbiddenEqualsClause,
    Integer,
)

from benchmarks.problems.base import made_of
from engine.callbacks import Callback
from engine.cli.settings import Settings
from optimizer import search
from search.enumeration import configurations
from search.space import Space
from search.trial import canonical
from tests.stubs import assert_same

pytestmark = pytest.mark.usefixtures("few_candidates")


class Additive:
    """The sum of all numbers; early epochs give the opposite."""

    def static_metrics(self, config):
        return {"size": sum(value for value in config.values() if not isinstance(value, str))}

    def evaluate(self, config, epochs, seed, state=None):
        total = self.static_metrics(config)["size"]
        return {"score": float(total if epochs == 4 else -total), "size": total}


def categories(count, choices):
    return Space(made_of(*(Categorical(f"x{i}", list(range(choices))) for i in range(count))))


def settings(**changes):
    usual = {"epochs": 4, "min_epochs": 2, "pop_size": 10, "workers": "0"}
    usual |= {"objective": "maximize score", "constraints": (), "max_generations": 400}
    return Settings(**usual | changes)


class Told(Callback):
    """Records the generations that it is told of."""

    def __init__(self):
        self.begun, self.complete = [], []

    def generation_begins(self, generation, brackets, children=()):
        self.begun.append(generation)

    def generation_complete(self, row, trials):
        self.complete.append(row["step"])


@pytest.mark.parametrize(("sampler", "most"), [("evolution", 5), ("guided", 3)])
def test_every_configuration_within_the_limits_is_trained_to_the_end(tmp_path, sampler, most):
    space, target = categories(5, 2), Additive()
    given = settings(sampler=sampler, constraints=(f"size <= {most}",))
    told = Told()
    result = search(space, target, given, tmp_path / "run", [told])
    assert result.reason == "space exhausted"
    rows = csv.DictReader((tmp_path / "run" / "population.csv").open())
    assert told.begun == told.complete == [int(row["step"]) for row in rows]
    within = [one for one in configurations(space) if target.static_metrics(one)["size"] <= most]
    assert len(within) == (32 if most == 5 else 26)
    assert {canonical(trial.config) for trial in result.trials} == set(map(canonical, within))
    full = {trial.trial for trial in result.trials if trial.epochs == 4}
    assert full == {trial.trial for trial in result.trials}, "what was dropped early went on"
    assert result.best.metrics["score"] == most
    again = search(space, target, given, tmp_path / "run")
    assert_same(tmp_path / "run", again.trials, result.trials)


def test_the_budget_bounds_what_goes_on():
    whole = search(categories(5, 2), Additive(), settings())
    limit = sum(trial.cost_epochs for trial in whole.trials) - 7
    result = search(categories(5, 2), Additive(), settings(max_total_epochs=limit))
    assert limit - 4 < sum(trial.cost_epochs for trial in result.trials) <= limit


def test_operators_that_find_nothing_new_do_not_end_a_search_in_a_large_space():
    """A converged population repeats earlier configurations: random samples take over."""
    space = categories(6, 5)
    result = search(space, Additive(), settings(max_generations=12, hyperband=False, pop_size=3))
    assert result.reason == "generation limit"
    assert len({trial.trial for trial in result.trials}) == len(result.trials) > 100
    assert "sample" in {trial.operator for trial in result.trials if trial.generation > 6}


def test_an_enumeration_has_each_legal_configuration_once():
    space = ConfigurationSpace()
    kind, other = Categorical("kind", ["a", "b"]), Categorical("other", [1, 2, 3])
    depth, fixed = Integer("depth", (2, 5)), Constant("fixed", "x")
    space.add(kind, other, depth, fixed)
    space.add(EqualsCondition(depth, kind, "b"))
    forbidden = ForbiddenEqualsClause(kind, "a"), ForbiddenEqualsClause(other, 3)
    space.add(ForbiddenAndConjunction(*forbidden))
    found = [canonical(one) for one in configurations(Space(space))]
    assert len(found) == len(set(found)) == 2 + 3 * 4
    rng = np.random.default_rng(0)
    assert {canonical(Space(space).sample(rng)) for _ in range(200)} == set(found)


def test_what_has_no_end_is_not_enumerated():
    endless = Space(made_of(Float("x", (0.0, 1.0))))
    assert configurations(endless) == configurations(categories(30, 5)) == ()
