"""The search of networks for small machines, simulated from recorded learning curves.

The space is configs/space.json; the curves are those of benchmarks/surrogate.py, which recordings
on the real images were fitted to (benchmarks/record.py, benchmarks/simulator.py). What is fitted,
the bounds on precision and the best known values are frozen in benchmarks/data/.
"""

import functools
from pathlib import Path
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace

from benchmarks.curves import METRICS
from benchmarks.problems.base import Config, Problem
from benchmarks.surrogate import Surrogate, sizes
from utils import read_json

ROOT = Path(__file__).resolve().parent.parent.parent
FACTS = ROOT / "benchmarks" / "data" / "simulator.json"
MAX_MACS = 4e6  # of what was recorded; the surrogate knows nothing beyond


@functools.cache
def _fitted() -> Surrogate:
    return Surrogate.load()


class Simulated(Problem):
    """Top-3 accuracy within a limit on parameters and a bound on precision.

    7 % of random networks within the cheap limits meet the bound. `optimum` is the best noiseless
    value that a long search has found (benchmarks/simulator.py); the surrogate's largest may be
    slightly above it. Unlike in the constructed problems, all that training measures has noise, as
    between seeds of a real one: whether a network near the bound is feasible is luck, too.
    """

    size: float  # limit on parameters

    def __init__(self) -> None:
        facts = read_json(FACTS)["problems"][self.name]
        self.optimum, self.best = facts["optimum"], facts["best"]
        self.constraints = limits(self.size, facts["precision"])
        self.surrogate = _fitted()
        super().__init__()

    def configspace(self) -> ConfigurationSpace:
        """See the module."""
        return ConfigurationSpace.from_json(ROOT / "configs" / "space.json")

    def cheap(self, config: Config) -> dict[str, float]:
        """Exact, as in cnn.py."""
        return dict(sizes(config))

    def metrics(self, config: Config, epochs: int) -> dict[str, float]:
        """See Problem."""
        return _named(self.surrogate.mean(config, epochs - 1))

    def evaluate(
        self, config: Config, epochs: int, seed: int, state: Any = None
    ) -> dict[str, float]:
        """See Problem; here the noise is in all that training measures."""
        measured = self.surrogate.measured(config, epochs - 1, seed)
        return {**_named(measured), **self.cheap(config)}

    def violation(self, config: Config) -> float:
        """See Problem; of what breaks a cheap limit, without the surrogate."""
        known = self.cheap(config)
        broken = sum(limit.violation(known) for limit in self.ranking.cheap(known))
        return broken if broken > 0 else super().violation(config)


class Small(Simulated):
    """At most 1e5 parameters."""

    name, size = "simulated-small", 1e5


class Middle(Simulated):
    """At most 3e5 parameters."""

    name, size = "simulated-middle", 3e5


class Large(Simulated):
    """At most 1e6 parameters."""

    name, size = "simulated-large", 1e6


def limits(size: float, precision: float) -> tuple[str, ...]:
    """The constraints of a problem."""
    return f"num_params <= {size:g}", f"macs <= {MAX_MACS:g}", f"precision >= {precision:g}"


def _named(values: np.ndarray) -> dict[str, float]:
    return dict(zip(METRICS, values.tolist(), strict=True))
