"""What `main.py` writes and prints: a result file a configuration, predictions, one table."""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine import telling
from search.constraints import Ranking
from utils import InputError, without_nan

SHOWN = ("top3", "top1", "precision", "recall", "loss")


def places(configs: Sequence[Path], output: str | None, on_test: bool) -> list[tuple[Path, Path]]:
    """(result file, predictions) of each configuration: beside it, or where --output says.

    Makes the folders, so that a place that cannot be written is told before anything is trained.
    """
    several, split, pairs = len(configs) > 1, "test" if on_test else "cv", []
    for config in configs:
        prefix = f"{config.stem}_" if several else ""
        folder = config.parent if output is None else Path(output)
        file = folder / f"{prefix}result_{split}.json"
        predictions = folder / f"{prefix}predictions_{split}.npz"
        if output is not None and folder.suffix == ".json" and not several:
            folder, file = folder.parent, folder
            predictions = folder / f"{file.stem}_predictions.npz"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"results cannot go to {output}: {error.strerror}") from None
        check_file(file)
        if (file, predictions) in pairs:
            raise InputError(f"{config}: the result of another {config.name} would be overwritten")
        pairs.append((file, predictions))
    return pairs


def check_file(path: Path, flag: str = "") -> None:
    """InputError if no file can be written there."""
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        reason = "is a folder" if path.is_dir() else f"folder {path.parent} cannot be written"
        raise InputError(f"{flag}{path}: {reason}; name a file in a folder that can be written")


def save_predictions(
    path: Path, target: Any, scores: np.ndarray, names: Sequence[str], seed: int
) -> None:
    """An npz: scores (logits), labels, names and fold of each held-out image; the seed."""
    held_out = [part for _, part in target.folds]
    index = np.concatenate(held_out)
    fold = np.concatenate([np.full(len(part), number) for number, part in enumerate(held_out)])
    np.savez_compressed(
        path,
        scores=scores,
        labels=target.labels[index],
        names=np.array([names[i] for i in index]),
        fold=fold,
        seed=seed,
    )


def table(done: Sequence[tuple[Path, Mapping[str, Any], Path]], ranking: Ranking) -> str:
    """One row a configuration, then the verdict on each limit, and where the results are.

    done: (file of the configuration, result, file of the result) of each.
    """
    first = done[0][1]
    shown = [name for name in (*SHOWN, "precision_per_batch") if name in first["metrics"]]
    rows = [["configuration", "epochs", *shown, "parameters", "multiply-adds"]]
    for path, result, _ in done:
        values = [f"{result['metrics'][name]:.4f}" for name in shown]
        sizes = [f"{result['num_params']:,}", f"{result['macs']:,}"]
        rows.append([str(path), str(result["epochs"]), *values, *sizes])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    where = "the test split" if first["split"] == "test" else "the folds (means)"
    lines = ["", f"{first['dataset']['name']}, measured on {where}:"]
    for name, *cells in rows:
        aligned = [cell.rjust(width) for cell, width in zip(cells, widths[1:], strict=True)]
        lines.append("  ".join([name.ljust(widths[0]), *aligned]))
    for path, result, file in done:
        cheap = {"num_params": result["num_params"], "macs": result["macs"]}
        known = without_nan({**result["metrics"], **cheap})
        lines += [f"{path}:", *(f"    {verdict}" for verdict in telling.verdicts(known, ranking))]
        lines.append(f"    result in {file}")
    if len({result["epochs"] for _, result, _ in done}) > 1:
        lines.append("They were trained for different numbers of epochs: no fair comparison.")
    note = first["dataset"]["note"]
    return "\n".join([*lines, f"NOTE: {note}"] if note else lines)
