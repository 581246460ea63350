"""The target function: (configuration, epochs, seed) -> metrics over the folds of a set of images.

An evaluation is a pure function of its arguments and the images: every random number comes from
generators that derive from the seed and the fold, never from a global stream. Training that
resumes from a saved state gives the same bits as uninterrupted training
(tests/test_training_states.py).

`engine.contract.Target` defines the interface that `optimizer.search` needs.
"""

import functools
import hashlib
import operator
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cnn import REQUIRED, layer_table, static_metrics
from training import cost
from training.checkpoints import on_cpu, read_state, write_state
from training.device import (
    flushed_denormals,
    out_of_memory_as_memory_error,
    prepare_torch,
    release_memory,
)
from training.placement import ImagesOnDevice
from training.trainer import Normalization, Trainer
from utils import canonical_json, derive_rng, derive_seed
from vision import metrics
from vision.data import Images, parts_of, stratified_folds
from vision.metrics import METRICS

TRAINING_VERSION = 8  # count up when a change alters any bit of a result
LONG_FOLD = 10.0  # seconds; a fold that trains longer is saved as soon as it ends

needed_by_training = operator.itemgetter(*REQUIRED)


class ImageTarget(ImagesOnDevice):
    """Trains a configuration once per fold and measures it on the held-out images of the fold.

    pixels, labels, device: see `ImagesOnDevice`; the labels are 0..num_classes-1.
    folds: pairs of index arrays (training images, held-out images); one pair makes a plain split.
    optimizer, dtype: see `Trainer`.
    curve_epochs: epochs after which a fold is also measured during training.
    """

    def __init__(
        self,
        pixels: np.ndarray,
        labels: np.ndarray,
        num_classes: int,
        folds: Sequence[tuple[np.ndarray, np.ndarray]],
        *,
        optimizer: str = "adam",
        dtype: str = "float32",
        device: str = "cpu",
        threads: int = 1,
        curve_epochs: Collection[int] = (),
    ):
        self.how = {"optimizer": optimizer, "dtype": dtype}
        super().__init__(pixels, labels, device)
        self.threads = threads
        self.image_size, self.num_classes = pixels.shape[1], num_classes
        self.folds = list(folds)
        self.curve_epochs = frozenset(curve_epochs)
        self._normalizations = _normalizations(pixels, [train for train, _ in self.folds])
        self.fingerprint = self._fingerprint(pixels)
        self._pace: cost.Pace | None = None
        self.on_epoch: Callable[[int, int], None] = lambda fold, epoch: None

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the images; a worker process copies them to its own device."""
        options: dict[str, Any] = {"device": self.device_name, "threads": self.threads}
        options |= {"curve_epochs": sorted(self.curve_epochs), **self.how}
        again = functools.partial(ImageTarget, **options)
        return again, (self.pixels, self.labels, self.num_classes, self.folds)

    def static_metrics(self, config: Mapping[str, Any]) -> dict[str, int | float]:
        """See `cnn.static_metrics`; KeyError if training lacks a hyperparameter."""
        needed_by_training(config)
        return static_metrics(config, self.image_size, self.num_classes)

    def layers(self, config: Mapping[str, Any]) -> list[dict[str, Any]]:
        """The rows of `cnn.layer_table` for these images, for reports."""
        return layer_table(config, self.image_size, self.num_classes)

    def evaluate(
        self, config: Mapping[str, Any], epochs: int, seed: int, state: str | Path | None = None
    ) -> dict[str, Any]:
        """Means over the folds of top3, top1, precision, recall (macro) and loss after `epochs`.

        `epochs` is a total. `state` is a file: it is read if it belongs to the same evaluation
        (otherwise training restarts, with the same result), and written before return and after
        each fold longer than `LONG_FOLD`, from which a killed evaluation resumes. Also returned:
        `folds`, the same metrics per fold with the `curve` over `curve_epochs`; and `meta`,
        what differs between identical runs. If a logit is not finite, all metrics are NaN.
        """
        key = canonical_json([TRAINING_VERSION, seed, dict(config), self.how, self.fingerprint])
        saved = read_state(state, key, epochs)
        states, seconds, problem = [], [], None
        for fold in range(len(self.folds)):
            started = time.perf_counter()
            before = saved[fold] if fold < len(saved) else None
            keep = state is not None
            with out_of_memory_as_memory_error():  # raised before the state is saved
                states.append(self._fold(config, seed, fold, epochs, before, keep))
            seconds.append(round(time.perf_counter() - started, 3))
            last = fold + 1 == len(self.folds)
            if state is not None and (last or seconds[-1] > LONG_FOLD):
                so_far = [*states, *saved[fold + 1 :]]
                whole = {"key": key, "epochs": epochs, "folds": so_far}
                problem = write_state(Path(state), whole)
        meta: dict[str, Any] = {"fold_seconds": seconds}
        if problem is not None:
            meta["state"] = problem
        curves = [one["curve"] for one in states]
        names = [name for name in curves[0][-1] if name != "epochs"]
        folds = [
            {
                **{name: curve[-1][name] for name in names},
                "curve": [point for point in curve if point["epochs"] in self.curve_epochs],
            }
            for curve in curves
        ]
        means = {name: float(np.mean([fold[name] for fold in folds])) for name in names}
        return {**means, **self.static_metrics(config), "folds": folds, "meta": meta}

    def _fold(
        self,
        config: Mapping[str, Any],
        seed: int,
        fold: int,
        epochs: int,
        before: Mapping[str, Any] | None,
        keep: bool,
    ) -> dict[str, Any]:
        """The curve of a fold, and its state if `keep`; otherwise its network is freed here."""
        trainer = self.trainer(config, seed, fold)
        if before is not None:
            trainer.restore(before["trainer"])
        after = {"curve": self._train(trainer, fold, epochs, before["curve"] if before else [])}
        return {**after, "trainer": on_cpu(trainer.state())} if keep else after

    def trainer(self, config: Mapping[str, Any], seed: int, fold: int) -> Trainer:
        """Sets up PyTorch in this process; returns an untrained `Trainer` for a fold."""
        prepare_torch(self.threads, self.how["dtype"])
        return Trainer(
            config,
            image_size=self.image_size,
            num_classes=self.num_classes,
            normalization=self._normalizations[fold],
            device=self.device,
            **self.how,
            seed=derive_seed(seed, "fold", fold),
        )

    def fit(self, trainer: Trainer, fold: int, epochs: int) -> np.ndarray:
        """Trains up to `epochs` epochs in total; returns the held-out images' logits (n, K)."""
        train, held_out = (torch.from_numpy(part).to(self.device) for part in self.folds[fold])
        images, labels = self.images[train], self.targets[train]
        with flushed_denormals():
            while trainer.epochs < epochs:
                trainer.train_epoch(images, labels)
                self.on_epoch(fold, trainer.epochs)
            return trainer.scores(self.images[held_out], images)

    def network(self, trainer: Trainer, fold: int) -> torch.nn.Module:
        """The trained network as it is measured and saved."""
        train = torch.from_numpy(self.folds[fold][0]).to(self.device)
        return trainer.measured(self.images[train])

    def measure(self, scores: np.ndarray, fold: int) -> dict[str, float]:
        """Metrics of the logits of a fold's held-out images; all NaN if one is not finite."""
        if not np.isfinite(scores).all():
            return dict.fromkeys(METRICS, float("nan"))
        held_out = self.folds[fold][1]
        labels, predicted, classes = self.labels[held_out], scores.argmax(axis=1), self.num_classes
        return {
            "top3": metrics.top_k_accuracy(scores, labels, 3),
            "top1": metrics.top_k_accuracy(scores, labels, 1),
            "precision": metrics.macro_precision(predicted, labels, classes),
            "recall": metrics.macro_recall(predicted, labels, classes),
            "loss": metrics.cross_entropy(scores.astype(np.float64), labels),
        }

    def release_memory(self) -> None:
        """Frees the memory that an evaluation leaves, so that workers do not keep growing."""
        release_memory()

    def estimate_memory(self, config: Mapping[str, Any]) -> int:
        """Approximate host memory, in bytes, of a process that trains this network."""
        sizes = self.image_size, self.num_classes
        images = 3 * self.pixels.size  # with those of a fold
        if self.device.type == "cuda":  # the network is in GPU memory
            return cost.CUDA_BYTES + images
        largest = [max(len(part) for part in parts) for parts in zip(*self.folds, strict=True)]
        return cost.memory(config, sizes, len(self.folds), largest) + images

    def estimate_seconds(self, config: Mapping[str, Any], epochs: int) -> float:
        """Approximate duration of `evaluate` on this machine: for display, not for decisions."""
        sizes = self.image_size, self.num_classes
        self._pace = self._pace or cost.Pace.measured(
            lambda one: self.trainer(one, 0, 0), self.images, self.targets, sizes
        )
        return epochs * self._pace.seconds(config, sizes, [len(train) for train, _ in self.folds])

    def _fingerprint(self, pixels: np.ndarray) -> str:
        """Hash of what a saved state depends on besides configuration, seed and optimizer."""
        digest = hashlib.sha256(np.ascontiguousarray(pixels).data)
        parts = [[part.tolist() for part in fold] for fold in self.folds]
        facts = [pixels.shape, self.labels.tolist(), self.num_classes, parts]
        digest.update(canonical_json([*facts, sorted(self.curve_epochs)]).encode())
        return digest.hexdigest()

    def _train(
        self, trainer: Trainer, fold: int, epochs: int, curve: Sequence[dict[str, Any]]
    ) -> list[dict[str, Any]]:
        """Continues training up to `epochs`; returns the curve, which ends there."""
        curve = list(curve)
        for point in sorted(self.curve_epochs | {epochs}):
            if trainer.epochs < point <= epochs:
                if curve and np.isnan(curve[-1]["loss"]):  # it stays NaN: skip the training
                    trainer.epochs, measured = point, curve[-1]
                else:
                    scores = self.fit(trainer, fold, point)
                    measured = self.measure(scores, fold)
                curve.append({**measured, "epochs": point})
        return curve


