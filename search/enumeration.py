"""All configurations of a finite space."""

import functools
import math
from collections.abc import Iterator

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
    return tuple(one for one in _extended(space, values, {}, 0) if not space.forbids(one))


def _extended(space: Space, values: dict[str, list], config: Config, at: int) -> Iterator[Config]:
    """All completions of a configuration whose first `at` hyperparameters are decided."""
    if at == len(space.names):
        yield dict(config)
    elif not space.active(name := space.names[at], config):
        yield from _extended(space, values, config, at + 1)
    else:
        for value in values[name]:
            yield from _extended(space, values, {**config, name: value}, at + 1)
