"""Training speed of a GPU: rows of the table of benchmarks/gpu_check.py.

The images are on the device, as in a search. Each row is measured for some seconds of training.
"""

import math
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple
from unittest import mock

import torch
from torch import nn
from torch.utils.data import DataLoader, TensorDataset

from benchmarks.gpu_promises import CLASSES, Scale, pictures
from benchmarks.networks import config_of, plain_network
from cnn import count_macs
from engine.workers.pool import ProcessPool
from target import ImageTarget, cross_validation
from training.device import layout, prepare_torch, release_memory

LAYOUTS = {"contiguous": torch.contiguous_format, "channels_last": torch.channels_last}
GIGA = 10**9
Row = tuple[str, str]  # name, measurement


class Sizes(NamedTuple):
    """The sizes of the measurements."""

    seconds: float = 0.5  # of each figure
    workers: tuple[int, ...] = (1, 2, 4, 8, 16)
    matrix: int = 8192  # side of the multiplied matrices
    networks: tuple[str, ...] = ("small", "middle", "default", "modern", "separable")


FEW = Sizes(0.1, (1, 2), 256, ("small", "modern"))


def waited(device: str) -> float:
    """The time after all work of the device is done."""
    if device == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def repeated(work: Callable[[], Any], seconds: float, device: str) -> float:
    """Repetitions of the work per second, measured for about `seconds` and at least twice.

    It waits for the device only at the end, so that the host may run ahead.
    """
    work()  # chooses algorithms and allocates memory
    started = waited(device)
    work()
    count = max(2, math.ceil(seconds / (waited(device) - started)))
    started = waited(device)
    for _ in range(count):
        work()
    return count / (waited(device) - started)


def epochs_a_second(target: ImageTarget, name: str, seconds: float) -> dict[str, Any]:
    """Epochs per second of a fold, as a search trains it; the outcome of a call to a worker."""
    trainer = target.trainer(config_of(name), 1, 0)
    train = torch.from_numpy(target.folds[0][0]).to(target.device)
    images, labels = target.images[train], target.targets[train]
    rate = repeated(lambda: trainer.train_epoch(images, labels), seconds, target.device.type)
    return {"rate": rate, "status": "ok", "meta": {}}


def three_folds(scale: Scale, **options: Any) -> ImageTarget:
    """A target as in a search, with an optimizer of PyTorch."""
    given = {"device": scale.device, "optimizer": "adam", **options}
    return cross_validation(pictures(scale), CLASSES, 3, 1, **given)


def by_dtype(scale: Scale, sizes: Sizes) -> Iterator[Row]:
    """Memory formats and dtypes on one worker; the program's choice is marked."""
    for name in sizes.networks:
        for dtype in scale.dtypes:
            target = three_folds(scale, dtype=dtype)
            own = layout(target.device, dtype)
            words = []
            for words_for, told in LAYOUTS.items():
                with mock.patch("training.trainer.layout", return_value=told):
                    rate = epochs_a_second(target, name, sizes.seconds)["rate"]
                words.append(f"{words_for}{'*' * (told == own)} {rate:.1f}")
            yield f"epochs/s of {name}, {dtype}", ", ".join(words)


def by_workers(scale: Scale, sizes: Sizes) -> Iterator[Row]:
    """Several workers on one device, each training the same network."""
    for dtype in dict.fromkeys((scale.dtypes[0], scale.dtypes[-1])):
        target = three_folds(scale, dtype=dtype)
        most = max(sizes.workers)
        release_memory()  # GPU memory that this process caches
        with ProcessPool(target, most, math.inf, 10**12) as pool:
            ask = pool.submit
            for name in sizes.networks:
                for future in [ask(epochs_a_second, name, 0.0) for _ in range(most)]:
                    future.result()  # all processes have started and trained the network once
                words = []
                for count in sizes.workers:
                    asked = [ask(epochs_a_second, name, sizes.seconds) for _ in range(count)]
                    rate = sum(future.result()["rate"] for future in asked)
                    words.append(f"{count}: {rate:.1f}")
                yield f"epochs/s of {name}, {dtype}, by workers", ", ".join(words)


def by_matrix_rate(scale: Scale, sizes: Sizes) -> Iterator[Row]:
    """The rate of one worker's training as a share of that of a product of large matrices."""
    for dtype in scale.dtypes:
        prepare_torch(1, dtype)
        kind = torch.bfloat16 if dtype == "bfloat16" else torch.float32
        generator = torch.Generator().manual_seed(1)
        left = torch.randn(sizes.matrix, sizes.matrix, generator=generator)
        left = left.to(scale.device, kind)
        product = torch.mm(left, left)
        work = lambda: torch.mm(left, left, out=product)  # noqa: B023, E731
        macs = repeated(work, sizes.seconds, scale.device) * sizes.matrix**3
        words = [f"{2 * macs / 1000 / GIGA:.2f} TFLOP/s"]
        target = three_folds(scale, dtype=dtype)
        for name in sizes.networks:
            rate = epochs_a_second(target, name, sizes.seconds)["rate"]
            epoch = 3 * len(target.folds[0][0]) * count_macs(config_of(name), scale.side, CLASSES)
            words.append(f"{name} {100 * rate * epoch / macs:.1f} %")
        yield f"share of the matrix rate, {dtype}", ", ".join(words)


def against_the_plain_way(scale: Scale, sizes: Sizes) -> Iterator[Row]:
    """A DataLoader in the same process, with PyTorch's own layers, memory format and Adam."""
    for name in sizes.networks:
        target, config = three_folds(scale), config_of(name)
        ours = epochs_a_second(target, name, sizes.seconds)["rate"]
        torch.use_deterministic_algorithms(False)  # PyTorch's default
        train = target.folds[0][0]
        pixels = torch.from_numpy(target.pixels[train]).permute(0, 3, 1, 2).float().div(255)
        images = TensorDataset(pixels, torch.from_numpy(target.labels[train]))
        order = torch.Generator().manual_seed(1)
        batches = DataLoader(images, config["batch_size"], shuffle=True, generator=order)
        plain = plain_network(config, scale.side, CLASSES, scale.device)
        optimizer = torch.optim.Adam(plain.parameters(), lr=config["learning_rate_init"])

        def epoch(network: nn.Module = plain, batches: Any = batches, by: Any = optimizer) -> None:
            for x, labels in batches:
                x, labels = x.to(scale.device), labels.to(scale.device)
                by.zero_grad()
                nn.functional.cross_entropy(network(x), labels).backward()
                by.step()

        rate = repeated(epoch, sizes.seconds, scale.device)
        words = f"{ours:.1f}, a DataLoader {rate:.1f}: {ours / rate:.2f} times"
        yield f"epochs/s of {name}, against the plain way", words
