"""Writes and reads the result files of `main.py`, and the predictions beside them."""

import hashlib
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine import wording
from evaluation.candidates import Candidate
from utils import InputError, read_json

NEEDED = (
    *("config", "seeds", "split", "epochs", "metrics", "constraints", "num_params", "macs"),
    *("optimizer", "dataset", "by_seed"),
)
Predictions = Mapping[str, np.ndarray]  # see `predictions_of`


def places(
    configs: Sequence[Path], output: str | None, on_test: bool, seeds: Sequence[int]
) -> list[tuple[Path, list[Path]]]:
    """(result file, predictions by seed) of each configuration: beside it, or at --output.

    Makes the folders, so that an unwritable place is an error before any training.
    """
    if output == "":
        raise InputError("--output is empty; allowed is a file or a folder")
    several, split = len(configs) > 1, "test" if on_test else "cv"
    if several and output is not None and output.endswith(".json"):
        count = wording.counted(len(configs), "configuration")
        raise InputError(f"--output {output} is one file for {count}; allowed is a folder")
    found: list[tuple[Path, list[Path]]] = []
    for config in configs:
        prefix = f"{config.stem}_" if several else ""
        # The link to the last winner leads to its run, whose results the next one leaves alone.
        real = config
        while real.is_symlink():
            real = real.parent / real.readlink()
        folder = real.parent if output is None else Path(output)
        file = folder / f"{prefix}result_{split}.json"
        stem = f"{prefix}predictions_{split}"
        if output is not None and folder.suffix == ".json":
            folder, file = folder.parent, folder
            stem = f"{file.stem}_predictions"
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"results cannot be written to {output}: {error.strerror}") from None
        check_file(file, "--output", configs)
        if file.resolve() in [other.resolve() for other, _ in found]:
            raise InputError(
                f"{config}: the result of another {config.name} would be overwritten; allowed are "
                "different names or folders"
            )
        ends = [f"_seed_{seed}" for seed in seeds] if len(seeds) > 1 else [""]
        found.append((file, [folder / f"{stem}{end}.npz" for end in ends]))
    return found


def check_file(path: Path, flag: str, configs: Sequence[Path] = ()) -> None:
    """InputError if the file cannot be written, or is one of the configurations or a run.json."""
    if path.is_dir() or not os.access(path.parent, os.W_OK):
        reason = "is a folder" if path.is_dir() else f"folder {path.parent} cannot be written"
        raise InputError(f"{flag} {path}: {reason}; name a file in a folder that can be written")
    read = [*configs, *(config.resolve().parent / "run.json" for config in configs)]
    if path.resolve() in [one.resolve() for one in read]:
        raise InputError(f"{flag} {path} would overwrite an input file; name another file")


def write_predictions(file: Path, predictions: Predictions) -> None:
    """Writes the arrays of `predictions_of` as npz."""
    np.savez_compressed(file, **predictions)  # type: ignore[arg-type]


def predictions_of(
    target: Any, scores: np.ndarray, names: Sequence[str], seed: int
) -> Predictions:
    """Scores (logits), labels, names and fold of each held-out image, and the seed."""
    held_out = [part for _, part in target.folds]
    index = np.concatenate(held_out)
    fold = np.concatenate([np.full(len(part), number) for number, part in enumerate(held_out)])
    return {
        "scores": scores,
        "labels": target.labels[index],
        "names": np.array([names[i] for i in index]),
        "fold": fold,
        "seed": np.array(seed),
    }


def summary(
    candidate: Candidate,
    target: Any,
    seeds: Sequence[int],
    parts: Sequence[Sequence[Mapping[str, float]]],
    predictions: Sequence[Path],
) -> dict[str, Any]:
    """The entries of a result file about a configuration; metrics are means over folds and seeds.

    parts: metrics by seed and fold. predictions: one existing file per seed.
    """
    by_seed = [_mean(by_fold) for by_fold in parts]
    folds = [_mean(by_seed_of_fold) for by_seed_of_fold in zip(*parts, strict=True)]
    return {
        "config": candidate.config,
        "seeds": list(seeds),
        "epochs": candidate.epochs,
        "metrics": _mean(by_seed),
        **target.static_metrics(candidate.config),
        **({"folds": folds} if len(folds) > 1 else {}),
        "by_seed": [
            of_seed(seed, metrics, file)
            for seed, metrics, file in zip(seeds, by_seed, predictions, strict=True)
        ],
        "layers": target.layers(candidate.config),
    }


