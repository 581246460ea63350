"""Approximate cost of a training on this machine: memory, and seconds for display."""

import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import torch

from cnn import count_activations, count_macs, count_parameters
from training.trainer import SCORING_BATCH, Trainer

BASE_BYTES = 880 * 10**6  # a process with PyTorch and a tiny network
CUDA_BYTES = 3 * 10**9  # host memory of a process with PyTorch and CUDA; reported: 2 to 4 GB
TINY, LARGER = (4, 4), (64, 64)  # channels and batch size of the timed networks, 16 pixels


def memory(
    config: Mapping[str, Any], sizes: tuple[int, int], folds: int, images: Sequence[int]
) -> int:
    """Bytes of a process that trains this network, without its images (docs/decisions/cpu.md).

    PyTorch itself; weights, gradients, moments and averages, and the states of all folds;
    activations of a batch for the backward pass, plus a quarter for gradients; and four outputs of
    the largest layer for a scoring batch. The quarter and the four are fitted to measured peaks.
    sizes: image side, number of classes. images: largest number to train with, to score.
    """
    kept, largest = count_activations(config, *sizes)
    batch, scored = min(config["batch_size"], images[0]), min(SCORING_BATCH, images[1])
    floats = int(1.25 * batch * kept) + 4 * scored * largest
    return BASE_BYTES + (20 + 12 * folds) * count_parameters(config, *sizes) + 4 * floats


class Pace(NamedTuple):
    """Speed of training on this machine, from a tiny and a larger network."""

    per_mac: float  # seconds per multiply-add and image
    per_step: float  # seconds per step

    @classmethod
    def measured(
        cls,
        trainer_of: Callable[[dict[str, Any]], Trainer],
        images: torch.Tensor,
        labels: torch.Tensor,
        sizes: tuple[int, int],
    ) -> "Pace":
        """Times some training steps of two networks of the published space."""
        base: dict[str, Any] = {
            "n_conv_layers": 2,
            "kernel_size": 3,
            "use_BN": True,
            "global_avg_pooling": True,
        }
        base |= {"n_fc_layers": 1, "n_channels_fc_0": 64, "dropout_rate": 0.1}
        times, work = [], 0
        larger = LARGER[0], max(4, LARGER[1] * 16 // sizes[0])  # large images need less
        for channels, batch_size in (TINY, larger):
            config = {**base, "n_channels_conv_0": channels, "n_channels_conv_1": channels}
            config |= {"batch_size": batch_size, "learning_rate_init": 1e-3}
            trainer, count = trainer_of(config), 4 * batch_size
            trainer.train_epoch(images[:count], labels[:count])  # the first steps also allocate
            trainer.scores(images[:1], images[:count])
            started = time.perf_counter()
            trainer.train_epoch(images[:count], labels[:count])
            trainer.scores(images[:1], images[:count])  # waits for the device
            times.append((time.perf_counter() - started) / -(-len(labels[:count]) // batch_size))
            work = count_macs(config, *sizes) * batch_size
        return cls(max(0.0, times[1] - times[0]) / work, times[0])

    def seconds(
        self, config: Mapping[str, Any], sizes: tuple[int, int], images: Sequence[int]
    ) -> float:
        """Seconds of an epoch of all folds, in sequence; images: training images per fold."""
        steps = sum(-(-count // config["batch_size"]) for count in images)
        return sum(images) * count_macs(config, *sizes) * self.per_mac + steps * self.per_step
