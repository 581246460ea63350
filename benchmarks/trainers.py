"""Which training learns most, at each rung and at the end: optimizers and schedules side by side.

    python -m benchmarks.trainers --output trainers.jsonl
    python -m benchmarks.trainers --random 24 --schedules adam schedule-free --output random.jsonl

Without --random: five networks of the modern space, three seeds, and for each seed --folds of its
three folds. Each schedule first chooses its learning rate of three, by the loss of the first
network on a further seed. With --random N: N random networks of that space within LIMITS, one fold
each, with learning rates within a factor of three of the schedule's; also prints Spearman's
correlation of each rung with the end. Augmentation, decay and smoothing are the same for all but
`adam`, the published training. Nothing here sees the test split. Each training is a line of
--output, and a second call goes on from there.
"""

import argparse
import copy
import json
import math
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from scipy.stats import spearmanr
from torch import nn

from cnn import count_macs, count_parameters
from engine.command import command
from search.constraints import Constraint, total_violation
from search.fitting import fit
from search.space import Space
from target import ImageTarget, cross_validation
from training.network import assemble
from training.trainer import SCHEDULE_FREE, Normalize, Trainer
from utils import derive_rng
from vision.data import open_data, open_train

ROOT = Path(__file__).resolve().parent.parent
SPACE = Space.load(ROOT / "configs" / "space_modern.json")
RUNGS = (3, 6, 12, 25, 50)
SEEDS, CHOOSING_SEED = (1, 2, 3), 0
LIMITS = (Constraint("num_params", "<=", 3e5), Constraint("macs", "<=", 4e6))
WARM_UP, LAST = 0.25, 0.01  # of one-cycle: share of the steps; last rate, share of the largest
DECAY = 0.98  # of the average of weights, a step
TAIL = 0.2  # share of a rung's epochs in which stable-decay lowers the rate
_BASE = {"block": "plain", "convs_per_stage": 1, "kernel_size": 3, "activation": "relu"}
_BASE |= {"dropout_rate": 0.0, "batch_size": 32}
_BASE |= {"weight_decay": 0.5, "label_smoothing": 0.1}
_BASE |= {"flip": True, "shift": 0.125, "cutout": 0.15, "color": 0.2, "mixup": 0.0}
NETWORKS: list[dict[str, Any]] = [
    {"n_stages": 3, "width_0": 32, "width_1": 80, "width_2": 160},
    {"n_stages": 2, "width_0": 40, "width_1": 96, "kernel_size": 5, "batch_size": 16},
    {"n_stages": 3, "width_0": 20, "width_1": 40, "width_2": 80, "block": "residual"},
    {"n_stages": 3, "width_0": 40, "width_1": 96, "width_2": 192, "block": "separable"},
    {"n_stages": 4, "width_0": 24, "width_1": 48, "width_2": 96, "width_3": 160},
]
NETWORKS[2] |= {"convs_per_stage": 2, "batch_size": 64}
NETWORKS[3] |= {"convs_per_stage": 2, "activation": "silu"}
NETWORKS[4] |= {"activation": "silu"}


