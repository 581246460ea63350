"""Settings: defaults < preset < command line. One dataclass, strict about names, types and ranges.

The command line and the presets (JSON) use the same names. Two names are shorthands for a
constraint and are not settings: see `SHORTHANDS`.
"""

import dataclasses
import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import UnionType
from typing import Any, get_args, get_origin

from search.constraints import Constraint, Ranking
from utils import InputError, nearest

# constraint_max_model_size 2e7 stands for the constraint 'num_params <= 2e7', and so on
SHORTHANDS = {
    "constraint_max_model_size": ("num_params <= ", "upper limit of the number of parameters"),
    "constraint_min_precision": ("precision >= ", "lower limit of the precision"),
}
# Defaults that differ for the guided sampler.
GUIDED = {"pop_size": 12, "num_children": 5}
OBJECTIVE, OBJECTIVE_OF_FEW = "maximize top3", "maximize top1"
FEW_CLASSES = 10  # with fewer, top-3 hardly differs between networks: with three it is always 1
MAX_COUNT = 10**9  # epochs; a larger number is a typing error


def _setting(
    default: Any,
    text: str,
    *,
    low: float = -math.inf,
    high: float = math.inf,
    choices: tuple[str, ...] | None = None,
    flags: tuple[str, ...] = (),
) -> Any:
    """A field with its documentation, its range (inclusive) or choices, and short flags."""
    metadata = {"help": text, "low": low, "high": high, "choices": choices, "flags": flags}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class Settings:
    """All settings of a search; the defaults are those of the published run."""

    seed: int = _setting(
        123, "all random numbers of the run derive from it", low=0, high=2**63 - 1
    )
    hyperband: bool = _setting(
        True, "Hyperband: train children in brackets with halving, not each in full"
    )
    sampler: str = _setting(
        "evolution",
        "children by evolution, random sampling, or evolution guided by a surrogate model",
        choices=("evolution", "random", "guided"),
    )
    pop_size: int = _setting(50, "size of the population; 12 if guided", low=1, high=100_000)
    num_children: int = _setting(
        10, "children a generation, without Hyperband; 5 if guided", low=1, high=10**5
    )
    tournament_size: int = _setting(
        2, "size of the tournaments that choose parents (evolution)", low=1, high=100_000
    )
    mutation_rate: float = _setting(
        0.5,
        "share of children by mutation, the others by recombination (evolution)",
        low=0,
        high=1,
    )
    default_first: bool = _setting(
        False, "begin with the space's default configuration, fitted to the limits"
    )
    epochs: int = _setting(50, "epochs of a full training", low=1, high=MAX_COUNT, flags=("-e",))
    min_epochs: int = _setting(3, "epochs of the lowest rung", low=1, high=MAX_COUNT)
    eta: int = _setting(2, "one in eta children is promoted to the next rung", low=2, high=1000)
    folds: int = _setting(3, "folds; 1 holds a third of the images out", low=1, high=1000)
    max_time: float = _setting(
        86400.0, "seconds after which no new training begins", low=0, flags=("-T",)
    )
    max_total_epochs: int | None = _setting(
        None, "budget in epochs, summed over configurations", low=1
    )
    max_generations: int | None = _setting(
        None, "generations (of evolution: after the initial population)", low=0
    )
    objective: str | None = _setting(
        None,
        "'maximize METRIC' or 'minimize METRIC' [maximize top3; top1 with fewer than ten classes]",
    )
    constraints: tuple[str, ...] = _setting(
        ("num_params <= 2e7", "precision >= 0.39"),
        "limits, as 'METRIC <= number' or 'METRIC >= number'",
    )
    optimizer: str = _setting(
        "adam", "optimizer of the training", choices=("adam", "adamw", "schedule-free")
    )
    dataset: str = _setting("auto", "auto, flowers17, synthetic, or a folder of class folders")
    data_dir: str | None = _setting(None, "folder that holds Flowers-17")
    image_size: int = _setting(16, "side of the images in pixels", low=8, high=512)
    crop: str = _setting("centre", "makes images square", choices=("centre", "pad", "stretch"))
    split: int = _setting(
        1,
        "number of the split; of class folders, which random draw is the test split",
        low=1,
        high=3,
    )
    space: str = _setting(
        "published", "search space: published, modern, or a file in ConfigSpace's JSON format"
    )
    device: str = _setting("auto", "where to train", choices=("auto", "cpu", "cuda"))
    dtype: str = _setting(
        "float32",
        "precision of training; all but float32 are faster on many GPUs, with other results",
        choices=("float32", "tf32", "bfloat16"),
    )
    threads: int = _setting(1, "CPU threads of a training; results depend on it", low=1, high=1024)
    workers: str = _setting(
        "auto",
        "parallel trainings, each in its own process; 0 trains in this process; results do not "
        "depend on it",
    )
    scheduler: str | None = _setting(
        None, "address of a Dask cluster to train on, as tcp://host:port"
    )
    grace: float = _setting(
        60.0, "seconds after max_time in which a training may finish (not with workers 0)", low=0
    )
    trial_timeout: float | None = _setting(
        None, "seconds after which a training counts as failed (not with workers 0)", low=0.001
    )
    max_memory_gb: float | None = _setting(
        None,
        "memory limit of a worker; a trial that needs more is not trained [share of free memory]",
        low=0.001,
    )
    max_checkpoint_gb: float = _setting(
        10.0, "size of all checkpoints between rungs; a trial without one is retrained", low=0
    )
    allow_inexact: bool = _setting(
        False,
        "resume although images, machine, threads or versions differ; results may then differ",
    )
    run_name: str | None = _setting(None, "name of the run's folder [how it was made, and when]")
    runs_dir: str = _setting("runs", "folder of all runs")
    verbosity: str = _setting(
        "INFO", "how much to print", choices=("INFO", "DEBUG"), flags=("-v",)
    )
    wandb: str | None = _setting(
        None,
        "tracking with Weights & Biases [online if a key is configured, else disabled]",
        choices=("online", "offline", "disabled"),
    )
    wandb_project: str | None = _setting(
        None, "project at W&B [WANDB_PROJECT, or constrained-nas]"
    )
    wandb_entity: str | None = _setting(None, "user or team at W&B [the key's own]")
    wandb_group: str | None = _setting(None, "group of runs at W&B")
    wandb_tags: tuple[str, ...] = _setting((), "tags of the run at W&B")

    def __post_init__(self) -> None:
        for item in dataclasses.fields(self):
            _check(item, getattr(self, item.name))
        if self.hyperband and self.min_epochs > self.epochs:
            raise InputError(
                f"min_epochs {self.min_epochs} is more than epochs {self.epochs}; "
                f"allowed is 1 to {self.epochs}"
            )
        if self.workers != "auto" and not (self.workers.isdecimal() and int(self.workers) <= 1024):
            raise InputError(
                f"workers cannot be {self.workers!r}; allowed is auto or a whole number from 0 to "
                f"1024{nearest(self.workers, ['auto'])}"
            )
        self.ranking()  # reports a mistake in objective or constraints at once

    def ranking(self) -> Ranking:
        """Objective and constraints."""
        return Ranking.parse(
            OBJECTIVE if self.objective is None else self.objective, self.constraints
        )


