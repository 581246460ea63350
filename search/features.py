"""Configurations as points of the unit cube, on which a model makes sense."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ConfigSpace import CategoricalHyperparameter, OrdinalHyperparameter
from ConfigSpace.hyperparameters import FloatHyperparameter, Hyperparameter, IntegerHyperparameter

from search.space import Space

INACTIVE = 0.5  # where an inactive number stands: as near to all values as can be


class Column:
    """Of a hyperparameter: a number in [0, 1] (log where the space is log), or one per category.

    ConfigSpace's own way takes 5 to 20 microseconds a value.
    """

    def __init__(self, hyperparameter: Hyperparameter):
        self.places: dict[Any, float] = {}
        self.categories = isinstance(hyperparameter, CategoricalHyperparameter)
        self.log, self.low, self.width, values = False, 0.0, 1.0, []
        if isinstance(hyperparameter, CategoricalHyperparameter):
            values = list(hyperparameter.choices)
        elif isinstance(hyperparameter, OrdinalHyperparameter):
            values = list(hyperparameter.sequence)
            self.width = max(len(values) - 1.0, 1.0)
        elif isinstance(hyperparameter, IntegerHyperparameter | FloatHyperparameter):
            self.log = hyperparameter.log
            self.low = self._scaled(hyperparameter.lower)
            self.width = (self._scaled(hyperparameter.upper) - self.low) or 1.0
        native = (value.item() if isinstance(value, np.generic) else value for value in values)
        self.places = {value: float(place) for place, value in enumerate(native)}
        self.count = len(self.places) if self.categories else 1

    def _scaled(self, value: float) -> float:
        return math.log(value) if self.log else float(value)

    def encode(self, value: Any) -> list[float]:
        """The numbers of a value, None if it is inactive."""
        if self.categories:
            place = self.places.get(value)
            return [float(i == place) for i in range(self.count)]
        if value is None:
            return [INACTIVE]
        return [(self._scaled(self.places.get(value, value)) - self.low) / self.width]


class Features:
    """Of a space; constants tell nothing and are left out."""

    def __init__(self, space: Space):
        known = {name: space.configspace[name] for name in space.names}
        kinds = CategoricalHyperparameter | OrdinalHyperparameter
        kinds |= IntegerHyperparameter | FloatHyperparameter
        self.columns = {name: Column(one) for name, one in known.items() if isinstance(one, kinds)}

    def encode(self, configs: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """(configurations, columns), float64 in [0, 1]."""
        rows = [
            [x for name, column in self.columns.items() for x in column.encode(config.get(name))]
            for config in configs
        ]
        return np.array(rows, float).reshape(len(configs), -1)
