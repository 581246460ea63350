"""The executor of the jobs: in this process, in local processes, or on a cluster.

Each is a `concurrent.futures.Executor` that holds the target: `submit(function, *arguments)` calls
`function(target, *arguments)`. `workers` is the number of parallel calls.
"""

import contextlib
import copy
import json
import logging
import math
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Executor, Future
from types import ModuleType
from typing import Any

import numpy as np

from engine.cli.settings import Settings
from engine.workers.machine import usable_cores, usable_memory
from engine.workers.pool import ProcessPool
from search.trial import Job
from utils import InputError, nearest, without_nan

log = logging.getLogger("nas")
NOT_MEASURED = "the target measures no such thing"
WORKER_BYTES = 2 * 10**9  # `auto` plans this per worker: PyTorch and a network of usual size
GPU_WORKER_BYTES = 4 * 10**9  # the same with CUDA and its libraries, for any network
USABLE = 0.9  # share of the free memory for all workers together


class InProcess(Executor):
    """Runs each call at once in this process: for debugging, and for unpicklable targets.

    Only exceptions are caught; a call that hangs or ends the process also ends the search.
    """

    workers = 1

    def __init__(self, target: Any):
        self.target = target

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future:
        future: Future = Future()
        future.set_result(function(self.target, *arguments, **named))
        return future


@contextlib.contextmanager
def open_executor(target: Any, settings: Settings, run_name: str) -> Iterator[Any]:
    """The executor that the settings select; ends its processes on exit."""
    timeout = settings.trial_timeout or math.inf
    if settings.scheduler is not None:
        bound = max_memory_bytes(settings)
        executor: Any = cluster().Cluster(target, settings.scheduler, run_name, timeout, bound)
    elif settings.workers != "auto" and int(settings.workers) == 0:
        if settings.trial_timeout:
            log.warning("warning: --trial_timeout has no effect with --workers 0")
        executor = InProcess(target)
    else:
        slots = slots_of(target)
        count = number_of_workers(settings, slots, getattr(target, "data_bytes", 0))
        worker_env = target.environments(count) if slots else [{}]
        limit = memory_limit(max_memory_bytes(settings), count, on_gpus=bool(slots))
        executor = ProcessPool(target, count, timeout, limit, worker_env)
        log.info("workers: %d, each within %.1f GB of memory", count, limit / 1e9)
    with executor:
        yield executor


def cluster() -> ModuleType:
    """The module of clusters; InputError if Dask is not installed."""
    try:
        import engine.workers.cluster
    except ImportError:
        raise InputError(
            "--scheduler needs Dask: python -m pip install -r requirements-cluster.txt"
        ) from None
    return engine.workers.cluster


def slots_of(target: Any) -> list[int]:
    """The number of parallel trainings of each GPU of this machine; [] if it trains on the CPU."""
    found = target.devices() if hasattr(target, "devices") else []
    return [one["slots"] for one in found if one["device"] != "cpu"]


