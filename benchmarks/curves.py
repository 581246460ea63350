"""Recorded learning curves as one compressed file: what `benchmarks.record` packs.

An npz of plain arrays, nothing pickled. Metrics are kept as float32 (relative error 6e-8; a share
of 340 held-out images has steps of 3e-3), seconds as float32; NaN from where a fold has diverged.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from search.trial import Trial
from utils import InputError, replacing

METRICS = ("top3", "top1", "precision", "recall", "loss")
PACKED = Path(__file__).resolve().parent / "data" / "curves.npz"


class Curves(NamedTuple):
    """Trainings of N configurations over F folds and E epochs."""

    configs: list[dict[str, Any]]  # N
    operators: list[str]  # N: how each was drawn: sample, mutate or recombine
    num_params: np.ndarray  # (N,) whole numbers
    macs: np.ndarray  # (N,) multiply-adds of one image
    seconds: np.ndarray  # (N,) of all folds, on whatever the machine was busy with
    curves: np.ndarray  # (N, F, E, 5): METRICS after epochs 1 to E on the held-out images


def pack(trials: Sequence[Trial], path: Path) -> int:
    """Writes the trainings that were measured, also diverged ones; returns how many are there.

    A file that holds more is left as it is: a recording begun anew must not cost an old one.
    """
    kept = sorted((t for t in trials if t.folds), key=lambda trial: trial.trial)
    there = len(unpack(path).configs) if path.exists() else 0
    if there > len(kept):
        return there
    curves = [
        [[[point[name] for name in METRICS] for point in fold["curve"]] for fold in trial.folds]
        for trial in kept
    ]
    write_arrays(
        path,
        configs=np.array([json.dumps(trial.config) for trial in kept]),
        operators=np.array([trial.operator for trial in kept]),
        num_params=np.array([trial.metrics["num_params"] for trial in kept], np.int64),
        macs=np.array([trial.metrics["macs"] for trial in kept], np.int64),
        seconds=np.array([trial.observed["seconds"] for trial in kept], np.float32),
        curves=np.array(curves, np.float32),  # None becomes NaN
    )
    return len(kept)


def write_arrays(path: Path, **arrays: np.ndarray) -> None:
    """Replaces an npz whole or not at all."""
    with replacing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, **arrays)


def unpack(path: Path = PACKED) -> Curves:
    """Reads what `pack` wrote. InputError if there is no such file."""
    try:
        with np.load(path) as packed:
            arrays = {name: packed[name] for name in packed.files}
    except OSError as error:
        raise InputError(f"curves {path} cannot be read: {error.strerror or error}") from None
    return Curves(
        [json.loads(text) for text in arrays["configs"]],
        arrays["operators"].tolist(),
        *(arrays[name] for name in ("num_params", "macs", "seconds", "curves")),
    )
