"""Proposals that break a limit known before training are made smaller, not thrown away.

To throw them away leaves few kinds of networks: a sample with one convolution meets tight limits
much more often than one with three.
"""

from collections.abc import Callable

import numpy as np

from search.space import Config, Space

STEPS = 12  # of the bisection
SLOWEST = 0.2  # the least speed, as a share of the greatest


def fit(
    space: Space, config: Config, violation: Callable[[Config], float], rng: np.random.Generator
) -> Config:
    """The configuration, moved as far as needed towards where `violation` is 0.

    Its structure stays: categories, and whatever decides what else is active. All other ordered
    hyperparameters move together, each at a speed of its own, towards the end of their range at
    which less is violated; those that change nothing stay. If even the ends violate, or a clause
    of the space forbids the result, the configuration is returned as it was.
    """
    violated = violation(config)
    if violated <= 0:
        return config
    moves = []
    for name, scale in space.scales.items():
        if name in config and scale.ordered and name not in space.parents:
            ends = [violation({**config, name: scale.value(end)}) for end in (0.0, 1.0)]
            if min(ends) < violated:
                start, speed = scale.position(config[name]), rng.uniform(SLOWEST, 1)
                moves.append((name, scale, start, float(np.argmin(ends)) - start, speed))

    def moved(time: float) -> Config:
        new = {
            name: scale.value(start + way * min(1.0, time * speed))
            for name, scale, start, way, speed in moves
        }
        return {**config, **new}

    short, enough = 0.0, 1 / SLOWEST
    if violation(moved(enough)) > 0:
        return config
    for _ in range(STEPS):
        middle = (short + enough) / 2
        if violation(moved(middle)) > 0:
            short = middle
        else:
            enough = middle
    fitted = moved(enough)
    return config if space.forbids(fitted) else fitted