class Scheduled(Trainer):
    """AdamW with a constant rate; subclasses change the rate or average the weights."""

    averaging = False

    def __init__(self, config: Mapping[str, Any], **options: Any):
        super().__init__(config, **{**options, "optimizer": "adamw"})
        weights, self.rate = list(self.network.parameters()), config["learning_rate_init"]
        groups: list[dict[str, Any]] = [
            {"params": [p for p in weights if p.ndim > 1], "weight_decay": config["weight_decay"]},
            {"params": [p for p in weights if p.ndim <= 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(groups, lr=self.rate, fused=True)
        self.steps, self.steps_an_epoch = 0, 1
        self.mean = [weight.detach().clone() for weight in weights]
        if self.averaging:
            bare = assemble(config, options["image_size"], options["num_classes"])
            layers = Normalize(options["normalization"]), *bare.to_empty(device=self.device)
            self.average = nn.Sequential(*layers).to(memory_format=torch.channels_last)

    def train_epoch(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """See `Trainer`."""
        self.steps_an_epoch = -(-len(labels) // self.batch_size)
        super().train_epoch(images, labels)

    def factor(self) -> float:
        """What the learning rate is multiplied by."""
        return 1.0

    def step(self) -> None:
        """See `Trainer`."""
        for group in self.optimizer.param_groups:
            group["lr"] = self.rate * self.factor()
        super().step()
        self.steps += 1
        if self.averaging:  # the decay warms up, so that the first steps are soon forgotten
            decay = min(DECAY, (1 + self.steps) / (10 + self.steps))
            weights = [weight.detach() for weight in self.network.parameters()]
            torch._foreach_lerp_(self.mean, weights, 1 - decay)

    @torch.no_grad()
    def average_weights(self) -> None:
        """See `Trainer`."""
        assert self.average is not None
        for weight, mean in zip(self.average.parameters(), self.mean, strict=True):
            weight.copy_(mean)


class OneCycle(Scheduled):
    """The rate rises, and falls with a cosine until the last rung (Smith and Topin 2019)."""

    def factor(self) -> float:
        """See `Scheduled`."""
        done = self.steps / (RUNGS[-1] * self.steps_an_epoch)
        if done < WARM_UP:
            return 0.04 + 0.96 * done / WARM_UP
        fall = (done - WARM_UP) / (1 - WARM_UP)
        return LAST + (1 - LAST) * 0.5 * (1 + math.cos(math.pi * fall))


class Averaged(Scheduled):
    """A constant rate, and an exponential average of the weights."""

    averaging = True


class AveragedOneCycle(OneCycle):
    """Both."""

    averaging = True


class StableDecay(Scheduled):
    """A constant rate; for each rung, a copy of an earlier state lowers it to 0 (Hu et al. 2024).

    The copy replaces the last `TAIL` of the rung's epochs, so that a rung costs so much more.
    """

    falling = 1.0

    def factor(self) -> float:
        """See `Scheduled`."""
        return self.falling

    def train_epoch(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """Keeps the states from which copies begin."""
        self.kept = self.kept if self.epochs else {}
        if self.epochs in {rung - tail(rung) for rung in RUNGS}:
            self.kept[self.epochs] = copy.deepcopy(self.state())
        self.labels = labels
        super().train_epoch(images, labels)

    def scores(self, images: torch.Tensor, training_images: torch.Tensor) -> np.ndarray:
        """Of the copy."""
        own, rung = copy.deepcopy(self.state()), self.epochs
        self.restore(self.kept[rung - tail(rung)])
        for left in range(tail(rung), 0, -1):
            self.falling = (left - 0.5) / tail(rung)
            super().train_epoch(training_images, self.labels)
        scores = super().scores(images, training_images)
        self.falling = 1.0
        self.restore(own)
        return scores


def tail(rung: int) -> int:
    """Epochs of a rung in which the rate falls."""
    return max(1, round(TAIL * rung))


class Schedule(NamedTuple):
    """A way of training, and the middle of its learning rates."""

    kind: type[Trainer]
    rate: float
    optimizer: str = "adamw"


SCHEDULES = {
    "adam": Schedule(Trainer, 1e-3, "adam"),
    "constant": Schedule(Scheduled, 2e-3),
    "constant-average": Schedule(Averaged, 2e-3),
    "one-cycle": Schedule(OneCycle, 6e-3),
    "one-cycle-average": Schedule(AveragedOneCycle, 6e-3),
    "stable-decay": Schedule(StableDecay, 2e-3),
    "schedule-free": Schedule(Trainer, 1e-2, SCHEDULE_FREE),
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


def studied(store: Store, schedule: str, count: int) -> list[Any]:
    """The curves of all networks and seeds, and for each seed of so many folds."""
    rate = SCHEDULES[schedule].rate

    def last(factor: float) -> float:
        config = {**_BASE, **NETWORKS[0], "learning_rate_init": rate * factor}
        return store.curve(schedule, config, CHOOSING_SEED, 0)[-1]["loss"]

    best = rate * min((0.4, 1.0, 2.5), key=last)
    configs = [{**_BASE, **one, "learning_rate_init": best} for one in NETWORKS]
    folds = [(seed, (seed + i) % 3) for i in range(count) for seed in SEEDS]
    return [store.curve(schedule, one, *fold) for one in configs for fold in folds]


def sampled(store: Store, schedule: str, count: int) -> list[Any]:
    """The curves of random networks within the limits."""

    def violation(config: Any) -> float:
        known = {"num_params": count_parameters(config), "macs": count_macs(config)}
        return total_violation(LIMITS, known)

    curves = []
    for number in range(count):
        rng = derive_rng("trainers", number)
        config = fit(SPACE, SPACE.sample(rng), violation, rng)
        factor = 3 ** rng.uniform(-1, 1)
        config = {**config, "learning_rate_init": SCHEDULES[schedule].rate * factor}
        if violation(config) <= 0:
            curves.append(store.curve(schedule, config, 1, number % 3))
    return curves


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
        if given.random:
            curves = sampled(store, schedule, given.random)
        else:
            curves = studied(store, schedule, given.folds)
        print(row(schedule, curves, bool(given.random)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
