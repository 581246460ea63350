"""Training speed of the target, as ratios measured in one run.

    python -m benchmarks.training
    python -m benchmarks.training --device cuda
    python -m benchmarks.training --networks small --pairs 1 --epochs 1

For three networks, on a fold of three:

(a) target.py as a search calls it: some epochs, then the held-out images are scored once. A job of
    the default schedule trains 12 epochs on average (861 in 72 jobs), its shortest 3;
(b) plain PyTorch: files decoded in each epoch (ImageFolder, DataLoader in the same process),
    default memory format and Adam, images scored after each epoch;
(c) multiply-adds per second of a large product of float32 matrices, with as many threads.

Prints the median, minimum and maximum over --pairs interleaved measurements of (a)/(b), the ratio
of epochs per second; of the share of (c) that (a) achieves, from closed-form multiply-adds: one
forward pass per image, two more backward, and one to score; and of the epochs per second of two
workers, each training as (a) does, over those of one.
Each side runs in its own process, as allocator and determinism are settings of a process. On a
busy machine the ratios mean little.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader
from torchvision import datasets, transforms

from benchmarks.networks import PUBLISHED, config_of, plain_network
from cnn import count_macs
from engine.cli.command import command
from target import ImageTarget
from training import gpus
from utils import derive_rng
from vision.data import Images, open_data, open_train, stratified_folds

MATRIX = 2048  # side of the product's matrices
PRODUCT_SECONDS = 1.0
EPOCHS = {"small": 12, "middle": 3, "default": 3}  # the larger ones take minutes
# Required (a)/(b), share of (c) and ratio of two workers, with one thread on a CPU.
BARS = {"small": (2.5, 0.70, 1.7), "middle": (1.25, 0.80, 1.7), "default": (1.1, 0.80, 1.7)}


class Task(NamedTuple):
    """What both sides train: plain data for another process."""

    images: Images
    num_classes: int
    fold: tuple[np.ndarray, np.ndarray]  # training images, held-out images
    config: dict[str, Any]
    epochs: int
    device: str
    threads: int


class Rates(NamedTuple):
    """A measurement of all sides."""

    ours: float  # epochs per second
    both: float  # epochs per second of two workers together
    plain: float  # epochs per second
    product: float  # multiply-adds per second


def ours(task: Task) -> float:
    """Seconds of (a)."""
    target = ImageTarget(
        task.images.pixels,
        task.images.labels,
        task.num_classes,
        [task.fold],
        device=task.device,
        threads=task.threads,
    )
    started = time.perf_counter()
    target.evaluate(task.config, task.epochs, seed=1)
    return time.perf_counter() - started


def plain(task: Task, folder: str) -> float:
    """Seconds of (b), from the image files of `write_files`."""
    torch.set_num_threads(task.threads)
    prepare = transforms.Compose(
        [transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    )
    train, held_out = (
        datasets.ImageFolder(str(Path(folder) / part), prepare) for part in ("train", "held_out")
    )
    order = torch.Generator().manual_seed(1)
    batches = DataLoader(train, task.config["batch_size"], shuffle=True, generator=order)
    scored = DataLoader(held_out, task.config["batch_size"])
    started = time.perf_counter()
    sizes = task.images.pixels.shape[1], task.num_classes
    network = plain_network(task.config, *sizes, task.device)
    optimizer = torch.optim.Adam(network.parameters(), lr=task.config["learning_rate_init"])
    loss_function = nn.CrossEntropyLoss()
    for _ in range(task.epochs):
        network.train()
        for images, labels in batches:
            images, labels = images.to(task.device), labels.to(task.device)
            optimizer.zero_grad()
            loss_function(network(images), labels).backward()
            optimizer.step()
        network.eval()
        right = 0
        with torch.no_grad():
            for images, labels in scored:
                best = network(images.to(task.device)).topk(3).indices
                right += (best == labels.to(task.device)[:, None]).any(dim=1).sum().item()
    return time.perf_counter() - started


def product(device: str, threads: int) -> float:
    """(c): multiply-adds per second."""
    torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(1)
    left = torch.randn(MATRIX, MATRIX, generator=generator).to(device)
    out = torch.mm(left, left)
    count, started = 0, time.perf_counter()
    while (seconds := time.perf_counter() - started) < PRODUCT_SECONDS:
        torch.mm(left, left, out=out)
        out[0, 0].item()  # waits for the device
        count += 1
    return count * MATRIX**3 / seconds


def macs_of(task: Task) -> int:
    """Closed-form multiply-adds of (a)."""
    train, held_out = map(len, task.fold)
    one = count_macs(task.config, task.images.pixels.shape[1], task.num_classes)
    return (3 * task.epochs * train + held_out) * one


def write_files(task: Task, folder: Path) -> None:
    """Writes the fold's images as JPEG files in a folder per class, for ImageFolder."""
    for part, members in zip(("train", "held_out"), task.fold, strict=True):
        for number in members.tolist():
            place = folder / part / f"{task.images.labels[number]:03}"
            place.mkdir(parents=True, exist_ok=True)
            image = Image.fromarray(task.images.pixels[number])
            image.save(place / f"{number}.jpg", quality=95)


