"""Result files of `main.py` on the test split, assigned to the runs that they belong to."""

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from engine.storage.run import identity
from evaluation.comparison import outcomes
from evaluation.results import read_content, read_predictions
from reports.reading import Run
from utils import InputError

TRAINING = ("epochs", "optimizer", "seeds")  # equal in a fair comparison


@dataclass(frozen=True)
class Result:
    """A result on the test split, of the run's winner or of its baseline."""

    path: Path
    content: dict[str, Any]
    of_winner: bool


def winner_and_baseline(results: Sequence[Result]) -> tuple[Result | None, Result | None]:
    """The winner to show, and its baseline if that was trained in the same way.

    Of several winners, the first that has such a baseline.
    """
    winners = [one for one in results if one.of_winner]
    for one, other in itertools.product(winners, results):
        same = all(one.content[name] == other.content[name] for name in TRAINING)
        if same and not other.of_winner:
            return one, other
    return winners[0] if winners else None, None


def read_results(
    runs: Sequence[Run], named: Iterable[str | Path] = ()
) -> tuple[list[list[Result]], list[str]]:
    """Results on the test split by run, and messages about omitted files.

    Reads the named files, those in the folder of a run, and those beside it, in this order. A
    result belongs to the run in its `found_by`. Without that entry it belongs to the run in whose
    folder it is or, if it was named, to all runs with its configuration as winner. InputError if
    a named file is not a result.
    """
    found: list[list[Result]] = [[] for _ in runs]
    left_out: list[str] = []
    for path, home in _places(runs, [Path(name) for name in named]):
        try:
            content = read_content(path)
        except InputError as error:
            if home is None:
                raise
            left_out.append(f"{error}; it is left out")
            continue
        owners = [run for run in runs if _is_of(content, run, home)]
        for run in owners:
            reason = _unfit(content, run)
            if reason is None:
                found[runs.index(run)].append(Result(path, content, _is_winner(content, run)))
            else:
                left_out.append(f"{path} {reason}; it is left out of {run.name}")
        if not owners and home is None:
            left_out.append(f"{path} is a result of none of these runs; it is left out")
    return found, left_out


def _places(runs: Sequence[Run], named: Sequence[Path]) -> Iterable[tuple[Path, Path | None]]:
    """Each file once, with its folder, or None if it was named."""
    places: dict[Path, tuple[Path, Path | None]] = {}
    for path in named:
        places.setdefault(path.resolve(), (path, None))
    for folder in [*(run.path for run in runs), *(run.path.parent for run in runs)]:
        # the default name of main.py comes first
        for path in sorted(folder.glob("*result_test*.json"), key=lambda p: (len(p.name), p)):
            places.setdefault(path.resolve(), (path, folder))
    return places.values()


def _is_of(result: dict[str, Any], run: Run, home: Path | None) -> bool:
    """Whether a result belongs to this run. home: its folder, or None if it was named."""
    if result.get("found_by") is not None:
        return result["found_by"] == identity(run.record)
    return _is_winner(result, run) if home is None else home == run.path


def _is_winner(result: dict[str, Any], run: Run) -> bool:
    return run.best is not None and result["config"] == run.best.config


def _unfit(result: dict[str, Any], run: Run) -> str | None:
    """Why a result does not describe the run on the test split; None if it does."""
    if result["split"] != "test":
        return "was measured on the folds"
    if result["config"] not in [one.config for one in (run.best, run.baseline) if one]:
        return "is not of the best configuration of the run"
    if result["dataset"].get("fingerprint") != run.data.get("fingerprint"):
        return f"was measured on other images ({result['dataset'].get('name')})"
    return None


@dataclass(frozen=True)
class Misclassified:
    """An image of the test split with a wrong answer."""

    name: str
    true: str
    answer: str
    confidence: float  # the probability of the answer
    file: Path | None  # the image, if it still exists


def errors(result: Result) -> tuple[np.ndarray, list[Misclassified]]:
    """Of the network of the first seed, the confusion matrix and the misclassified images.

    (classes, classes): images of a class (row) predicted as a class (column). The most confident
    errors come first. InputError if the predictions beside the result file cannot be used.
    """
    data = result.content["dataset"]
    names = data.get("class_names") or []
    first, *_ = read_predictions(result.content, result.path)
    counts, found = np.zeros((len(names), len(names)), dtype=int), []
    seen = outcomes([first])
    np.add.at(counts, (seen.labels, seen.predicted[0]), 1)
    for i in np.flatnonzero(seen.predicted[0] != seen.labels):
        image, confidence = str(first["names"][i]), float(seen.confidence[0, i])
        classes = names[seen.labels[i]], names[seen.predicted[0, i]]
        found.append(Misclassified(image, *classes, confidence, _image(data, image)))
    return counts, sorted(found, key=lambda one: -one.confidence)


def _image(data: dict[str, Any], name: str) -> Path | None:
    """The file of an image of the test split, in any layout of a data set."""
    root = Path(data.get("root") or "")
    places = root / "test" / name, root / name, root / "jpg" / Path(name).name
    return next((place for place in places if data.get("root") and place.is_file()), None)
