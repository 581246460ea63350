"""Checks of the program's promises on a GPU: see benchmarks/gpu_check.py.

Each check returns its findings as text, and raises AssertionError if the promise is broken.
They need torch, numpy, scipy and ConfigSpace only.
"""

import contextlib
import importlib.util
import json
import math
import os
import signal
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from engine.cli.settings import resolve
from engine.workers.executor import evaluate
from engine.workers.machine import resident_memory
from engine.workers.pool import ProcessPool
from optimizer import search
from search.space import Space
from search.trial import Job
from target import ImageTarget, cross_validation
from training.device import MEMORY_SHARE, out_of_memory_as_memory_error
from utils import canonical_json, without_nan
from vision.data import Images

ROOT = Path(__file__).resolve().parent.parent
DTYPES = ("float32", "tf32", "bfloat16")
CLASSES = 17
RUNGS = (3, 6, 12)
SHARE_BYTES = 10**9  # of a GPU, for the out-of-memory check; on a CPU, of the process
NOISE = 0.1  # largest relative difference of logits after an epoch that rounding explains
FREED_SECONDS = 20.0  # in which the driver frees the memory of a killed process
# Every layer and every augmentation of both families.
PUBLISHED: dict[str, Any] = {
    **{"n_conv_layers": 2, "n_channels_conv_0": 24, "n_channels_conv_1": 32, "kernel_size": 3},
    **{"use_BN": True, "global_avg_pooling": False, "n_fc_layers": 1, "n_channels_fc_0": 32},
    **{"dropout_rate": 0.3, "batch_size": 32, "learning_rate_init": 0.003},
}
MODERN: dict[str, Any] = {
    **{"n_stages": 2, "width_0": 16, "width_1": 24, "block": "residual", "convs_per_stage": 2},
    **{"kernel_size": 3, "activation": "silu", "dropout_rate": 0.2, "batch_size": 32},
    **{"learning_rate_init": 0.005, "weight_decay": 0.1, "label_smoothing": 0.1, "flip": True},
    **{"shift": 0.2, "cutout": 0.3, "color": 0.2, "mixup": 0.3},
}
NETWORKS = {
    "published": PUBLISHED,
    "published, pooled": {**PUBLISHED, "global_avg_pooling": True, "use_BN": False},
    "residual": MODERN,
    "separable": {**MODERN, "block": "separable", "activation": "relu"},
}
# Its first activation far exceeds the memory of the out-of-memory check.
HUGE = {**PUBLISHED, "n_channels_conv_0": 32768, "n_channels_conv_1": 8, "batch_size": 1024}


class Scale(NamedTuple):
    """The sizes of the checks, and their device."""

    device: str = "cuda"
    images: int = 1020
    side: int = 16  # pixels
    workers: tuple[int, ...] = (1, 2, 8)  # of the compared searches
    population: int = 6
    networks: tuple[str, ...] = tuple(NETWORKS)
    dtypes: tuple[str, ...] = DTYPES

    @property
    def on_gpu(self) -> bool:
        return self.device == "cuda"


REHEARSAL = Scale("cpu", 68, 8, (1, 2), 2, ("published", "residual"), ("float32", "bfloat16"))


def pictures(scale: Scale) -> Images:
    """Noise with a faint colour for each class: learnable, but not at once."""
    rng = np.random.default_rng(0)
    labels = np.sort(np.arange(scale.images) % CLASSES).astype(np.int64)
    colours = rng.integers(60, 200, (CLASSES, 3))
    shape = scale.images, scale.side, scale.side, 3
    pixels = colours[labels][:, None, None] + 60 * rng.standard_normal(shape)
    return Images(
        pixels.clip(0, 255).astype(np.uint8),
        labels,
        tuple(f"{label}/{i}.png" for i, label in enumerate(labels)),
    )


def optimizer_here() -> str:
    """The optimizer of the modern training if its package is installed, else AdamW."""
    return "schedule-free" if importlib.util.find_spec("schedulefree") else "adamw"


