"""A small target, and training helpers for several test files."""

import numpy as np
import torch

from target import ImageTarget, cross_validation
from utils import canonical_json, without_nan
from vision.data import Images

CLASSES = 5
CONFIG = {"learning_rate_init": 0.004, "batch_size": 7, "kernel_size": 3, "use_BN": True}
CONFIG |= {"global_avg_pooling": False, "dropout_rate": 0.3, "n_conv_layers": 2}
CONFIG |= {"n_channels_conv_0": 5, "n_channels_conv_1": 4, "n_fc_layers": 2}
CONFIG |= {"n_channels_fc_0": 9, "n_channels_fc_1": 8}
# All options of the modern space, switched on.
MODERN = {"n_stages": 2, "width_0": 6, "width_1": 8, "block": "residual", "convs_per_stage": 2}
MODERN |= {"kernel_size": 3, "activation": "silu", "dropout_rate": 0.3, "batch_size": 7}
MODERN |= {"learning_rate_init": 0.01, "weight_decay": 0.1, "label_smoothing": 0.1}
MODERN |= {"flip": True, "shift": 0.2, "cutout": 0.3, "color": 0.2, "mixup": 0.3}
RUNGS = (3, 6, 12)


class LogitKeeper(ImageTarget):
    """Keeps the logits of each fold at each measured number of epochs."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.logits = {}

    def fit(self, trainer, fold, epochs):
        self.logits[fold, epochs] = super().fit(trainer, fold, epochs)
        return self.logits[fold, epochs]


def images_of(count=40, classes=CLASSES, seed=0, size=8):
    """Noise with a faint colour for each class: learnable, but neither at once nor fully."""
    rng = np.random.default_rng(seed)
    labels = np.sort(np.arange(count) % classes).astype(np.int64)
    colours = np.random.default_rng(99).integers(60, 200, (classes, 3))
    pixels = rng.normal(colours[labels][:, None, None], 60, (count, size, size, 3))
    names = tuple(f"{label + 1}/image_{i:03d}.png" for i, label in enumerate(labels))
    return Images(pixels.clip(0, 255).astype(np.uint8), labels, names)


def make_target(images=None, folds=2, seed=1, curve_epochs=RUNGS, kind=LogitKeeper, **options):
    target = cross_validation(
        images or images_of(), CLASSES, folds, seed, curve_epochs=curve_epochs, **options
    )
    target.__class__ = kind
    target.logits = {}
    return target


def bits(result):
    """The reproducible part of a result, as text: floats in JSON keep every bit."""
    return canonical_json(without_nan({name: result[name] for name in result if name != "meta"}))


def same_logits(first, second):
    """Whether both were measured at the same points, with the same bits."""
    assert first.keys() == second.keys() and first
    return all(first[point].tobytes() == second[point].tobytes() for point in first)


def in_steps(path, steps=RUNGS, config=CONFIG, seed=4, **options):
    """Trains in steps through a state file, with a new target per step, as after a restart."""
    logits = {}
    for epochs in steps:
        target = make_target(**options)
        result = target.evaluate(config, epochs, seed, path)
        logits |= target.logits
    return result, logits


def flat(value):
    if isinstance(value, torch.Tensor):
        return [(value.dtype, tuple(value.shape), value.contiguous().numpy().tobytes())]
    if isinstance(value, dict):
        return [part for key in value for part in [key, *flat(value[key])]]
    if isinstance(value, list | tuple):
        return [part for item in value for part in flat(item)]
    return [value]


def without_curve(result):
    folds = [{**fold, "curve": None} for fold in result["folds"]]
    return {**result, "folds": folds}
