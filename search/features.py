"""Configurations as points of the unit cube, on which a model makes sense."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from search.space import Space
from search.values import Scale

INACTIVE = 0.5  # where an inactive number stands: as near to all values as can be


class Column:
    """Of a hyperparameter: its place in [0, 1], or one number per category."""

    def __init__(self, scale: Scale):
        self.scale = scale

    def encode(self, value: Any) -> list[float]:
        """The numbers of a value, None if it is inactive."""
        if not self.scale.ordered:
            return [float(choice == value) for choice in self.scale.choices]
        return [INACTIVE if value is None else self.scale.position(value)]


class Features:
    """Of a space; constants tell nothing and are left out."""

    def __init__(self, space: Space):
        self.columns = {name: Column(scale) for name, scale in space.scales.items()}

    def encode(self, configs: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """(configurations, columns), float64 in [0, 1]."""
        rows = [
            [x for name, column in self.columns.items() for x in column.encode(config.get(name))]
            for config in configs
        ]
        return np.array(rows, float).reshape(len(configs), -1)
