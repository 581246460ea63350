"""All configurations of a finite space."""

import functools
import math

from ConfigSpace.hyperparameters import FloatHyperparameter

from search.space import Config, Space

MOST = 100_000  # configurations; larger spaces count as infinite


@functools.lru_cache(maxsize=8)
def configurations(space: Space) -> tuple[Config, ...]:
    """Each legal configuration once, in a fixed order; empty if there are more than `MOST`."""
    if any(isinstance(space.configspace[name], FloatHyperparameter) for name in space.names):
        return ()
    values = {name: space.values(name) for name in space.names}
    if math.prod(len(known) for known in values.values()) > MOST:
        return ()
    found: list[Config] = [{}]
    for name in space.names:
        found = [
            {**one, **more}
            for one in found
            for more in ([{name: v} for v in values[name]] if space.active(name, one) else [{}])
        ]
    return tuple(one for one in found if not space.forbids(one))
