"""Configurations that a user wants evaluated: read from files, checked, with their origin."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.run import data_place
from search.space import Config, Space
from utils import InputError, read_json

log = logging.getLogger("nas")

# What an evaluation takes over from the search behind a configuration, besides its data set.
FROM_SEARCH = ("constraints", "precision", "image_size", "split", "folds", "space")
MAX_PARAMETERS = 500_000_000  # 8 GB with gradients and moments; beyond it is a slip of the pen


@dataclass(frozen=True)
class Candidate:
    """A configuration to evaluate."""

    path: Path
    config: Config
    epochs: int


def read_candidates(paths: Sequence[Path], epochs: Sequence[int], space: Space) -> list[Candidate]:
    """The configurations in the files, each with its epochs (one number may serve for all).

    What has to be left out of a file, or lies outside the space, is said.
    """
    candidates = []
    for path, count in zip(paths, [*epochs] * (len(paths) // len(epochs)), strict=True):
        values = _read(path)
        try:
            config, warnings = space.adopt(values)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        for warning in warnings:
            log.warning("warning: %s: %s", path, warning)
        candidates.append(Candidate(path, config, count))
    return candidates


def search_behind(
    paths: Sequence[Path], given: Mapping[str, Any]
) -> tuple[Path | None, dict[str, Any]]:
    """The run.json of the search that found the first of them that was found by one; its settings.

    A run.json beside a configuration is only taken if that configuration is its winner.
    """
    for path in paths:
        run_json = path.parent / "run.json"
        try:
            record = read_json(run_json)
            winner, kept = record["winner"]["config"], record["settings"]
            inherited = {name: kept[name] for name in FROM_SEARCH if name not in given}
        except (InputError, KeyError, TypeError):  # none there, or not one of a search's
            continue
        if winner == _read(path):
            if "dataset" not in given and "data_dir" not in given:
                inherited |= data_place(record)
            return run_json, inherited
    return None, {}


def check_size(candidate: Candidate, target: Any) -> None:
    """Refuses in words what cannot be built or is too large for any machine."""
    config, path = candidate.config, candidate.path
    for name, value in config.items():
        if not isinstance(value, bool) and isinstance(value, int | float) and value <= 0:
            raise InputError(f"{path}: {name} cannot be {value}; allowed is a number above 0")
    if config["kernel_size"] % 2 == 0:
        raise InputError(
            f"{path}: kernel_size cannot be {config['kernel_size']}; allowed are odd numbers"
        )
    if config["dropout_rate"] >= 1:
        raise InputError(
            f"{path}: dropout_rate cannot be {config['dropout_rate']}; allowed is below 1"
        )
    try:
        parameters = target.cheap(config)["num_params"]
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    if parameters > MAX_PARAMETERS:
        raise InputError(
            f"{path}: this network has {parameters:,} parameters; allowed are {MAX_PARAMETERS:,}"
        )


def _read(path: Path) -> dict[str, Any]:
    values = read_json(path)
    if not isinstance(values, dict):
        raise InputError(
            f"{path} holds a JSON {type(values).__name__}; allowed is an object of hyperparameters"
        )
    return values
