"""The search space: the guarantees of its operators, and warnings about foreign configurations."""

import json
import math
import random

import numpy as np
import pytest
from ConfigSpace import (
    Configuration,
    ConfigurationSpace,
    ForbiddenEqualsClause,
    Integer,
    NotEqualsCondition,
    OrdinalHyperparameter,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from search.space import Space
from tests.stub_target import num_params
from tests.stubs import ROOT, rich_space
from utils import InputError

SPACES = {"flowers": Space.load(ROOT / "configs" / "space.json"), "rich": rich_space()}
SEEDS = st.integers(0, 2**32)
both_spaces = pytest.mark.parametrize("name", SPACES)


def rng(seed: int) -> np.random.Generator:
    return np.random.default_rng(seed)


def assert_legal(space: Space, config: dict) -> None:
    """ConfigSpace accepts it, and it holds exactly the active hyperparameters, natively typed."""
    Configuration(space.configspace, values=config).check_valid_configuration()
    assert all(type(value) in (bool, int, float, str) for value in config.values())
    assert json.loads(json.dumps(config)) == config
    assert list(config) == [name for name in space.names if name in config]


@both_spaces
@settings(max_examples=30)
@given(seed=SEEDS)
def test_samples_mutants_steps_and_recombinations_are_legal(name, seed):
    space = SPACES[name]
    parent, other = space.sample(rng(seed)), space.sample(rng(seed + 1))
    mutant, near = space.mutate(parent, rng(seed + 2)), space.perturb(parent, rng(seed + 3))
    child = space.recombine(parent, other, rng(seed + 4))
    for config in (parent, mutant, near, child):
        assert_legal(space, config)
        assert space.adopt(json.loads(json.dumps(config))) == (config, [])
    assert sum(parent[key] != mutant[key] for key in parent.keys() & mutant.keys()) <= 1
    for key, value in child.items():
        inherited = [config[key] for config in (parent, other) if key in config]
        assert not inherited or value in inherited, "a value is a parent's unless neither has one"


def test_recombination_takes_from_both_parents(space):
    first, second = space.sample(rng(1)), space.sample(rng(2))
    children = [space.recombine(first, second, rng(seed)) for seed in range(40)]
    share = np.mean([child["batch_size"] == first["batch_size"] for child in children])
    assert 0.2 < share < 0.8
    assert any(child not in (first, second) for child in children)
    assert space.recombine(first, first, rng(6)) == first


def test_mutation_reaches_every_hyperparameter(space):
    parent = space.default()
    children = [space.mutate(parent, rng(seed)) for seed in range(200)]
    changed = {key for child in children for key in child if child[key] != parent.get(key)}
    assert changed >= set(parent)


def test_complete_keeps_what_is_active_draws_what_is_missing_and_tells_of_forbidden_values():
    values = {"z_kind": "y", "switch": True, "width": 7}
    completed = SPACES["rich"].complete(values, rng(0))
    assert_legal(SPACES["rich"], completed)
    assert "m_depth" in completed and all(completed[key] == values[key] for key in values)
    values = {"z_kind": "z", "switch": True, "m_depth": 9, "a_step": 4, "a_ratio": 0.5}
    assert set(SPACES["rich"].complete(values, rng(0))) == {"z_kind", "switch", "width", "fixed"}
    assert SPACES["rich"].complete({"z_kind": "x", "switch": False}, rng(0)) is None


def draw_all(space: Space, seed: int) -> list:
    first, second = space.sample(rng(seed)), space.sample(rng(seed + 1))
    return [
        first,
        space.mutate(first, rng(seed)),
        space.recombine(first, second, rng(seed)),
        space.complete({}, rng(seed + 7)),
        space.repair(first, lambda config: max(0, config.get("width", 0) - 3), rng(seed)),
    ]


@both_spaces
def test_draws_depend_on_their_generator_alone(name):
    before = draw_all(SPACES[name], 3)
    np.random.seed(1)
    random.seed(1)
    for other in SPACES.values():
        other.sample(rng(99))
    assert draw_all(SPACES[name], 3) == before


@settings(max_examples=8)
@given(seed=SEEDS, bound=st.integers(601, 10**6))
def test_repair_reaches_a_limit_that_can_be_reached(seed, bound):
    """From any start the repair reaches the smallest network, with one layer of each kind."""
    space = SPACES["flowers"]
    config = space.sample(rng(seed))
    before = dict(config)
    violation = lambda config: max(0.0, num_params(config) - bound) / bound  # noqa: E731
    repaired = space.repair(config, violation, rng(seed))
    assert config == before
    assert_legal(space, repaired)
    assert num_params(repaired) <= bound
    if violation(config) == 0:
        assert repaired == config
    assert num_params(space.repair(config, num_params, rng(seed))) == 601


@settings(max_examples=10)
@given(seed=SEEDS)
def test_repair_ends_legally_where_nothing_helps(seed):
    space = SPACES["rich"]
    config = space.sample(rng(seed))
    assert space.repair(config, lambda _: 1.0, rng(seed)) == config
    shrinking = space.repair(config, lambda child: 1 + child["width"], rng(seed))
    assert_legal(space, shrinking)
    assert shrinking["width"] == 1


def test_adopt_drops_what_is_inactive_and_says_so(space):
    config = space.default()
    for value in (273, None):
        adopted, (warning,) = space.adopt({**config, "n_channels_fc_2": value})
        assert adopted == config and f"n_channels_fc_2 = {value}" in warning


def test_adopt_keeps_what_is_outside_the_space_or_forbidden_and_says_so(space):
    wrong = (("n_channels_conv_0", 2000, "16 to 1024"), ("kernel_size", 9, "3 or 5 or 7"))
    for name, value, allowed in wrong:
        adopted, (warning,) = space.adopt({**space.default(), name: value})
        assert adopted[name] == value
        assert f"{name} = {value}" in warning and allowed in warning
    forbidden = {**SPACES["rich"].default(), "switch": False}
    adopted, (warning,) = SPACES["rich"].adopt(forbidden)
    assert adopted == forbidden and "outside the space" in warning
    assert len(SPACES["rich"].adopt({**forbidden, "a_ratio": 0.5})[1]) == 2, "one is inactive"


def test_adopt_makes_whole_floats_whole_and_whole_numbers_floats(space):
    adopted, warnings = space.adopt({**space.default(), "batch_size": 32.0})
    assert type(adopted["batch_size"]) is int and adopted["batch_size"] == 32 and not warnings
    adopted, _ = Space(ConfigurationSpace({"rate": (0.0, 2.0)})).adopt({"rate": 1})
    assert type(adopted["rate"]) is float


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_fc_layers": 3}, ["'n_channels_fc_2'", "from 4 to 512"]),  # active and missing
        ({"kernel_siez": 3}, ["'kernel_siez'", "did you mean kernel_size?"]),
        ({"kernel_size": None}, ["'kernel_size'", "3 or 5 or 7"]),
        ({"batch_size": 4.5}, ["'batch_size'", "4.5", "whole number from 4 to 300"]),
        ({"batch_size": True}, ["'batch_size'", "True"]),
        ({"use_BN": 1}, ["'use_BN'", "True or False"]),
        ({"learning_rate_init": float("nan")}, ["'learning_rate_init'", "nan"]),
        ({"batch_size": 10**400}, ["'batch_size'", "4 to 300"]),
    ],
)
def test_adopt_refuses_in_one_sentence(space, changes, words):
    with pytest.raises(InputError) as caught:
        space.adopt({**space.default(), **changes})
    assert all(word in str(caught.value) for word in words)
    assert "\n" not in str(caught.value)


