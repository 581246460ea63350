"""What all problems share: the interface of a target, and the regret."""

import math
from collections.abc import Mapping
from typing import Any

from ConfigSpace import ConfigurationSpace

from search.constraints import Ranking, total_violation
from search.space import Space

Config = Mapping[str, Any]


class Problem:
    """A target whose results need no training, with a known best value.

    `metrics` is the truth: a pure function of (configuration, epochs). `evaluate` may add noise to
    the objective only: whether a configuration is feasible is deterministic.
    """

    name: str
    epochs: int  # of a full training
    min_epochs: int
    objective: str
    objective_range = (0.0, 1.0)
    constraints: tuple[str, ...]
    optimum: float  # best noiseless objective at full epochs under the constraints
    best: dict[str, Any]  # a configuration that reaches it

    def __init__(self) -> None:
        self.space = Space(self.configspace())
        self.ranking = Ranking.parse(self.objective, self.constraints)

    def configspace(self) -> ConfigurationSpace:
        """The search space."""
        raise NotImplementedError

    def static_metrics(self, config: Config) -> dict[str, float]:
        """The metrics that need no training."""
        return {}

    def metrics(self, config: Config, epochs: int) -> dict[str, float]:
        """The noiseless metrics after `epochs` epochs, without the static ones."""
        raise NotImplementedError

    def evaluate(
        self, config: Config, epochs: int, seed: int, state: Any = None
    ) -> dict[str, float]:
        """The metrics as measured: a pure function of (configuration, epochs, seed).

        No state is needed: any epoch of a curve can be computed at once.
        """
        measured = {**self.metrics(config, epochs), **self.static_metrics(config)}
        name, (low, high) = self.ranking.metric, self.objective_range
        return {**measured, name: min(max(measured[name], low), high)}

    def end(self, config: Config) -> tuple[float, float]:
        """(violation, objective to minimise): noiseless, full epochs."""
        measured = {**self.metrics(config, self.epochs), **self.static_metrics(config)}
        violation = total_violation(self.ranking.constraints, measured)
        return violation, -self.ranking.sign * measured[self.ranking.metric]

    def regret(self, config: Config) -> float:
        """How far the noiseless objective at full epochs is from the optimum.

        Infinite if infeasible.
        """
        violation, value = self.end(config)
        return math.inf if violation > 0 else self.ranking.sign * self.optimum + value


def made_of(*hyperparameters: Any) -> ConfigurationSpace:
    """A space with these hyperparameters."""
    space = ConfigurationSpace()
    space.add(*hyperparameters)
    return space
