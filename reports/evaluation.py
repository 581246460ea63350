"""Result files of `main.py` that belong to a run: what its winner reaches on the test split."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine.storage.run import identity
from evaluation.results import NEEDED, read_predictions
from reports.reading import Run
from utils import InputError, read_json


def read_results(
    runs: Sequence[Run], named: Iterable[str | Path] = ()
) -> tuple[list[list[dict[str, Any]]], list[str]]:
    """Results on the test split by run, as plain data, and what was left out and why, in words.

    Looked at are the files that are named, those in the folder of a run, and those beside it, in
    this order. A result belongs to the run that it says has found its configuration; if it does
    not say (one from elsewhere does not), to the run in whose folder it is, or to all that have
    this winner if it was named. InputError if a named file is no result.
    """
    found: list[list[dict[str, Any]]] = [[] for _ in runs]
    left_out: list[str] = []
    for path, home in _places(runs, [Path(name) for name in named]):
        try:
            result = _read(path)
        except InputError as error:
            if home is None:
                raise
            left_out.append(f"{error}; it is left out")
            continue
        owners = [run for run in runs if _is_of(result, run, home)]
        for run in owners:
            reason = _unfit(result, run)
            if reason is None:
                found[runs.index(run)].append(_plain(result, path))
            else:
                left_out.append(f"{path} {reason}; it is left out of {run.name}")
        if not owners and home is None:
            left_out.append(f"{path} is a result of none of these runs; it is left out")
        elif not owners and result.get("found_by") is None and _is_a_winner(result, runs):
            words = "does not say which search found its configuration: name it with --results"
            left_out.append(f"{path} {words}, or evaluate again")
    return found, left_out


def _places(runs: Sequence[Run], named: Sequence[Path]) -> Iterator[tuple[Path, Path | None]]:
    """Each file once, with the folder where it was found; None for those that were named."""
    seen = set()
    folders = [*(run.path for run in runs), *(run.path.parent for run in runs)]
    for path, home in [
        *((path, None) for path in named),
        *(
            (path, folder)
            for folder in folders
            # main.py's own name for it comes before others
            for path in sorted(folder.glob("*result_test*.json"), key=lambda p: (len(p.name), p))
        ),
    ]:
        if path.resolve() not in seen:
            seen.add(path.resolve())
            yield path, home


def _read(path: Path) -> dict[str, Any]:
    result = read_json(path)
    if not isinstance(result, dict) or not {*NEEDED} <= set(result):
        raise InputError(f"{path} is no result file of main.py")
    return result


def _is_of(result: dict[str, Any], run: Run, home: Path | None) -> bool:
    """Whether a result, found in that folder or named, is about this run."""
    says = result.get("found_by")
    if says is not None:
        return says == identity(run.record)
    if home is None:
        return _is_a_winner(result, [run])
    return home == run.path


def _is_a_winner(result: dict[str, Any], runs: Sequence[Run]) -> bool:
    return any(run.best is not None and result["config"] == run.best.config for run in runs)


def _unfit(result: dict[str, Any], run: Run) -> str | None:
    """Why a result says nothing about the run's winner on the test split; None if it does."""
    if result["split"] != "test":
        return "was measured on the folds"
    if run.best is None or result["config"] != run.best.config:
        return "is not of the best configuration of the run"
    ours, its = run.record.get("data") or {}, result["dataset"]
    if its.get("fingerprint") != ours.get("fingerprint"):
        return f"was measured on other images ({its.get('name')})"
    return None


def _plain(result: dict[str, Any], path: Path) -> dict[str, Any]:
    kept = ("epochs", "optimizer", "seeds", "metrics", "constraints", "layers", "dataset")
    kept += ("threshold", "at_threshold")
    names = result["dataset"].get("class_names") or []
    try:
        matrix, unread = confusion(result, path), None
    except InputError as error:
        matrix, unread = None, str(error)
    return {
        "file": str(path),
        **{key: result.get(key) for key in kept},
        "class_names": names,
        "confusion": None if matrix is None else matrix.tolist(),
        "classes": None if matrix is None else per_class(matrix),
        "unread": unread,
    }


def confusion(result: dict[str, Any], path: Path) -> np.ndarray:
    """(seeds, classes, classes): images of a class (row) predicted as a class (column).

    InputError if the predictions beside the result file `path` cannot be used.
    """
    classes = len(result["dataset"].get("class_names") or [])
    counts = []
    for stored in read_predictions(result, path):
        count = np.zeros((classes, classes), dtype=int)
        try:
            np.add.at(count, (stored["labels"], stored["scores"].argmax(axis=1)), 1)
        except (LookupError, TypeError, ValueError):
            raise InputError(f"{path}: its predictions do not fit its classes") from None
        counts.append(count)
    return np.array(counts)


def per_class(matrix: np.ndarray) -> list[dict[str, Any]]:
    """[{"precision", "recall", "images"}] of each class, means over the seeds.

    A class that is never predicted has precision 0; one without images has neither (None), as in
    the macro precision and recall of the search.
    """
    correct = np.diagonal(matrix, axis1=1, axis2=2)
    predicted, images = matrix.sum(axis=1), matrix.sum(axis=2)
    precision = (correct / np.maximum(predicted, 1)).mean(axis=0)
    recall = (correct / np.maximum(images, 1)).mean(axis=0)
    return [
        {
            "precision": float(p) if n else None,
            "recall": float(r) if n else None,
            "images": int(n),
        }
        for p, r, n in zip(precision, recall, images[0], strict=True)
    ]
