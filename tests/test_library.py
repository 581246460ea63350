"""What a caller of `search` may do with a target of his own, and what he is told."""

import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Float, Integer
from stubs import lines, on_disk

from engine.settings import Settings, resolve
from optimizer import search
from search.space import Space
from search.trial import canonical
from tests.searches import STRONG
from utils import InputError, derive_seed

SMALL = {"workers": "0", "pop_size": 4, "num_children": 3, "epochs": 4, "min_epochs": 1}
SMALL |= {"objective": "minimize loss", "constraints": [], "max_generations": 2}
by_preset = pytest.mark.parametrize("preset", [{}, STRONG], ids=["published", "strong"])


def settings(**given) -> Settings:
    return resolve({**SMALL, **given})


def space() -> Space:
    made = ConfigurationSpace()
    made.add(Float("lr", (1e-4, 1.0), log=True), Integer("width", (1, 64)))
    made.add(Categorical("shape", [[3, 3], [5, 5]]))
    return Space(made)


class Own:
    """A loss out of the configuration's hash, better with epochs; can be pickled."""

    def cheap(self, config):
        return {"size": config["width"]}

    def evaluate(self, config, epochs, seed, state=None):
        loss = derive_seed("loss", canonical(config)) / 2**63 + 1 / epochs
        return {"loss": loss, **self.cheap(config)}


# ------------------------------------------------------------------------- what a target may do


class Careless(Own):
    """Changes every dictionary that it is given."""

    def cheap(self, config):
        config["shape"].append(config.pop("lr"))
        return {"size": config.pop("width")}

    def evaluate(self, config, epochs, seed, state=None):
        measured = super().evaluate(dict(config), epochs, seed, state)
        config["shape"].append(config.pop("lr"))
        return measured

    def layers(self, config):
        return [config.pop("lr")]

    def estimate_seconds(self, config, epochs):
        return config.pop("lr")

    def estimate_memory(self, config):
        return config.pop("lr")


class Careful(Careless):
    """As Careless, on copies of its own."""

    def evaluate(self, config, epochs, seed, state=None):
        known = {**config, "shape": list(config["shape"])}
        return super().evaluate(known, epochs, seed, state)


@by_preset
def test_a_target_may_change_what_it_is_given(tmp_path, preset):
    given = {**preset, "constraints": ["size <= 50"], "max_memory_gb": 1.0, "max_generations": 5}
    whole = search(space(), Careful(), settings(**given))
    result = search(space(), Careless(), settings(**given), tmp_path / "run")
    assert lines(result.trials) == lines(whole.trials) == lines(on_disk(tmp_path / "run"))
    assert all(set(trial.config) == {"lr", "width", "shape"} for trial in result.trials)
    assert all(trial.config["shape"] in ([3, 3], [5, 5]) for trial in result.trials)
    assert result.best.config == whole.best.config


class Picky(Own):
    """Knows only networks of an odd width."""

    def cheap(self, config):
        if config["width"] % 2 == 0:
            raise ValueError(f"width {config['width']} is even")
        return super().cheap(config)


@by_preset
@pytest.mark.parametrize("limits", [[], ["size <= 40"]])
def test_a_configuration_for_which_cheap_raises_is_infeasible(preset, limits, caplog):
    result = search(space(), Picky(), settings(**preset, constraints=limits))
    assert result.reason == "generation limit" and result.feasible
    assert all(trial.config["width"] % 2 == 1 for trial in result.trials)
    assert not limits or max(trial.config["width"] for trial in result.trials) <= 40
    told = [record.message for record in caplog.records if "`cheap` raises" in record.message]
    assert len(told) == 1 and "ValueError: width" in told[0] and "is even" in told[0]


def test_cheap_that_always_raises_is_told_with_its_reason():
    class Broken(Own):
        def cheap(self, config):
            raise KeyError("depth")

    with pytest.raises(InputError, match="for which `cheap` works: KeyError: 'depth', for"):
        search(space(), Broken(), settings())


def test_the_rest_of_the_space_may_raise_where_the_limits_are_broken():
    class Torn(Own):
        def cheap(self, config):
            if config["width"] < 60:
                raise ValueError("too narrow")
            return super().cheap(config)

    with pytest.raises(InputError, match="meets size <= 3; the nearest found has size 60"):
        search(space(), Torn(), settings(constraints=["size <= 3"]))
