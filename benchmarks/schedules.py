"""Ways of training beside the program's own: AdamW under a schedule, with averages of weights."""

import copy
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from training.trainer import SCHEDULE_FREE, Trainer

RUNGS = (3, 6, 12, 25, 50)
WARM_UP, LAST = 0.25, 0.01  # of one-cycle: share of the steps; last rate, share of the largest
DECAY = 0.98  # of the average of weights, a step
TAIL = 0.2  # share of a rung's epochs in which stable-decay lowers the rate


class Scheduled(Trainer):
    """AdamW with a constant rate; subclasses change the rate or average the weights."""

    averaging = False

    def __init__(self, config: Mapping[str, Any], **options: Any):
        super().__init__(config, **{**options, "optimizer": "adamw"})
        groups, self.rate = self.decayed(config["weight_decay"]), config["learning_rate_init"]
        self.optimizer = torch.optim.AdamW(groups, lr=self.rate, fused=True)
        self.steps, self.steps_an_epoch = 0, 1
        self.mean = [weight.detach().clone() for weight in self.network.parameters()]

    def averages(self, optimizer: str) -> bool:
        """See `Trainer`."""
        return self.averaging

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
