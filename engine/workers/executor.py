"""Who does the jobs: one seam, `concurrent.futures.Executor`, whichever stands behind it.

An executor here holds the target: `submit(function, *arguments)` calls `function(target,
*arguments)` where the target lives. `workers` says how many such calls run at a time.
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
from utils import InputError, without_nan

log = logging.getLogger("nas")
WORKER_BYTES = 2 * 10**9  # what `auto` allows for a worker: PyTorch and a network of usual size
GPU_WORKER_BYTES = 4 * 10**9  # the same with CUDA and its libraries, whatever its network
USABLE = 0.9  # share of the free memory that the workers may have in all


class InProcess(Executor):
    """Does each call at once, here: for debugging, and for targets that cannot be pickled.

    Guards against exceptions only; a call that hangs or ends the process takes the search along.
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
    """The executor that the settings ask for; at the end nothing of it is left running."""
    timeout = settings.trial_timeout or math.inf
    if settings.scheduler is not None:
        bound = memory_bound(settings)
        executor: Any = cluster().Cluster(target, settings.scheduler, run_name, timeout, bound)
    elif settings.workers == "0":
        if settings.trial_timeout:
            log.warning("warning: with --workers 0 nothing ends a training: no --trial_timeout")
        executor = InProcess(target)
    else:
        slots = slots_of(target)
        count = number_of_workers(settings, slots)
        worker_env = target.environments(count) if slots else [{}]
        limit = memory_limit(memory_bound(settings), count, on_gpus=bool(slots))
        executor = ProcessPool(target, count, timeout, limit, worker_env)
        log.info("workers: %d, each within %.1f GB of memory", count, limit / 1e9)
    try:
        yield executor
    finally:
        executor.shutdown(cancel_futures=True)


def cluster() -> ModuleType:
    """The module of clusters; InputError where Dask is not installed."""
    try:
        import engine.workers.cluster
    except ImportError:
        raise InputError(
            "--scheduler needs Dask: python -m pip install -r requirements-cluster.txt"
        ) from None
    return engine.workers.cluster


def slots_of(target: Any) -> list[int]:
    """Trainings that fit at a time on each GPU of this machine; none if it trains on the CPU."""
    found = target.devices() if hasattr(target, "devices") else []
    return [one["slots"] for one in found if one["device"] != "cpu"]


def number_of_workers(settings: Settings, slots: Sequence[int]) -> int:
    """As the setting says; `auto` is what cores, memory and the slots on GPUs allow.

    A GPU has several workers, as small networks leave it idle between their kernels.
    """
    if settings.workers != "auto":
        return int(settings.workers)
    cores, memory = usable_cores() // settings.threads, usable_memory()
    if slots:
        return max(len(slots), min(cores, memory // GPU_WORKER_BYTES, sum(slots)))
    return max(1, min(cores, memory // WORKER_BYTES))


def memory_limit(bound: int | None, workers: int, on_gpus: bool) -> int:
    """Bytes of the machine's memory at which each of so many workers is ended.

    The bound, else an equal share; never less than CUDA takes, with which nothing would train.
    InputError if the bound is less.
    """
    least = GPU_WORKER_BYTES if on_gpus else 0
    if bound is None:
        return max(least, int(USABLE * usable_memory() / workers))
    if bound < least:
        raise InputError(
            f"--max_memory_gb is {bound / 1e9:g}, and a worker with CUDA may take "
            f"{least / 1e9:g} GB of the machine's memory; allowed is that much or more"
        )
    return bound


def memory_bound(settings: Settings) -> int | None:
    """Bytes that a worker may use, if the settings say so."""
    return None if settings.max_memory_gb is None else int(settings.max_memory_gb * 1e9)


def evaluate(
    target: Any, job: Job, seed: int, state: str | None, max_bytes: int | None
) -> dict[str, Any]:
    """The outcome of a job, by fields of a Trial; metrics and folds if it was measured.

    `max_bytes`: refuses what the target says will need more. What the training raises is a
    result, with its reason; its traceback goes along under `traceback`, for display.
    """
    started = time.monotonic()
    outcome: dict[str, Any] = {"status": "ok", "error": None}
    meta: dict[str, Any] = {}
    try:
        refused = _refused(target, job, max_bytes)
        if refused:
            seen = {"refused": True, "seconds": 0.0}
            return {"status": "out_of_memory", "error": refused, "meta": seen}
        # A copy: a target may change what it is given, and one in a process of its own has one.
        config = copy.deepcopy(job.config)
        measured = dict(target.evaluate(config, job.epochs, seed, state))
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
        with contextlib.suppress(Exception):  # the result counts
            target.release_memory()
    outcome["meta"] = {**meta, "seconds": round(time.monotonic() - started, 3)}
    return outcome


def guess_seconds(target: Any, configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """The target's own estimates of an epoch of each configuration, as an outcome: `seconds`."""
    outcome: dict[str, Any] = {"status": "ok", "error": None, "meta": {}}
    try:
        outcome["seconds"] = [target.estimate_seconds(copy.deepcopy(dict(c)), 1) for c in configs]
    except Exception as exception:
        outcome |= {"status": "failed", "error": f"{type(exception).__name__}: {exception}"}
    return outcome


def _refused(target: Any, job: Job, max_bytes: int | None) -> str | None:
    """Why the training is not begun, if by the target's own estimate it cannot fit."""
    if max_bytes is None or not hasattr(target, "estimate_memory"):
        return None
    need = target.estimate_memory(copy.deepcopy(job.config))
    if need <= max_bytes:
        return None
    return f"refused: it needs about {need / 1e9:.2f} GB, allowed are {max_bytes / 1e9:.2f}"


def _numbers(measured: dict[str, Any]) -> dict[str, float | None]:
    """Metrics for the journal, None where not finite; TypeError for what is no real number."""
    for name, value in measured.items():
        number = isinstance(value, int | float | np.integer | np.floating)
        huge = isinstance(value, int) and abs(value) > sys.float_info.max
        if not number or isinstance(value, bool) or huge:
            raise TypeError(f"metric {name} is no number: {value!r}")
    return _for_json(measured)


def _for_json(value: Any) -> Any:
    """Plain data; TypeError or ValueError for what the journal could not hold."""
    plain = without_nan(value)
    json.dumps(plain, allow_nan=False)
    return plain