def number_of_workers(settings: Settings, slots: Sequence[int], data_bytes: int = 0) -> int:
    """The setting's number; for `auto` the number that cores, memory and GPU slots allow.

    A GPU has several workers, since small networks leave it idle between their kernels.
    """
    if settings.workers != "auto":
        return int(settings.workers)
    cores, memory = usable_cores() // settings.threads, usable_memory()
    if slots:
        return max(len(slots), min(cores, memory // (GPU_WORKER_BYTES + data_bytes), sum(slots)))
    return max(1, min(cores, memory // (WORKER_BYTES + data_bytes)))


def memory_limit(
    bound: int | None, workers: int, on_gpus: bool, together: int | None = None
) -> int:
    """Memory limit of a worker in bytes; a worker that exceeds it is ended.

    The bound, else an equal share; on GPUs at least the host memory that CUDA takes. together:
    what all of them may use, if that is not all free memory. InputError if the bound is less.
    """
    least = GPU_WORKER_BYTES if on_gpus else 0
    if bound is None:
        free = min(usable_memory(), together or sys.maxsize)
        return max(least, int(USABLE * free / workers))
    if bound < least:
        raise InputError(
            f"--max_memory_gb is {bound / 1e9:g}, but a worker with CUDA may take "
            f"{least / 1e9:g} GB of the machine's memory; allowed is that much or more"
        )
    return bound


def max_memory_bytes(settings: Settings) -> int | None:
    """Bytes that a worker may use, or None without such a setting."""
    return None if settings.max_memory_gb is None else int(settings.max_memory_gb * 1e9)


def evaluate(
    target: Any, job: Job, seed: int, state: str | None, max_bytes: int | None
) -> dict[str, Any]:
    """The outcome of a job, by fields of a Trial; metrics and folds if it was measured.

    max_bytes: refuses a trial that the target estimates to need more. An exception of the
    training is a failed outcome with its reason; `traceback` is for display.
    """
    started = time.monotonic()
    outcome: dict[str, Any] = {"status": "ok", "error": None}
    meta: dict[str, Any] = {}
    try:
        refused = _refused(target, job, max_bytes)
        if refused:
            seen = {"refused": True, "seconds": 0.0}
            return {"status": "out_of_memory", "error": refused, "meta": seen}
        # A copy, since a target may change its argument.
        config = copy.deepcopy(job.config)
        measured = target.evaluate(config, job.epochs, seed, state)
        if not isinstance(measured, Mapping):
            raise TypeError(f"`evaluate` returned {measured!r}, which is no dictionary of metrics")
        measured = dict(measured)
        folds, seen = measured.pop("folds", []), measured.pop("meta", None)
        if not isinstance(folds, list | tuple) or not all(isinstance(f, Mapping) for f in folds):
            raise TypeError(f"folds is no list of dictionaries: {folds!r}")
        outcome |= {"metrics": _numbers(measured), "folds": _for_json(folds)}
        meta = _for_json(dict(seen or {}))
        infinite = [name for name, value in outcome["metrics"].items() if value is None]
        if infinite:
            outcome |= {"status": "diverged", "error": f"not finite: {', '.join(infinite)}"}
    except MemoryError as exception:
        outcome |= {"status": "out_of_memory", "error": f"MemoryError: {exception}"}
    except Exception as exception:
        error = f"{type(exception).__name__}: {exception}"
        outcome |= {"status": "failed", "error": error, "traceback": traceback.format_exc()}
    if hasattr(target, "release_memory"):
        with contextlib.suppress(Exception):  # the result is still valid
            target.release_memory()
    outcome["meta"] = {**meta, "seconds": round(time.monotonic() - started, 3)}
    return outcome


def require_metrics(outcome: dict[str, Any], decisive: Sequence[str]) -> None:
    """A trial fails if it lacks a metric of the ranking; the others need not be finite."""
    metrics = outcome.get("metrics", {})
    missing = [name for name in decisive if name not in metrics]
    if outcome["status"] == "diverged" and None not in map(metrics.get, decisive):
        finite = {name: value for name, value in metrics.items() if value is not None}
        outcome |= {"status": "ok", "error": None, "metrics": finite}
    elif outcome["status"] in ("ok", "diverged") and missing:
        measured = f"{', '.join(metrics) or 'nothing'}{nearest(missing[0], metrics)}"
        error = f"objective or constraint on {missing[0]!r}: {NOT_MEASURED}, but {measured}"
        outcome |= {"status": "failed", "error": error}


def guess_seconds(target: Any, configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The target's estimates of an epoch of each configuration, as an outcome: `seconds`."""
    outcome: dict[str, Any] = {"status": "ok", "error": None, "meta": {}}
    try:
        outcome["seconds"] = [target.estimate_seconds(copy.deepcopy(dict(c)), 1) for c in configs]
    except Exception as exception:
        outcome |= {"status": "failed", "error": f"{type(exception).__name__}: {exception}"}
    return outcome


def _refused(target: Any, job: Job, max_bytes: int | None) -> str | None:
    """The reason if the trial cannot fit by the target's own estimate, else None."""
    if max_bytes is None or not hasattr(target, "estimate_memory"):
        return None
    need = target.estimate_memory(copy.deepcopy(job.config))
    if need <= max_bytes:
        return None
    return f"refused: it needs about {need / 1e9:.2f} GB, allowed are {max_bytes / 1e9:.2f}"


def _numbers(measured: dict[str, Any]) -> dict[str, float | None]:
    """Metrics for the journal, None if not finite; TypeError for a value that is not a number."""
    for name, value in measured.items():
        number = isinstance(value, int | float | np.integer | np.floating)
        huge = isinstance(value, int) and abs(value) > sys.float_info.max
        if not number or isinstance(value, bool) or huge:
            raise TypeError(f"metric {name} is no number: {value!r}")
    return _for_json(measured)


def _for_json(value: Any) -> Any:
    """Plain data; TypeError or ValueError for values that JSON cannot hold."""
    plain = without_nan(value)
    json.dumps(plain, allow_nan=False)
    return plain
