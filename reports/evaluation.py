"""Result files of `main.py` that belong to a run: what its winner reaches on the test split."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reports.reading import Run
from utils import InputError, read_json


def read_results(runs: Sequence[Run], named: Iterable[str | Path] = ()) -> list[dict[str, Any]]:
    """Results on the test split: those named, and those in the folders of the runs and above.

    Each with its `path`. InputError if a named file is no result.
    """
    found: dict[Path, dict[str, Any]] = {}
    for path in map(Path, named):
        result = read_json(path)
        if not _is_result(result):
            raise InputError(f"--results: {path} is no result file of main.py")
        found[path.resolve()] = {**result, "path": path}
    for folder in dict.fromkeys(place for run in runs for place in (run.path, run.path.parent)):
        for path in sorted(folder.glob("*result_test*.json")):
            try:
                result = read_json(path)
            except InputError:  # half a file of somebody else is no reason for no report
                continue
            if _is_result(result):
                found.setdefault(path.resolve(), {**result, "path": path})
    return [result for result in found.values() if result["split"] == "test"]


def _is_result(content: Any) -> bool:
    return isinstance(content, dict) and {"config", "metrics", "split"} <= set(content)


def results_of(run: Run, results: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Those of the run's best configuration, as plain data."""
    if run.best is None:
        return []
    return [_plain(one) for one in results if one["config"] == run.best.config]


def _plain(result: dict[str, Any]) -> dict[str, Any]:
    kept = ("epochs", "optimizer", "seeds", "metrics", "constraints", "layers")
    names = (result.get("dataset") or {}).get("class_names") or []
    matrix = confusion(result, len(names))
    return {
        "file": str(result["path"]),
        **{key: result.get(key) for key in kept},
        "class_names": names,
        "confusion": None if matrix is None else matrix.tolist(),
        "classes": None if matrix is None else per_class(matrix),
    }


def confusion(result: dict[str, Any], classes: int) -> np.ndarray | None:
    """(seeds, classes, classes): images of a class (row) predicted as a class (column).

    None if the file of the predictions is not there any more.
    """
    named = result.get("predictions") or []
    files = [named] if isinstance(named, str) else named
    counts = []
    for name in files:
        path = result["path"].parent / name
        if not path.is_file():
            return None
        with np.load(path, allow_pickle=False) as saved:
            labels, scores = saved["labels"], saved["scores"]
        count = np.zeros((classes, classes), dtype=int)
        np.add.at(count, (labels, scores.argmax(axis=1)), 1)
        counts.append(count)
    return np.array(counts) if counts and classes else None


def per_class(matrix: np.ndarray) -> list[dict[str, float]]:
    """[{"precision", "recall", "images"}] of each class, means over the seeds.

    A class that is never predicted has precision 0, as in the macro precision of the search.
    """
    correct = np.diagonal(matrix, axis1=1, axis2=2)
    predicted, images = matrix.sum(axis=1), matrix.sum(axis=2)
    precision = (correct / np.maximum(predicted, 1)).mean(axis=0)
    recall = (correct / np.maximum(images, 1)).mean(axis=0)
    return [
        {"precision": float(p), "recall": float(r), "images": int(n)}
        for p, r, n in zip(precision, recall, images[0], strict=True)
    ]
