"""Proposals are fitted to the static limits; their structure stays unchanged."""

from collections import Counter

import numpy as np
import pytest
from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    EqualsCondition,
    Float,
    ForbiddenEqualsClause,
    Integer,
    OrdinalHyperparameter,
)

from cnn import static_metrics
from search.constraints import Constraint, total_violation
from search.evolution import draw_child
from search.fitting import fit
from search.space import Space
from search.trial import canonical
from tests.stubs import ROOT
from utils import derive_rng

SAMPLES = 200
DECIDES = ("n_conv_layers", "n_fc_layers", "n_stages", "block", "kind", "convs_per_stage")


def toy():
    """A small space with two families, one of which has an extra hyperparameter."""
    space = ConfigurationSpace()
    kind = Categorical("kind", ["thin", "thick"])
    width, depth = Integer("width", (1, 1000), log=True), Integer("depth", (1, 9))
    order, free = OrdinalHyperparameter("order", [1, 2, 4]), Float("free", (0.0, 1.0))
    space.add(kind, width, depth, order, free)
    space.add(EqualsCondition(depth, kind, "thick"))
    return Space(space)


def toy_metrics(config):
    size = config["width"] * config.get("depth", 1) * config["order"]
    return {"size": size, "speed": 1000 / size}


def network_metrics(side):
    def metrics(config):
        return static_metrics(config, side, 10)

    return metrics


def structure(config, space):
    decides = sorted(
        name
        for name, value in config.items()
        if name in space.parents or not (name in space.scales and space.scales[name].ordered)
    )
    return tuple((name, config[name]) for name in decides if config[name] is not None)


PUBLISHED = Space.load(ROOT / "configs" / "space.json")
MODERN = Space.load(ROOT / "configs" / "space_modern.json")
CASES = {
    "published, 16 pixels": (PUBLISHED, network_metrics(16), ["num_params <= 3e5", "macs <= 4e6"]),
    "published, 32 pixels": (PUBLISHED, network_metrics(32), ["num_params <= 1e5", "macs <= 4e6"]),
    "modern, 16 pixels": (MODERN, network_metrics(16), ["num_params <= 3e5", "macs <= 4e6"]),
    "modern, 128 pixels": (MODERN, network_metrics(128), ["num_params <= 1e5", "macs <= 2e7"]),
    "modern, on a device": (MODERN, network_metrics(32), ["flash_kb <= 100", "ram_kb <= 64"]),
    "toy, from above": (toy(), toy_metrics, ["size <= 20"]),
    "toy, from below": (toy(), toy_metrics, ["speed >= 100", "size <= 500"]),
}


@pytest.fixture(params=CASES)
def case(request):
    space, metrics, texts = CASES[request.param]
    limits = [Constraint.parse(text) for text in texts]
    return space, lambda config: total_violation(limits, metrics(config))


def test_structures_are_as_frequent_as_without_limits(case):
    """Total variation distance between proposals and the children made of them."""
    space, violation = case
    proposed, kept = [], []
    for number in range(SAMPLES):
        drawn = []

        def propose(rng, drawn=drawn):
            drawn.append(space.sample(rng))
            return drawn[-1], (), "sample"

        kept.append(draw_child(space, propose, violation, (), derive_rng(number))[0])
        proposed.append(drawn[0])
    assert all(violation(config) <= 0 for config in kept)
    for name in set(DECIDES) & set(space.names):
        before, after = (Counter(config[name] for config in part) for part in (proposed, kept))
        assert set(after) == set(before), "each can meet these limits"
        assert sum(abs(before[v] - after[v]) for v in before) / 2 < 0.1 * SAMPLES, name


def test_fitting_keeps_structure_and_what_changes_nothing(case):
    space, violation = case
    rng = np.random.default_rng(1)
    for _ in range(50):
        config = space.sample(rng)
        fitted = fit(space, config, violation, np.random.default_rng(2))
        assert list(fitted) == list(config)
        assert structure(fitted, space) == structure(config, space)
        for name in ("learning_rate_init", "batch_size", "dropout_rate", "free", "cutout"):
            assert fitted.get(name) == config.get(name)
        if violation(config) <= 0:
            assert fitted == config
        again = fit(space, config, violation, np.random.default_rng(2))
        assert canonical(again) == canonical(fitted)
        assert space.adopt(fitted) == (fitted, [])


def test_it_goes_no_further_than_needed():
    space, metrics, _ = CASES["toy, from above"]
    limit = Constraint.parse("size <= 200")
    rng, sizes = np.random.default_rng(3), []
    for _ in range(100):
        config = space.sample(rng)
        if limit.violation(metrics(config)) > 0:
            fitted = fit(space, config, lambda c: limit.violation(metrics(c)), rng)
            sizes.append(metrics(fitted)["size"])
    assert len(sizes) > 25 and max(sizes) <= 200 and np.median(sizes) > 150


def test_what_is_within_the_limit_and_what_cannot_be_fitted_stay_as_they_were():
    space, rng = CASES["toy, from above"][0], np.random.default_rng(4)
    config, before = space.sample(rng), rng.bit_generator.state
    assert fit(space, config, lambda _: 0.0, rng) == config
    assert rng.bit_generator.state == before, "nothing is drawn, so later draws stay, too"
    assert fit(space, config, lambda c: toy_metrics(c)["size"], rng) == config


def test_a_forbidden_result_is_not_taken():
    inner, width = ConfigurationSpace(), Integer("width", (1, 100))
    inner.add(width, *(ForbiddenEqualsClause(width, value) for value in range(1, 50)))
    space, config = Space(inner), {"width": 80}
    fitted = fit(space, config, lambda c: max(0, c["width"] - 30), np.random.default_rng(7))
    assert fitted == config
