"""The interface of a target: two methods, or one plain function."""

from collections.abc import Callable, Mapping
from typing import Any, Protocol, runtime_checkable

from utils import InputError


@runtime_checkable
class Target(Protocol):
    """The problem to optimize. `evaluate` runs in a worker process, which unpickles the target.

    Optional methods:
    layers(config): rows that describe a network, for the report.
    devices(), environments(workers): see engine/workers/devices.py and engine/workers/executor.py.
    data_bytes: an attribute; memory that each worker needs for its data, for `--workers auto`.
    estimate_memory(config): bytes of a trial; if they exceed --max_memory_gb, it is not started.
    estimate_seconds(config, epochs): duration of a trial, for display.
    take_device(): called in each worker before its first trial; if it fails, another process
    tries again, and no trial fails.
    release_memory(): called after each trial.
    on_epoch: an attribute; the program sets it to a function that training may call with
    (fold, epoch) after each epoch, for display. Folds count from 0, epochs from 1.
    """

    def static_metrics(self, config: dict[str, Any]) -> Mapping[str, float]:
        """The metrics that need no training; every configuration has the same names."""
        ...

    def evaluate(
        self, config: dict[str, Any], epochs: int, seed: int, state: str | None = None
    ) -> Mapping[str, Any]:
        """All metrics after a total of `epochs` epochs, a function of these arguments only.

        state: a file to resume from if it exists, and to write before returning; or None.
        Optional entries, for the journal: `folds`, a list of the metrics of each fold; `meta`,
        values that may differ between identical runs.
        """
        ...


class FunctionTarget:
    """Wraps a function of (configuration, epochs, seed) as a target without static metrics."""

    def __init__(self, function: Callable[[dict[str, Any], int, int], Mapping[str, Any]]):
        self.function = function

    def static_metrics(self, config: dict[str, Any]) -> dict[str, float]:
        """No metrics."""
        return {}

    def evaluate(
        self, config: dict[str, Any], epochs: int, seed: int, state: str | None = None
    ) -> Mapping[str, Any]:
        """The result of the function; each rung trains from the beginning."""
        return self.function(config, epochs, seed)


def as_target(given: Any) -> Target:
    """Returns a target unchanged and wraps a function. InputError if `given` is neither."""
    if isinstance(given, Target):
        return given
    if hasattr(given, "evaluate"):
        raise InputError("the target has no method `static_metrics(config)`")
    if callable(given):
        return FunctionTarget(given)
    raise InputError(f"{given!r} is not a target; allowed is a function or a `Target`")
