"""Retrains the networks of the first version: published figures beside current ones.

    python -m benchmarks.published --seeds 0 1 2 --output runs/published

`main.py` trains each configuration of published.json for 50 epochs on all training images, and
measures it on the test split of Flowers-17.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from engine.cli.command import command
from evaluation.results import read_result
from utils import write_json

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = json.loads((Path(__file__).parent / "published.json").read_text())["results"]
HEADER = """\
| search | top-3: then \\| now | per batch: then \\| now | macro precision |
| --- | --- | --- | --- |"""


def precision_per_batch(
    predicted: np.ndarray, labels: np.ndarray, num_classes: int, batch_size: int
) -> float:
    """Precision of each batch of consecutive images, weighted by the size of the batch.

    A mean over all classes. It falls with the batch size, as most classes are absent from a small
    batch and count 0: use it only beside the published figures.
    """
    total = 0.0
    for start in range(0, len(labels), batch_size):
        guessed, true = (part[start : start + batch_size] for part in (predicted, labels))
        right = np.bincount(true[guessed == true], minlength=num_classes)
        guesses = np.bincount(guessed, minlength=num_classes)
        total += (right / np.maximum(guesses, 1)).mean() * len(true)
    return float(total / len(labels))


def published_order(names: Sequence[str]) -> list[int]:
    """Images sorted by folder and file as text (1, 10, 11, ..., 2), as in the first version."""
    return sorted(range(len(names)), key=lambda i: (*Path(names[i]).parts[-2:], i))


def row(name: str, then: dict[str, float], result_file: Path) -> str:
    """A row of the table: means over the seeds of a result of `main.py`."""
    result, stored = read_result(result_file)
    classes, batches = len(result["dataset"]["class_names"]), []
    for one in stored:
        order = published_order(list(one["names"]))
        guesses, labels = one["scores"].argmax(axis=1)[order], one["labels"][order]
        size = result["config"]["batch_size"]
        batches.append(precision_per_batch(guesses, labels, classes, size))
    now = result["metrics"]
    return (
        f"| {name} | {then['test_top3']:.3f} \\| {now['top3']:.3f} "
        f"| {then['test_precision_batch']:.3f} \\| {np.mean(batches):.3f} "
        f"| {now['precision']:.3f} |"
    )


def run(argv: Sequence[str] | None) -> int:
    """Trains all, then prints the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", nargs="+", default=["0", "1", "2"])
    parser.add_argument("--output", type=Path, default=ROOT / "runs" / "published")
    given = parser.parse_args(argv)
    given.output.mkdir(parents=True, exist_ok=True)
    files = [given.output / f"{entry['name']}.json" for entry in PUBLISHED]
    for entry, file in zip(PUBLISHED, files, strict=True):
        write_json(file, entry["config"])
    evaluation = [str(ROOT / "main.py"), "-t", "--dataset", "flowers17", "-c", *map(str, files)]
    evaluation += ["--output", str(given.output), "--seeds", *given.seeds]
    if code := subprocess.run([sys.executable, *evaluation]).returncode:
        return code
    print(HEADER)
    for entry in PUBLISHED:
        result = given.output / f"{entry['name']}_result_test.json"
        print(row(entry["name"], entry["published"], result))
    return 0


if __name__ == "__main__":
    sys.exit(command("benchmarks.published", lambda: run(None)))