def target_of(scale: Scale, **options: Any) -> ImageTarget:
    """A target of two folds."""
    given = {"device": scale.device, "optimizer": optimizer_here(), "curve_epochs": RUNGS}
    return cross_validation(pictures(scale), CLASSES, 2, 1, **{**given, **options})


def bits(result: Mapping[str, Any]) -> str:
    """All of a result that must be reproducible, as text."""
    kept = {name: value for name, value in result.items() if name != "meta"}
    return canonical_json(without_nan(kept))


def each(scale: Scale) -> Iterable[tuple[str, ImageTarget, dict[str, Any]]]:
    """(name, target, configuration) of all networks in every dtype."""
    for dtype in scale.dtypes:
        for name in scale.networks:
            target = target_of(scale, dtype=dtype)
            yield f"{name} in {dtype}", target, NETWORKS[name]


def one_journal(scale: Scale) -> str:
    """Any number of workers, or none, gives the same journal; the driver never touches CUDA."""
    space = Space.load(ROOT / "configs" / "space_modern.json")
    given = {"pop_size": scale.population, "epochs": 4, "min_epochs": 2, "max_generations": 1}
    given |= {"constraints": ["num_params <= 1e5", "macs <= 2e6"], "optimizer": optimizer_here()}
    before = torch.cuda.is_initialized()
    found, words = {}, []
    for workers in (*scale.workers, 0):  # 0 trains in this process, and so comes last
        settings = resolve({**given, "workers": workers, "device": scale.device})
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            result = search(space, target_of(scale), settings, folder)
            words.append(f"{workers}: {time.perf_counter() - started:.0f} s")
            journal = (Path(folder) / "trials.jsonl").read_text().splitlines()
        assert result.reason == "generation limit", result.detail
        statuses = {trial.status for trial in result.trials}
        assert statuses == {"ok"}, f"trials of {workers} workers: {statuses}"
        found[workers] = {canonical_json({**json.loads(line), "meta": None}) for line in journal}
        if workers:
            assert torch.cuda.is_initialized() == before, "the driver touched CUDA"
    assert all(lines == found[0] for lines in found.values()), "journals differ"
    return f"{len(found[0])} trials each with workers {', '.join(words)}"


def continues_exactly(scale: Scale) -> str:
    """3 -> 6 -> 12 epochs, through a file, give the same bits as 12 epochs at once."""
    names = []
    for name, target, config in each(scale):
        whole = target.evaluate(config, RUNGS[-1], 4)
        assert math.isfinite(whole["loss"]), f"{name}: diverged"
        with tempfile.TemporaryDirectory() as folder:
            for epochs in RUNGS:
                step = target.evaluate(config, epochs, 4, Path(folder) / "state.pt")
        assert bits(step) == bits(whole), f"{name}: {' -> '.join(map(str, RUNGS))} differs"
        names.append(name)
    return f"{len(names)} networks, {' -> '.join(map(str, RUNGS))} epochs"


def no_synchronisation(scale: Scale) -> str:
    """An epoch never waits for the device (as far as torch detects it)."""
    names = []
    for name, target, config in each(scale):
        trainer = target.trainer(config, 4, 0)
        trainer.train_epoch(target.images, target.targets)  # one-time initialisation
        if scale.on_gpu:
            torch.cuda.set_sync_debug_mode("error")
        try:
            trainer.train_epoch(target.images, target.targets)
        finally:
            if scale.on_gpu:
                torch.cuda.set_sync_debug_mode("default")
        names.append(name)
    return f"{len(names)} networks{'' if scale.on_gpu else ' (a CPU has nothing to wait for)'}"


def hides_out_of_memory(target: ImageTarget) -> dict[str, Any]:
    """Runs in a worker: an allocation fails and the work continues, as in cuDNN."""
    try:
        with out_of_memory_as_memory_error(), contextlib.suppress(torch.OutOfMemoryError):
            torch.empty(4 * SHARE_BYTES, dtype=torch.uint8, device=target.device)
    except MemoryError as error:
        return {"status": "out_of_memory", "error": str(error), "meta": {}}
    return {"status": "ok", "error": None, "meta": {}}


