"""Configurations as points of the unit cube, on which distances and models make sense."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from ConfigSpace import CategoricalHyperparameter, OrdinalHyperparameter

from search.space import Space

INACTIVE = 0.5  # where an inactive number stands: as near to all values as can be


class Features:
    """Of a space: a column a number in [0, 1] (log where the space is log), one a category."""

    def __init__(self, space: Space):
        self.places: list[tuple[str, dict[Any, int], int]] = []  # name, columns of values, column
        self.scales: dict[str, tuple[bool, float, float]] = {}  # name -> log, low, width
        self.count = 0
        for name in space.names:
            hyperparameter = space.configspace[name]
            columns: dict[Any, int] = {}
            if isinstance(hyperparameter, CategoricalHyperparameter):
                choices = [getattr(c, "item", lambda c=c: c)() for c in hyperparameter.choices]
                columns = {choice: self.count + i for i, choice in enumerate(choices)}
            elif isinstance(hyperparameter, OrdinalHyperparameter):
                self.scales[name] = False, 0.0, max(len(hyperparameter.sequence) - 1.0, 1.0)
            elif hasattr(hyperparameter, "lower"):
                log = hyperparameter.log
                low, high = (float(x) for x in (hyperparameter.lower, hyperparameter.upper))
                low, high = (math.log(low), math.log(high)) if log else (low, high)
                self.scales[name] = log, low, (high - low) or 1.0
            else:
                continue
            self.places.append((name, columns, self.count))
            self.count += len(columns) or 1
        self.orders = {
            name: {v: float(i) for i, v in enumerate(space.configspace[name].sequence)}
            for name in space.names
            if isinstance(space.configspace[name], OrdinalHyperparameter)
        }

    def encode(self, configs: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """(configurations, columns), float64 in [0, 1]."""
        rows = np.zeros((len(configs), self.count))
        for row, config in zip(rows, configs, strict=True):
            for name, columns, first in self.places:
                value = config.get(name)
                if columns:
                    if value is not None:
                        row[columns[value]] = 1.0
                elif value is None:
                    row[first] = INACTIVE
                else:
                    log, low, width = self.scales[name]
                    if name in self.orders:
                        value = self.orders[name][value]
                    row[first] = ((math.log(value) if log else value) - low) / width
        return rows
