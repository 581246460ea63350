"""Changes proposals that violate a static constraint until they meet it.

Rejecting them would leave few kinds of networks: a sample with one convolution meets tight
constraints much more often than one with three.
"""

from collections.abc import Callable

import numpy as np

from search.space import Config, Space

BISECTIONS = 12
SLOWEST = 0.2  # the smallest speed, as a share of the largest


def fit(
    space: Space, config: Config, violation: Callable[[Config], float], rng: np.random.Generator
) -> Config:
    """The configuration, moved just far enough that `violation` is 0.

    Its structure is kept: categories, and parents of conditions. The other ordered hyperparameters
    move together, each at a random speed, towards the end of their range with the smaller
    violation; those that do not reduce it stay. If even the ends violate constraints, or a clause
    of the space forbids the result, the configuration is returned unchanged.
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
    for _ in range(BISECTIONS):
        middle = (short + enough) / 2
        if violation(moved(middle)) > 0:
            short = middle
        else:
            enough = middle
    fitted = moved(enough)
    return config if space.forbids(fitted) else fitted


def fitted(
    space: Space, config: Config, violation: Callable[[Config], float], rng: np.random.Generator
) -> Config | None:
    """As `fit`, or None if the result still violates constraints."""
    result = fit(space, config, violation, rng)
    return result if violation(result) <= 0 else None