def memory_is_a_result(scale: Scale) -> str:
    """A network that exceeds its worker's memory is a trial, and the next one succeeds."""
    target = target_of(scale)
    total = torch.cuda.get_device_properties(0).total_memory if scale.on_gpu else SHARE_BYTES
    place = {MEMORY_SHARE: f"{SHARE_BYTES / total:.6f}"} if scale.on_gpu else {}
    limit = 10**12 if scale.on_gpu else SHARE_BYTES + 3 * 10**8
    with ProcessPool(target, 1, math.inf, limit, [place]) as pool:
        outcomes = [
            pool.submit(evaluate, Job(number, 0, 1, 0, 1, 1, config), 4, None, None).result()
            for number, config in enumerate((PUBLISHED, HUGE, PUBLISHED))
        ]
        if scale.on_gpu:
            hidden = pool.submit(hides_out_of_memory).result()["status"]
            assert hidden == "out_of_memory", "a hidden lack of memory is not detected"
    statuses = [outcome["status"] for outcome in outcomes]
    said = [outcome["error"] for outcome in outcomes]
    assert statuses == ["ok", "out_of_memory", "ok"], f"{statuses}: {said}"
    assert outcomes[0]["metrics"] == outcomes[2]["metrics"], "the next one differs"
    return f"{outcomes[1]['error'][:60]}..."


def who(target: ImageTarget) -> dict[str, Any]:
    """Runs in a worker: trains, so that it holds memory; returns its process id."""
    target.evaluate(PUBLISHED, 1, 4)
    return {"pid": os.getpid(), "status": "ok", "meta": {}}


def kill_frees(scale: Scale) -> str:
    """kill -9 of a worker frees its memory."""
    before = used_bytes(scale, None)
    pool = ProcessPool(target_of(scale), 1, math.inf, 10**12)
    try:
        pid = pool.submit(who).result()["pid"]
        held = used_bytes(scale, pid) - before
        assert held > 50e6, f"a worker holds {held / 1e6:.0f} MB only: nothing is measured"
        os.kill(pid, signal.SIGKILL)
        deadline = time.monotonic() + FREED_SECONDS
        while (left := used_bytes(scale, pid) - before) > held / 10:
            assert time.monotonic() < deadline, f"{left / 1e6:.0f} MB are still held"
            time.sleep(0.1)
    finally:
        pool.shutdown()
    return f"{held / 1e6:.0f} MB are free again"


def used_bytes(scale: Scale, pid: int | None) -> int:
    """Used memory of the GPU; on a CPU, of the process `pid`."""
    if not scale.on_gpu:
        return resident_memory(pid) if pid is not None else 0
    free, total = torch.cuda.mem_get_info(0)
    return total - free


def agrees_with_the_cpu(scale: Scale) -> str:
    """Networks without random draws on the device learn the same on both, up to rounding."""
    still = {"dropout_rate": 0.0, "flip": False, "shift": 0.0, "cutout": 0.0, "color": 0.0}
    words = []
    for name in scale.networks:
        config = {**NETWORKS[name], "mixup": 0.0, **still}
        logits = []
        for device in ("cpu", scale.device):
            target = target_of(scale, device=device, optimizer="adamw")
            logits.append(target.fit(target.trainer(config, 4, 0), 0, 1))
        gap = np.linalg.norm(logits[0] - logits[1]) / np.linalg.norm(logits[0])
        words.append(f"{name} {100 * gap:.2f} %")
        assert gap < NOISE, f"logits after an epoch differ: {words[-1]}"
    return f"logits after an epoch differ by: {', '.join(words)}"


# In this order: the first needs a process that has not touched CUDA.
PROMISES: dict[str, Callable[[Scale], str]] = {
    "one journal": one_journal,
    "runs repeat, and continue exactly": continues_exactly,
    "an epoch waits for nothing": no_synchronisation,
    "out of memory is a trial": memory_is_a_result,
    "kill -9 frees memory": kill_frees,
    "CPU and GPU agree": agrees_with_the_cpu,
}
