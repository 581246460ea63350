"""What a search needs of a target: two methods, or one plain function."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from utils import InputError


@runtime_checkable
class Target(Protocol):
    """What is optimized. `evaluate` runs in a worker's process, which gets the target by pickle.

    These methods are used where a target has them:
    layers(config): rows that describe a network, for the report.
    devices(), environments(workers): see engine/workers/devices.py and engine/workers/executor.py.
    estimate_memory(config): bytes of a training; what does not fit is not begun.
    estimate_seconds(config, epochs): how long a training takes, for display.
    take_device(): called in each worker before its first training; what fails there is tried
    again, in another process, and is no result.
    release_memory(): called after each training.
    on_epoch: an attribute; set to a function that training may call with (fold, epoch) after each
    epoch, for display. Folds count from 0, epochs from 1.
    """

    def static_metrics(self, config: dict[str, Any]) -> Mapping[str, float]:
        """The metrics that are known before training, always the same ones."""
        ...

    def evaluate(
        self, config: dict[str, Any], epochs: int, seed: int, state: str | None = None
    ) -> Mapping[str, Any]:
        """All metrics after `epochs` epochs in all, a function of these arguments only.

        state: a file to go on from if it is there, and to write before returning; or None.
        Also taken, for the journal: `folds`, a list with the metrics of each fold; `meta`, what
        may differ between identical runs.
        """
        ...


class FunctionTarget:
    """A function of (configuration, epochs, seed) as a target, without static metrics."""

    def __init__(self, function: Callable[[dict[str, Any], int, int], Mapping[str, Any]]):
        self.function = function

    def static_metrics(self, config: dict[str, Any]) -> dict[str, float]:
        """None."""
        return {}

    def evaluate(
        self, config: dict[str, Any], epochs: int, seed: int, state: str | None = None
    ) -> Mapping[str, Any]:
        """What the function returns; each rung begins anew."""
        return self.function(config, epochs, seed)


def as_target(given: Any) -> Target:
    """The target itself, or the function in a target. InputError if it is neither."""
    if isinstance(given, Target):
        return given
    if hasattr(given, "evaluate"):
        raise InputError("the target has no method `static_metrics(config)`")
    if callable(given):
        return FunctionTarget(given)
    raise InputError(f"{given!r} is no target; allowed is a function or an object of `Target`")
