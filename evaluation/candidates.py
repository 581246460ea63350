"""Configurations to evaluate: read from files, checked, with the searches that found them."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.storage.journal import read_trials
from engine.storage.resuming import place_of_images
from engine.storage.spaces import own_space, space_file
from search.space import Config, Space
from utils import InputError, nearest, read_json, read_object

log = logging.getLogger("nas")

# Settings that an evaluation inherits from the search of a configuration, besides its data set.
FROM_SEARCH = ("constraints", "image_size", "crop", "split", "folds", "space", "optimizer")
MAY_BE_ZERO = {"dropout_rate", "weight_decay", "label_smoothing"}
MAY_BE_ZERO |= {"shift", "cutout", "color", "mixup"}
BELOW_ONE = ("dropout_rate", "label_smoothing", "shift")
MODERN = {"space": "modern", "optimizer": "schedule-free"}  # for a configuration with `n_stages`
MAX_PARAMETERS = 500_000_000  # 8 GB with gradients and moments; more is a typing error


@dataclass(frozen=True)
class Candidate:
    """A configuration to evaluate."""

    path: Path
    config: Config
    epochs: int


@dataclass(frozen=True)
class Origin:
    """The search that found a configuration."""

    config: Path
    run_json: Path
    record: Mapping[str, Any]

    @cached_property
    def settings(self) -> Mapping[str, Any]:
        """All settings of the search; without `n_stages` AdamW instead of Adam, as published."""
        settings = dict(self.record["settings"])
        if settings["optimizer"] == "adam" and not family([self.config]):
            settings["optimizer"] = "adamw"
        return settings

    @property
    def space(self) -> str:
        """The file of its search space."""
        return str(own_space(self.run_json.parent, self.settings["space"]))

    @property
    def images(self) -> Any:
        """Identifies its data set, by name and fingerprint."""
        data = self.record.get("data") or {}
        return f"{data.get('name')} ({str(data.get('fingerprint'))[:8]})"


def read_candidates(paths: Sequence[Path], epochs: Sequence[int], space: Space) -> list[Candidate]:
    """The configurations in the files, each with its epochs (one number may serve for all).

    Warns of ignored entries and of values outside the space.
    """
    candidates = []
    for path, count in zip(paths, [*epochs] * (len(paths) // len(epochs)), strict=True):
        values = read_object(path)
        try:
            config, warnings = space.adopt(values)
        except InputError as error:
            raise InputError(f"{path}: {error}") from None
        _check_values(path, config)
        for warning in warnings:
            log.warning("warning: %s: %s", path, warning)
        candidates.append(Candidate(path, config, count))
    return candidates


def family(paths: Sequence[Path]) -> dict[str, Any]:
    """Space and optimizer for configurations without a search: MODERN, or {} for the defaults."""
    return MODERN if paths and "n_stages" in read_object(paths[0]) else {}


def search_behind(path: Path) -> Origin | None:
    """The search that trained a configuration, by the run.json beside it.

    Follows links, as in the folder of all runs or in that of a Pareto front.
    """
    run_json = (path.resolve().parent / "run.json").resolve()
    try:
        record, config = read_json(run_json), read_object(path)
        known = record.get("winner"), record.get("baseline")
        own = config in [one["config"] for one in known if one] or any(
            config == trial.config for trial in read_trials(run_json.with_name("trials.jsonl"))[0]
        )
        if own and record["data"] and {*FROM_SEARCH} <= {*record["settings"]}:
            return Origin(path, run_json, record)
    except (InputError, OSError, AttributeError, KeyError, TypeError):
        pass  # no run.json, or not of a search on images
    return None


def tell_unfound(paths: Sequence[Path], origins: Sequence[Origin | None]) -> None:
    """Warns of configurations whose search, with its limits and data, is unknown."""
    for path, origin in zip(paths, origins, strict=True):
        if origin is None:
            whose = "those of the first with a known search" if any(origins) else "the defaults"
            log.warning(
                "warning: %s: no run.json of a search that trained it is beside it; limits and "
                "data are %s, unless flags set them",
                *(path, whose),
            )


def tell_other_images(origins: Sequence[Origin | None], dataset: Mapping[str, Any]) -> None:
    """Warns of configurations that were found on other training images of the same folder."""
    for origin in filter(None, origins):
        data = origin.record["data"]
        same_place = data.get("root") is not None and data["root"] == dataset["root"]
        if same_place and data.get("fingerprint") not in (None, dataset["fingerprint"]):
            log.warning(
                "warning: %s was found on other images of this folder: the search may have "
                "trained on images of the test split",
                origin.config,
            )


def taken_over(origins: Sequence[Origin], given: Mapping[str, Any]) -> dict[str, Any]:
    """Settings that the configurations inherit from their searches, except the given ones.

    The constraints are those of the first search. All else must agree, since all configurations
    are measured on the same images in the same way; InputError if not.
    """
    if not origins:
        return {}
    first, *others = origins
    names = [name for name in FROM_SEARCH if name not in given]
    on_its_data = "dataset" not in given and "data_dir" not in given
    for other in others:
        same = [name for name in names if name not in ("constraints", "space")]
        pairs = {name: (first.settings[name], other.settings[name]) for name in same}
        if "space" in names and first.record.get("space_hash") != other.record.get("space_hash"):
            pairs["space"] = first.space, other.space
        if on_its_data:
            pairs["dataset"] = first.images, other.images
        for name, (one, another) in pairs.items():
            if one != another:
                raise InputError(
                    f"{first.config} was found with {name} {one}, {other.config} with {name} "
                    f"{another}: evaluate them apart, or choose one with --{name}"
                )
    kept = {name: first.settings[name] for name in names}
    if "space" in kept:
        kept["space"] = first.space
    for origin in origins:
        words = ["limits"] * ("constraints" in kept) + ["data"] * on_its_data
        if words:
            those = f"{' and '.join(words)} of {origin.config}"
            log.info("%s: those of the search that found it, %s", those, origin.run_json)
    flags = f"-c {first.config}"
    return {**kept, **(place_of_images(first.record, {}, flags) if on_its_data else {})}


def check_size(candidate: Candidate, target: Any) -> None:
    """InputError if the network cannot be built or has more than MAX_PARAMETERS parameters."""
    config, path = candidate.config, candidate.path
    try:
        parameters = target.static_metrics(config)["num_params"]
    except KeyError as error:
        raise InputError(f"{path}: the hyperparameter {error} is missing") from None
    except (TypeError, ValueError) as error:
        raise InputError(f"{path}: {error}") from None
    if parameters > MAX_PARAMETERS:
        raise InputError(
            f"{path}: this network has {parameters:,} parameters; allowed are {MAX_PARAMETERS:,}"
        )


def _check_values(path: Path, config: Config) -> None:
    """InputError for values that no network or training can have, in any space.

    A value that is a string must be a choice of the program's own space.
    """
    shipped = Space.load(space_file("modern" if "n_stages" in config else "published"))
    for name, value in config.items():
        choices = getattr(shipped.scales.get(name), "choices", ())
        if isinstance(value, str) and choices and value not in choices:
            raise InputError(
                f"{path}: {name} cannot be {value!r}; allowed is {', '.join(map(str, choices))}"
                f"{nearest(value, choices)}"
            )
        number = isinstance(value, int | float) and not isinstance(value, bool)
        if number and (value < 0 or value == 0 and name not in MAY_BE_ZERO):
            raise InputError(f"{path}: {name} cannot be {value}; allowed is a number above 0")
    kernel = config.get("kernel_size", 1)
    if kernel % 2 == 0:
        raise InputError(f"{path}: kernel_size cannot be {kernel}; allowed are odd numbers")
    for name in BELOW_ONE:
        if config.get(name, 0) >= 1:
            raise InputError(f"{path}: {name} cannot be {config[name]}; allowed is below 1")
