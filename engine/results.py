"""What `main.py` writes and prints: a result file a configuration, predictions, one table."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine import telling
from search.constraints import Ranking
from utils import without_nan

SHOWN = ("top3", "top1", "precision", "recall", "loss")


def paths(
    config_path: Path, output: str | None, on_test: bool, several: bool
) -> tuple[Path, Path]:
    """(result file, predictions): beside the configuration, or where --output says."""
    prefix, split = f"{config_path.stem}_" if several else "", "test" if on_test else "cv"
    folder = config_path.parent if output is None else Path(output)
    if output is not None and folder.suffix == ".json" and not several and not folder.is_dir():
        folder.parent.mkdir(parents=True, exist_ok=True)
        return folder, folder.with_name(f"{folder.stem}_predictions.npz")
    folder.mkdir(parents=True, exist_ok=True)
    return folder / f"{prefix}result_{split}.json", folder / f"{prefix}predictions_{split}.npz"


def save_predictions(
    path: Path, target: Any, scores: np.ndarray, names: Sequence[str], seed: int
) -> None:
    """An npz, a row an image that was held out: scores (logits), labels, names, fold.

    And the seed.
    """
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
    note = first["dataset"]["note"]
    return "\n".join([*lines, f"NOTE: {note}"] if note else lines)
