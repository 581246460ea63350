"""Which training learns most, at each rung and at the end: optimizers and schedules side by side.

    python -m benchmarks.trainers --output trainers.jsonl
    python -m benchmarks.trainers --random 24 --schedules adam schedule-free --output random.jsonl
    python -m benchmarks.trainers --variants --schedules schedule-free --output variants.jsonl

Without --random: --networks of the modern space, three seeds, and for each seed --folds of its
three folds. Each schedule first chooses its learning rate of three, by the loss of the first
network on a further seed. With --random N: N random networks of that space within LIMITS, one fold
each, with learning rates within a factor of three of the schedule's; also prints Spearman's
correlation of each rung with the end. With --variants: the first network with one change in each
row, for each seed a fold. Augmentation, decay and smoothing are the same for all but
`adam`, the published training. Nothing here sees the test split. Each training is a line of
--output, and a second call goes on from there.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.schedules import RUNGS, SCHEDULES
from cnn import count_macs, count_parameters
from engine.cli.command import command
from search.constraints import Constraint, total_violation
from search.fitting import fit
from search.space import Space
from target import ImageTarget, cross_validation
from utils import derive_rng
from vision.data import open_data, open_train

ROOT = Path(__file__).resolve().parent.parent
SEEDS, CHOOSING_SEED = (1, 2, 3), 0
LIMITS = (Constraint("num_params", "<=", 3e5), Constraint("macs", "<=", 4e6))
_BASE = {"block": "plain", "convs_per_stage": 1, "kernel_size": 3, "activation": "relu"}
_BASE |= {"dropout_rate": 0.0, "batch_size": 32}
_BASE |= {"weight_decay": 0.5, "label_smoothing": 0.1}
_BASE |= {"flip": True, "shift": 0.125, "cutout": 0.15, "color": 0.2, "mixup": 0.0}
NETWORKS: list[dict[str, Any]] = [
    {"n_stages": 3, "width_0": 32, "width_1": 80, "width_2": 160},
    {"n_stages": 2, "width_0": 40, "width_1": 96, "kernel_size": 5, "batch_size": 16},
    {"n_stages": 3, "width_0": 20, "width_1": 40, "width_2": 80, "block": "residual"}
    | {"convs_per_stage": 2, "batch_size": 64},
    {"n_stages": 3, "width_0": 40, "width_1": 96, "width_2": 192, "block": "separable"}
    | {"convs_per_stage": 2, "activation": "silu"},
    {"n_stages": 4, "width_0": 24, "width_1": 48, "width_2": 96, "width_3": 160}
    | {"activation": "silu"},
]
VARIANTS: dict[str, dict[str, Any]] = {
    "as it is": {},
    "no cutout": {"cutout": 0.0},
    "cutout 0.3": {"cutout": 0.3},
    "no colour": {"color": 0.0},
    "mixup 0.2": {"mixup": 0.2},
    "no shift": {"shift": 0.0},
    "no flip": {"flip": False},
    "dropout 0.2": {"dropout_rate": 0.2},
    "no smoothing": {"label_smoothing": 0.0},
    "decay 0.05": {"weight_decay": 0.05},
    "batch 16": {"batch_size": 16},
    "silu": {"activation": "silu"},
    "residual, two convolutions": {"block": "residual", "convs_per_stage": 2}
    | {"width_0": 20, "width_1": 48, "width_2": 96},
    "separable": {"block": "separable", "width_0": 64, "width_1": 160, "width_2": 320},
    "four stages": {"n_stages": 4, "width_1": 64, "width_2": 96, "width_3": 160},
}


def train(
    images: Any, classes: int, schedule: str, config: Mapping[str, Any], seed: int, fold: int
) -> list[dict[str, Any]]:
    """The metrics of a fold after each rung."""
    kind, _, optimizer = SCHEDULES[schedule]
    target: ImageTarget = cross_validation(
        images, classes, 3, seed, optimizer=optimizer, curve_epochs=RUNGS
    )
    target.trainer_class = kind
    target.folds = target.folds[fold : fold + 1]
    if schedule == "adam":  # as published: no augmentation either
        names = ("label_smoothing", "flip", "shift", "cutout", "color", "mixup")
        config = {name: value for name, value in config.items() if name not in names}
    return target.evaluate(config, RUNGS[-1], seed)["folds"][0]["curve"]


class Store:
    """Trainings by their key, on disk if there is a path."""

    def __init__(self, path: str | None, images: Any, classes: int):
        self.path, self.data, self.known = path, (images, classes), {}
        if path and Path(path).exists():
            rows = [json.loads(line) for line in Path(path).read_text().splitlines()]
            self.known = {json.dumps(row["key"]): row["curve"] for row in rows}

    def curve(self, schedule: str, config: Mapping[str, Any], seed: int, fold: int) -> Any:
        """Of the store, or trained now."""
        key = [schedule, dict(config), seed, fold]
        if (text := json.dumps(key)) not in self.known:
            self.known[text] = train(*self.data, schedule, config, seed, fold)
            if self.path:
                with open(self.path, "a") as file:
                    file.write(json.dumps({"key": key, "curve": self.known[text]}) + "\n")
        return self.known[text]


def studied(store: Store, schedule: str, networks: int, count: int) -> list[Any]:
    """The curves of so many networks and all seeds, and for each seed of so many folds."""
    rate = SCHEDULES[schedule].rate

    def last(factor: float) -> float:
        config = {**_BASE, **NETWORKS[0], "learning_rate_init": rate * factor}
        return store.curve(schedule, config, CHOOSING_SEED, 0)[-1]["loss"]

    best = rate * min((0.4, 1.0, 2.5), key=last)
    configs = [{**_BASE, **one, "learning_rate_init": best} for one in NETWORKS[:networks]]
    folds = [(seed, (seed + i) % 3) for i in range(count) for seed in SEEDS]
    return [store.curve(schedule, one, *fold) for one in configs for fold in folds]


def sampled(store: Store, schedule: str, count: int) -> list[Any]:
    """The curves of random networks within the limits."""

    def violation(config: Any) -> float:
        known = {"num_params": count_parameters(config), "macs": count_macs(config)}
        return total_violation(LIMITS, known)

    space, curves = Space.load(ROOT / "configs" / "space_modern.json"), []
    for number in range(count):
        rng = derive_rng("trainers", number)
        config = fit(space, space.sample(rng), violation, rng)
        factor = 3 ** rng.uniform(-1, 1)
        config = {**config, "learning_rate_init": SCHEDULES[schedule].rate * factor}
        if violation(config) <= 0:
            curves.append(store.curve(schedule, config, 1, number % 3))
    return curves


def varied(store: Store, schedule: str, change: Mapping[str, Any]) -> list[Any]:
    """The curves of the first network with a change, for each seed of one fold."""
    config = {**_BASE, **NETWORKS[0], "learning_rate_init": SCHEDULES[schedule].rate, **change}
    return [store.curve(schedule, config, seed, seed % 3) for seed in SEEDS]


def row(schedule: str, curves: Sequence[Any], correlated: bool) -> str:
    """A line of the table: means at each rung, and correlations of the rungs with the end."""
    cells = [schedule]
    for metric in ("top3", "precision"):
        values = np.array([[point[metric] for point in curve] for curve in curves], float)
        cells.append(" ".join(f"{mean:.3f}" for mean in values.mean(axis=0)))
        if correlated:
            agree = [spearmanr(column, values[:, -1])[0] for column in values[:, :-1].T]
            cells.append(" ".join(f"{one:.2f}" for one in agree))
    return "| " + " | ".join(cells) + " |"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--schedules", nargs="+", choices=list(SCHEDULES), default=list(SCHEDULES))
    parser.add_argument("--random", type=int, help="random networks in place of the five")
    parser.add_argument("--variants", action="store_true", help="one change in each row")
    parser.add_argument(
        "--networks", type=int, choices=range(1, 6), default=5, help="the first N [%(default)s]"
    )
    parser.add_argument("--folds", type=int, choices=(1, 2, 3), default=3, help="[%(default)s]")
    parser.add_argument("--dataset", default="auto", help="[%(default)s]")
    parser.add_argument("--output", help="file of all trainings (JSON lines)")
    given = parser.parse_args(argv)
    return command("trainers.py", lambda: run(given))


def run(given: argparse.Namespace) -> None:
    """Prints the table, a row as soon as it is measured."""
    source = open_data(given.dataset)
    images, _ = open_train(source)
    store = Store(given.output, images, source.num_classes)
    print(f"{source.name}; after {', '.join(map(str, RUNGS))} epochs")
    names = ["top-3", "precision"]
    if given.random:
        names = ["top-3", "correlation with the end", "precision", "correlation"]
    print("| schedule | " + " | ".join(names) + " |\n" + "| --- " * (1 + len(names)) + "|")
    for schedule in given.schedules:
        if given.variants:
            for name, change in VARIANTS.items():
                print(row(name, varied(store, schedule, change), False), flush=True)
            continue
        if given.random:
            curves = sampled(store, schedule, given.random)
        else:
            curves = studied(store, schedule, given.networks, given.folds)
        print(row(schedule, curves, bool(given.random)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
