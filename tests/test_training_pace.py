"""The benchmark of the target's pace, on the embedded flowers: that it measures what it says."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks import networks, training
from benchmarks.networks import PUBLISHED, config_of, plain_network
from benchmarks.training import Rates, Task, macs_of, row
from cnn import count_macs, count_parameters
from search.space import Space
from training.network import Flatten, GlobalAveragePool
from vision.data import Images, open_data, open_train, stratified_folds

SPACES = Path(__file__).resolve().parent.parent / "configs"


@pytest.fixture
def small():
    images, labels = np.zeros((30, 16, 16, 3), np.uint8), np.arange(30) % 3
    fold = np.arange(20), np.arange(20, 30)
    config = config_of("small")
    return Task(Images(images, labels, ("",) * 30), 3, fold, config, 2, "cpu", 1)


def test_the_three_networks_are_those_of_the_table(space):
    configs = {name: config_of(name) for name in PUBLISHED}
    widths = {
        name: [config[f"n_channels_conv_{i}"] for i in range(config["n_conv_layers"])]
        for name, config in configs.items()
    }
    assert widths == {
        "small": [64, 128, 128],
        "middle": [351, 109],
        "default": [457, 511, 38],
    }
    assert set(training.BARS) == set(PUBLISHED)
    for config in configs.values():
        assert space.adopt(config)[1] == []
    modern = Space.load(SPACES / "space_modern.json")
    for name in set(networks.NETWORKS) - set(PUBLISHED):
        assert modern.adopt(config_of(name))[1] == []


def test_the_plain_network_is_as_large_and_has_no_layer_of_ours():
    for change in ({}, {"global_avg_pooling": False}):
        config = {**config_of("small"), **change}
        network = plain_network(config, 16, 17)
        assert sum(p.numel() for p in network.parameters()) == count_parameters(config)
        assert not any(isinstance(layer, Flatten | GlobalAveragePool) for layer in network)
        out = network.eval()(torch.zeros(2, 3, 16, 16))
        assert out.shape == (2, 17) and torch.isfinite(out).all()


def test_multiply_adds_and_ratios_by_hand(small):
    one = count_macs(small.config, 16, 3)
    assert macs_of(small) == one * (2 * 20 * 3 + 10)
    per_epoch = one * 65
    measured = [Rates(4.0, 6.0, 2.0, 8.0 * per_epoch), Rates(6.0, 12.0, 1.0, 8.0 * per_epoch)]
    cells = row("small", small, measured)
    assert (
        "| 4.00 [2.00, 6.00] | 2.5 | 0.62 [0.50, 0.75] | 0.7 | 1.75 [1.50, 2.00] | 1.7 |" in cells
    )


def test_it_runs_and_prints_the_ratios(monkeypatch, capsys):
    # Threads in place of processes, a small product: the same path, without their start.
    monkeypatch.setattr(training, "own_process", lambda: ThreadPoolExecutor(1))
    monkeypatch.setattr(training, "MATRIX", 64)
    monkeypatch.setattr(training, "PRODUCT_SECONDS", 0.01)
    words = ["--networks", "small", "--pairs", "1", "--epochs", "1", "--dataset", "synthetic"]
    assert training.main(words) == 0
    cells = capsys.readouterr().out.splitlines()[-1].split("|")
    assert cells[1].strip() == "small" and all(float(cell.split()[0]) > 0 for cell in cells[2:-1])


def test_files_are_the_images_of_the_fold(tmp_path):
    source = open_data("synthetic", cache_dir=tmp_path / "cache")
    images, _ = open_train(source)
    held_out = stratified_folds(images.labels, 3, np.random.default_rng(1))[0]
    fold = np.setdiff1d(np.arange(len(images.labels)), held_out), held_out
    config = config_of("default")
    task = Task(images, 17, fold, config, 1, "cpu", 1)
    training.write_files(task, tmp_path)
    written = sorted(int(path.stem) for path in (tmp_path / "held_out").rglob("*.jpg"))
    assert written == held_out.tolist()
    assert len(list((tmp_path / "train").rglob("*.jpg"))) == len(fold[0])
