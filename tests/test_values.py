"""Values of a hyperparameter: to the unit scale and back, and forbidden clauses."""

import itertools

import numpy as np
import pytest
from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    EqualsCondition,
    Float,
    ForbiddenAndConjunction,
    ForbiddenEqualsClause,
    ForbiddenGreaterThanEqualsClause,
    ForbiddenGreaterThanRelation,
    ForbiddenInClause,
    Integer,
    OrdinalHyperparameter,
)
from ConfigSpace.forbidden import ForbiddenOrConjunction

from search.space import Space
from search.values import Scale
from tests.stubs import rich_space

RICH = rich_space()


@pytest.mark.parametrize(
    "one",
    [
        Float("x", (-2.0, 5.0)),
        Float("x", (1e-7, 0.3), log=True),
        Integer("x", (-4, 4)),
        Integer("x", (3, 1000), log=True),
    ],
    ids=str,
)
def test_the_scale_of_numbers_is_that_of_configspace(one):
    scale = Scale(one)
    for position in (0.0, 0.1, 0.5, 0.77, 1.0):
        value = scale.value(position)
        assert one.legal_value(value)
        assert value == pytest.approx(one.to_value(position), abs=1 if scale.whole else 1e-9)
        assert scale.position(value) == pytest.approx(float(one.to_vector(value)), abs=1e-9)
    assert (scale.value(0.0), scale.value(1.0)) == (one.lower, one.upper)


def test_choices_stand_in_a_row():
    scale = RICH.scales["a_step"]
    assert [scale.position(value) for value in (1, 2, 4)] == [0.0, 0.5, 1.0]
    assert [scale.value(position) for position in (0.0, 0.3, 0.6, 1.0)] == [1, 2, 2, 4]
    assert not RICH.scales["z_kind"].ordered and "fixed" not in RICH.scales


def forbidding() -> Space:
    """Forbidden clauses of several kinds, also on hyperparameters that may be inactive."""
    space = ConfigurationSpace()
    kind, colour = Categorical("kind", ["a", "b"]), Categorical("colour", ["red", "green", "blue"])
    low, high = Integer("low", (0, 5)), Integer("high", (0, 5))
    order = OrdinalHyperparameter("order", [1, 2, 4])
    space.add(kind, colour, low, high, order, EqualsCondition(low, kind, "a"))
    space.add(EqualsCondition(order, kind, "a"), ForbiddenGreaterThanEqualsClause(order, 4))
    space.add(ForbiddenGreaterThanRelation(low, high))
    either = ForbiddenEqualsClause(low, 0), ForbiddenEqualsClause(high, 5)
    space.add(ForbiddenOrConjunction(*either))
    both = ForbiddenEqualsClause(kind, "b"), ForbiddenInClause(colour, ["red", "blue"])
    space.add(ForbiddenAndConjunction(*both))
    return Space(space)


def test_steps_keep_forbidden_clauses_and_reach_all_that_is_legal():
    space, rng = forbidding(), np.random.default_rng(0)
    config, reached = space.sample(rng), set()
    for _ in range(4000):
        config = space.perturb(config, rng)
        reached.add(tuple(config.get(name) for name in ("kind", "colour", "low", "high")))
    with_low = {
        ("a", colour, low, high)
        for colour, low, high in itertools.product(("red", "green", "blue"), range(6), range(6))
        if 0 < low <= high < 5
    }
    without = {("b", "green", None, high) for high in range(5)}
    assert reached == with_low | without