def training_options(settings: Any) -> dict[str, Any]:
    """The settings that `cross_validation` takes as options."""
    return {name: getattr(settings, name) for name in ("optimizer", "device", "dtype", "threads")}


def _normalizations(pixels: np.ndarray, parts: Sequence[np.ndarray]) -> list[Normalization]:
    """Statistics of uint8 pixels (N, S, S, 3), scaled to 0..1, for each set of training images."""
    flat = pixels.reshape(len(pixels), -1, 3)  # sums of each image in whole numbers: exact
    sums = np.einsum("npc->nc", flat, dtype=np.int64)
    squares = np.einsum("npc,npc->nc", flat, flat, dtype=np.int64)
    found = []
    for part in parts:
        count = len(part) * flat.shape[1]
        mean = sums[part].sum(axis=0) / count
        std = np.sqrt(squares[part].sum(axis=0) / count - mean * mean)
        found.append(Normalization((mean / 255).tolist(), (std / 255 + 1e-3).tolist()))
    return found


def cross_validation(
    images: Images, num_classes: int, folds: int, seed: int, **options: Any
) -> ImageTarget:
    """A target over stratified folds of the training images, shuffled by the seed.

    folds: their number; 1 is the first of three, a plain split.
    """
    held_out = stratified_folds(images.labels, parts_of(folds), derive_rng(seed, "folds"))[:folds]
    everything = np.arange(len(images.labels))
    pairs = [(np.setdiff1d(everything, part), part) for part in held_out]
    return ImageTarget(images.pixels, images.labels, num_classes, pairs, **options)


def train_test(train: Images, test: Images, num_classes: int, **options: Any) -> ImageTarget:
    """A target that trains on all training images and measures on the test images."""
    pixels = np.concatenate([train.pixels, test.pixels])
    labels = np.concatenate([train.labels, test.labels])
    pair = np.arange(len(train.labels)), np.arange(len(train.labels), len(labels))
    return ImageTarget(pixels, labels, num_classes, [pair], **options)
