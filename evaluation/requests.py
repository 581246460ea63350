"""Checks the flags of `main.py` before any training."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.cli.settings import Settings, resolve
from engine.wording import counted
from evaluation import results
from evaluation.metrics import STATIC, check_bounds, check_metrics
from utils import InputError
from vision.metrics import METRICS


def chosen_seeds(given: dict[str, Any]) -> list[int]:
    """The seeds to train with; the first becomes the setting `seed`, which defines the folds."""
    seeds = given.pop("seeds", None)
    if seeds is None:
        return [resolve({"seed": given.get("seed", Settings.seed)}).seed]
    if "seed" in given:
        raise InputError("--seed and --seeds cannot go together: name all seeds after --seeds")
    twice = [seed for seed in seeds if seeds.count(seed) > 1]
    if twice:
        raise InputError(f"--seeds has {twice[0]} more than once; allowed is each seed once")
    for seed in seeds:
        resolve({"seed": seed})
    given["seed"] = seeds[0]
    return seeds


def check_flags(
    paths: Sequence[Path],
    epochs: Sequence[int],
    seeds: Sequence[int],
    model: str | None,
    on_test: bool,
) -> None:
    """InputError for flags that do not fit together."""
    if not paths:
        raise InputError("no configuration: name one or more, such as -c runs/opt_cfg.json")
    if len(epochs) not in (1, len(paths)):
        allowed = "one" if len(paths) == 1 else f"one for all, or {len(paths)}"
        raise InputError(
            f"-e has {len(epochs)} numbers for {counted(len(paths), 'configuration')}; "
            f"allowed is {allowed}"
        )
    for count in epochs:
        resolve({"epochs": count, "hyperband": False})
    if model is not None and (len(paths) > 1 or len(seeds) > 1 or not on_test):
        raise InputError(
            "-m saves one network: give one configuration and one seed with it, and -t True"
        )
    twice = [path for path in paths if paths.count(path) > 1]
    if twice:
        raise InputError(f"{twice[0]} is named more than once; allowed is each configuration once")
    if model is not None:
        results.check_file(Path(model), "-m", paths)


def check_settings(settings: Settings, writes: bool) -> None:
    """InputError for limits on unknown metrics. writes: whether a network is saved."""
    check_bounds(settings.ranking())
    check_metrics(settings.ranking(), [*METRICS, *STATIC])
    if writes and settings.dtype != "float32":
        raise InputError(
            f"--dtype {settings.dtype} cannot go with --export or -m: the network that they write "
            "computes in float32, and must be measured in it"
        )