FIELDS = {item.name: item for item in dataclasses.fields(Settings)}


def resolve(*layers: Mapping[str, Any]) -> Settings:
    """Merges layers; later ones win. A shorthand replaces or adds the constraint on its metric.

    InputError on any mistake.
    """
    values: dict[str, Any] = {}
    for layer in layers:
        for name in layer:
            if name not in FIELDS and name not in SHORTHANDS:
                raise InputError(
                    f"{name!r} is not a setting{nearest(name, [*FIELDS, *SHORTHANDS])}"
                )
        values |= {k: _from_json(FIELDS[k], value) for k, value in layer.items() if k in FIELDS}
        for name, (prefix, _) in SHORTHANDS.items():
            if name in layer:
                constraints = values.get("constraints", Settings.constraints)
                _check(FIELDS["constraints"], constraints)
                values["constraints"] = _with_bound(constraints, name, prefix, layer[name])
    return Settings(**({**GUIDED, **values} if values.get("sampler") == "guided" else values))


def own_settings(objective: str, constraints: str | Sequence[str] = (), **given: Any) -> Settings:
    """Settings for a user's own problem: the guided search with only the given constraints."""
    several = (constraints,) if isinstance(constraints, str) else tuple(constraints)
    usual: dict[str, Any] = {"sampler": "guided", "objective": objective, "constraints": several}
    if isinstance(epochs := given.get("epochs"), int | float):
        usual["min_epochs"] = min(epochs, Settings.min_epochs)
    return resolve({**usual, **given})


