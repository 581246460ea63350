"""Configurations as points of the unit cube, on which a model makes sense."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from search.space import Space
from search.values import Scale

INACTIVE = 0.5  # where an inactive number stands: as near to all values as can be


class Features:
    """Of a space; constants tell nothing and are left out."""

    def __init__(self, space: Space):
        self.scales = space.scales

    def encode(self, configs: Sequence[Mapping[str, Any]]) -> np.ndarray:
        """(configurations, columns), float64 in [0, 1]."""
        rows = [
            [x for name, scale in self.scales.items() for x in encoded(scale, config.get(name))]
            for config in configs
        ]
        return np.array(rows, float).reshape(len(configs), -1)


def encoded(scale: Scale, value: Any) -> list[float]:
    """Of a value, None if it is inactive: its place in [0, 1], or one number per category."""
    if not scale.ordered:
        return [float(choice == value) for choice in scale.choices]
    return [INACTIVE if value is None else scale.position(value)]