def of_seed(seed: int, metrics: Mapping[str, float], predictions: Path) -> dict[str, Any]:
    """An entry of `by_seed`; the digest detects a changed file of predictions."""
    digest = hashlib.sha256(predictions.read_bytes()).hexdigest()
    entry = {"seed": seed, "metrics": metrics, "predictions": predictions.name}
    return entry | {"sha256": digest}


def _mean(parts: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each metric; NaN if a value is NaN."""
    return {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}


def read_result(path: Path) -> tuple[dict[str, Any], list[Predictions]]:
    """A result file, and the predictions beside it, one for each of its seeds.

    InputError if it is not a result file, or if its predictions are missing or changed.
    """
    result = read_content(path)
    return result, read_predictions(result, path)


def read_content(path: Path) -> dict[str, Any]:
    """A result file without its predictions; InputError if it is not one."""
    result = read_json(path)
    missing = [name for name in NEEDED if not isinstance(result, dict) or name not in result]
    if missing:
        raise InputError(f"{path} is not a result of main.py: it has no {missing[0]!r}")
    parts = result["by_seed"]
    known = isinstance(parts, list) and all(isinstance(part, dict) for part in parts)
    if not known or not all({"seed", "predictions", "sha256"} <= set(part) for part in parts):
        words = "'by_seed' does not list seeds, predictions and their digests; evaluate again"
        raise InputError(f"{path} is not a result of this version of main.py: {words}")
    if [part["seed"] for part in parts] != result["seeds"]:
        raise InputError(f"{path}: its predictions are not those of its seeds; evaluate again")
    return result


def read_predictions(result: Mapping[str, Any], path: Path) -> list[Predictions]:
    """The predictions beside the result file `path`, one for each of its seeds.

    InputError if they are missing, or not those that were written with it.
    """
    stored: list[Predictions] = []
    for part in result["by_seed"]:
        file = path.parent / part["predictions"]
        try:
            content = file.read_bytes()
        except OSError as error:
            words = f"its predictions {file} cannot be read: {error.strerror}"
            raise InputError(f"{path}: {words}") from None
        if hashlib.sha256(content).hexdigest() != part["sha256"]:
            words = f"the predictions {file} are not those of this result; evaluate again"
            raise InputError(f"{path}: {words}")
        with np.load(io.BytesIO(content), allow_pickle=False) as arrays:
            stored.append(dict(arrays))
    return stored


def check_same_images(
    paths: Sequence[Path], results: Sequence[Mapping[str, Any]], stored: Sequence[Predictions]
) -> None:
    """InputError if the results have different held-out images or folds.

    stored: the predictions of one seed of each.
    """
    first, kept = results[0], stored[0]
    words = {"test": "the test split", "cv": "folds"}
    whole = "test_fingerprint" if first["split"] == "test" else "fingerprint"
    for path, result, part in zip(paths[1:], results[1:], stored[1:], strict=True):
        pair = f"{path} cannot be compared with {paths[0]}"
        if result["split"] != first["split"]:
            one, other = words[result["split"]], words[first["split"]]
            raise InputError(f"{pair}: it was measured on {one}, the other on {other}")
        same = all(np.array_equal(np.sort(part[n]), np.sort(kept[n])) for n in ("names", "labels"))
        if not same or result["dataset"].get(whole) != first["dataset"].get(whole):
            raise InputError(f"{pair}: they were measured on different images")
        if not all(np.array_equal(part[n], kept[n]) for n in ("names", "labels", "fold")):
            raise InputError(
                f"{pair}: the folds differ; they depend on the first seed and --folds"
            )


def differences(results: Sequence[Mapping[str, Any]]) -> list[str]:
    """The other differences between the results, in words."""
    words = {
        "epochs": "for different numbers of epochs: no fair comparison",
        "optimizer": "with different optimizers",
        "seeds": "with different seeds",
        "image_size": "at different sizes",
        "fingerprint": "on other images",
        "crop": "on images with different crops",
    }
    facts = [{**one["dataset"], **one} for one in results]
    differ = [n for n in words if any(one.get(n) != facts[0].get(n) for one in facts)]
    return [f"The networks were trained {words[name]}." for name in differ]