def test_adopt_meets_an_ordinal_parent_outside_the_space():
    configspace = ConfigurationSpace()
    parent, child = OrdinalHyperparameter("parent", [1, 2, 4]), Integer("child", (1, 9))
    configspace.add(parent, child)
    configspace.add(NotEqualsCondition(child, parent, 2))
    adopted, warnings = Space(configspace).adopt({"parent": 3, "child": 5})
    assert adopted["parent"] == 3
    assert "parent = 3" in warnings[0]


def test_a_space_that_forbids_every_other_child_leaves_the_parent():
    configspace = ConfigurationSpace()
    parent = OrdinalHyperparameter("x", [1, 2, 3])
    configspace.add(parent, *(ForbiddenEqualsClause(parent, value) for value in (2, 3)))
    space = Space(configspace)
    assert space.mutate({"x": 1}, rng(0)) == {"x": 1}
    assert space.recombine({"x": 1}, {"x": 1}, rng(0)) == {"x": 1}


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b"\xff\xfe", b'{"name": 3}'])
def test_a_file_that_is_no_space_is_refused_in_one_sentence(tmp_path, content):
    path = tmp_path / "space.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match="space.json") as caught:
        Space.load(path)
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="No such file"):
        Space.load(tmp_path / "gone.json")


def test_a_space_survives_its_file(tmp_path):
    rich_space().configspace.to_json(tmp_path / "rich.json")
    assert draw_all(Space.load(tmp_path / "rich.json"), 3) == draw_all(SPACES["rich"], 3)


def test_steps_are_wide_and_fine_and_change_several_at_once(space):
    config, generator = space.default(), rng(1)
    children = [space.perturb(config, generator) for _ in range(300)]
    counts = [sum(child.get(n) != config[n] for n in config) for child in children]
    assert min(counts) >= 1 and counts.count(1) > 30 and 2 < sum(counts) / len(counts) < 3.5
    moved = [child["n_channels_conv_0"] for child in children]
    factors = sorted(abs(math.log(m / config["n_channels_conv_0"])) for m in moved if m != 457)
    assert len(factors) > 20 and factors[len(factors) // 4] < 0.15 and factors[-1] > 0.7
    assert {child["kernel_size"] for child in children} == {3, 5, 7}
    assert {child["n_fc_layers"] for child in children} == {1, 2, 3}