def own_process() -> Executor:
    """A process that lives as long as the measurement."""
    return ProcessPoolExecutor(1, get_context("spawn"))


def measure(task: Task, pairs: int) -> list[Rates]:
    """Interleaved measurements, after a warm-up of one epoch that is not counted."""
    found = []
    with (
        tempfile.TemporaryDirectory() as folder,
        own_process() as first,
        own_process() as second,
        own_process() as third,
        own_process() as beside_first,
    ):
        write_files(task, Path(folder))
        for number in range(pairs + 1):
            now = task if number else task._replace(epochs=1)
            rate = third.submit(product, task.device, task.threads).result()
            a = first.submit(ours, now).result()
            b = second.submit(plain, now, folder).result()
            two = [process.submit(ours, now) for process in (first, beside_first)]
            both = sum(task.epochs / worker.result() for worker in two)
            if number:
                found.append(Rates(task.epochs / a, both, task.epochs / b, rate))
    return found


def row(name: str, task: Task, measured: Sequence[Rates]) -> str:
    """A row of the table."""
    per_epoch = macs_of(task) / task.epochs
    middle = Rates(*(statistics.median(values) for values in zip(*measured, strict=True)))
    ratios = [one.ours / one.plain for one in measured]
    shares = [one.ours * per_epoch / one.product for one in measured]
    workers = [one.both / one.ours for one in measured]
    rates = f"{middle.ours:.3f}", f"{middle.plain:.3f}", f"{2e-9 * middle.product:.1f}"
    cells = [name, str(task.epochs), *rates]
    for values, bar in zip((ratios, shares, workers), BARS[name], strict=True):
        cells += [f"{statistics.median(values):.2f} [{min(values):.2f}, {max(values):.2f}]"]
        cells += [f"{bar}"]
    return "| " + " | ".join(cells) + " |"


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--networks", nargs="+", choices=PUBLISHED, default=PUBLISHED)
    parser.add_argument("--pairs", type=int, default=5, help="[%(default)s]")
    parser.add_argument("--epochs", type=int, help=f"epochs of a measurement {EPOCHS}")
    parser.add_argument("--threads", type=int, default=1, help="[%(default)s]")
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--dataset", default="auto", help="[%(default)s]")
    given = parser.parse_args(argv)
    return command("training.py", lambda: run(given))


def run(given: argparse.Namespace) -> None:
    """Prints the table, a row as soon as it is measured."""
    device = gpus.devices(given.device)[0]["device"]  # this process does not use it
    source = open_data(given.dataset)
    images, _ = open_train(source)
    held_out = stratified_folds(images.labels, 3, derive_rng(1, "folds"))[0]
    fold = np.setdiff1d(np.arange(len(images.labels)), held_out), held_out
    facts = source.name, given.device, given.threads, given.pairs
    print("{}; {}, {} thread(s), {} pairs".format(*facts))
    rates = "epochs | (a) epochs/s | (b) epochs/s | (c) GFLOP/s"
    print(f"| network | {rates} | (a)/(b) | bar | share of (c) | bar | two/one worker | bar |")
    print("| --- " * 11 + "|")
    for name in given.networks:
        sizes = given.epochs or EPOCHS[name], device, given.threads
        config = config_of(name)
        task = Task(images, source.num_classes, fold, config, *sizes)
        print(row(name, task, measure(task, given.pairs)), flush=True)


if __name__ == "__main__":
    sys.exit(main())