def of_record(values: Mapping[str, Any]) -> dict[str, Any]:
    """The settings in a run.json, without those that no longer exist."""
    return {name: value for name, value in values.items() if name in FIELDS}


def _with_bound(
    constraints: tuple[str, ...], name: str, prefix: str, bound: Any
) -> tuple[str, ...]:
    if not _is_number(bound):
        raise InputError(f"{name} cannot be {bound!r}; allowed is a number")
    new = Constraint.parse(f"{prefix}{bound!r}")
    parsed = [Constraint.parse(text) for text in constraints]
    same = [(old.metric, old.sense) == (new.metric, new.sense) for old in parsed]
    kept = [str(new if hit else old) for hit, old in zip(same, parsed, strict=True)]
    return tuple(kept if any(same) else [*kept, str(new)])


def _is_number(value: Any) -> bool:
    """Whether the value is a number in the range of floats (math.isfinite raises outside it)."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return number and abs(value) <= sys.float_info.max


def base_type(item: dataclasses.Field) -> type:
    """int, float, bool, str or tuple: the type of a setting, apart from None."""
    kind: Any = get_args(item.type)[0] if isinstance(item.type, UnionType) else item.type
    return get_origin(kind) or kind


def _from_json(item: dataclasses.Field, value: Any) -> Any:
    """Converts JSON's lists to tuples and 2e7 to int; `_check` reports anything else."""
    if base_type(item) is tuple and isinstance(value, list):
        return tuple(value)
    if item.name == "workers" and type(value) is int:
        return str(value)
    if item.name == "space" and value is None:  # in older runs
        return item.default
    if _is_number(value) and base_type(item) is float:
        return float(value)
    if _is_number(value) and base_type(item) is int and value == int(value):
        return int(value)
    return value


def with_objective(settings: Settings, num_classes: int) -> Settings:
    """The settings; a missing objective is chosen by the number of classes."""
    usual = OBJECTIVE_OF_FEW if num_classes < FEW_CLASSES else OBJECTIVE
    return dataclasses.replace(settings, objective=settings.objective or usual)


def _check(item: dataclasses.Field, value: Any) -> None:
    """InputError if a value has the wrong type or is out of range."""
    kind, limits = base_type(item), item.metadata
    if value is None and item.default is None:
        return
    right = type(value) is kind
    if right and isinstance(value, tuple):
        right = all(isinstance(part, str) for part in value)
    hint = ""
    if right and kind in (int, float):
        nearest_value = min(max(value, limits["low"]), limits["high"])
        right = _is_number(value) and value == nearest_value
        hint = f"; the nearest is {nearest_value}" if _is_number(value) else ""
    if right and limits["choices"]:
        right, hint = value in limits["choices"], nearest(value, limits["choices"])
    if not right:
        raise InputError(f"{item.name} cannot be {value!r}; allowed is {allowed(item)}{hint}")


def allowed(item: dataclasses.Field) -> str:
    """The allowed values of a setting, in words."""
    low, high, choices = (item.metadata[key] for key in ("low", "high", "choices"))
    if choices:
        return " or ".join(choices)
    if base_type(item) in (int, float):
        number = "a whole number" if base_type(item) is int else "a number"
        return f"{number} from {low} to {high}" if high < math.inf else f"{number}, {low} or more"
    return {bool: "True or False", str: "text"}.get(base_type(item), "a list of texts")
