"""What all problems share: the interface of a target, noise, and shapes of curves."""

import math
from collections.abc import Mapping
from typing import Any

from ConfigSpace import ConfigurationSpace, Float

from search.constraints import Ranking
from search.space import Space
from utils import derive_rng

Config = Mapping[str, Any]


class Problem:
    """A target whose trainings are formulas, with a known best value.

    `metrics` is the truth: a pure function of (configuration, epochs). `evaluate` adds noise to
    the objective, and to nothing else: whether a configuration is feasible is never luck.
    """

    name: str
    epochs = 50  # of a full training
    min_epochs = 3
    objective = "maximize top3"
    objective_range = (0.0, 1.0)
    constraints: tuple[str, ...]
    optimum: float  # best noiseless objective at full epochs under the constraints
    best: dict[str, Any]  # a configuration that reaches it
    noise = 0.002  # standard deviation between seeds, constant over the epochs of a training

    def __init__(self) -> None:
        self.space = Space(self.configspace())
        self.ranking = Ranking.parse(self.objective, self.constraints)

    def configspace(self) -> ConfigurationSpace:
        """The search space."""
        raise NotImplementedError

    def static_metrics(self, config: Config) -> dict[str, float]:
        """What is known before training."""
        return {}

    def metrics(self, config: Config, epochs: int) -> dict[str, float]:
        """The noiseless metrics after so many epochs, without the static ones."""
        raise NotImplementedError

    def evaluate(
        self, config: Config, epochs: int, seed: int, state: Any = None
    ) -> dict[str, float]:
        """The metrics as measured: a pure function of (configuration, epochs, seed).

        No state is needed: any epoch of a curve can be computed at once.
        """
        measured = {**self.metrics(config, epochs), **self.static_metrics(config)}
        offset = derive_rng(self.name, seed).normal()
        jitter = derive_rng(self.name, seed, epochs).normal()
        name = self.ranking.metric
        noisy = measured[name] + self.noise * (offset + 0.3 * jitter)
        low, high = self.objective_range
        return {**measured, name: min(max(noisy, low), high)}

    def violation(self, config: Config) -> float:
        """The noiseless violation at full epochs: 0 if feasible."""
        measured = {**self.metrics(config, self.epochs), **self.static_metrics(config)}
        return sum(limit.violation(measured) for limit in self.ranking.constraints)

    def value(self, config: Config) -> float:
        """The noiseless objective at full epochs, with the sign at which greater is better."""
        return self.ranking.sign * self.metrics(config, self.epochs)[self.ranking.metric]

    def regret(self, config: Config) -> float:
        """How far the noiseless objective at full epochs is from the optimum.

        Infinite if infeasible.
        """
        if self.violation(config) > 0:
            return math.inf
        return self.ranking.sign * self.optimum - self.value(config)

    def unit(self, config: Config, name: str) -> float:
        """The value of a hyperparameter in [0, 1], on the scale of the space (log where log)."""
        return self.space.scales[name].position(config[name])


def share(epochs: float, total: int, speed: float) -> float:
    """How much of its final value a curve has reached: exponential, 1 at `total` epochs.

    speed: 0.5 is nearly a straight line, 30 is all but done after a tenth of the epochs.
    """
    return math.expm1(-speed * epochs / total) / math.expm1(-speed)


def least_cost(excess: float, *terms: tuple[float, float]) -> float:
    """The least of sum a_i (x_i - c_i)^2 over the half-space sum p_i x_i <= k.

    excess = sum p_i c_i - k > 0; terms = (p_i, a_i). Lagrange: it is reached at `nearest_point`.
    """
    return excess**2 / sum(p * p / a for p, a in terms)


def nearest_point(excess: float, centre: list[float], *terms: tuple[float, float]) -> list[float]:
    """Where `least_cost` is reached: x_i = c_i - t p_i / a_i."""
    t = excess / sum(p * p / a for p, a in terms)
    return [c - t * p / a for c, (p, a) in zip(centre, terms, strict=True)]


def floats(prefix: str, count: int) -> list[Any]:
    """`count` hyperparameters in [0, 1]."""
    return [Float(f"{prefix}{i}", (0.0, 1.0)) for i in range(count)]


def fixed_points(*name: Any, count: int, low: float, high: float) -> list[float]:
    """Numbers without a pattern, which are part of a problem's definition."""
    return [float(value) for value in derive_rng(*name).uniform(low, high, count)]


def made_of(*hyperparameters: Any) -> ConfigurationSpace:
    """A space with these."""
    space = ConfigurationSpace()
    space.add(*hyperparameters)
    return space
