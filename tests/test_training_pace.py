"""The benchmark of the target's pace: that it measures what it says."""

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
from tests.trainings import CONFIG
from training.network import Flatten, GlobalAveragePool
from vision.data import Images

SPACES = Path(__file__).resolve().parent.parent / "configs"


@pytest.fixture
def small():
    images, labels = np.zeros((30, 16, 16, 3), np.uint8), np.arange(30) % 3
    fold = np.arange(20), np.arange(20, 30)
    config = config_of("small")
    return Task(Images(images, labels, ("",) * 30), 3, fold, config, 2, "cpu", 1)


def test_the_networks_lie_in_their_spaces(space):
    assert set(training.BARS) == set(PUBLISHED)
    modern = Space.load(SPACES / "space_modern.json")
    for name in (*PUBLISHED, *networks.NETWORKS):
        found = (space if name in PUBLISHED else modern).adopt(config_of(name))
        assert found[1] == [], name


def test_the_plain_network_is_as_large_and_has_no_layer_of_ours():
    for config in (CONFIG, {**CONFIG, "global_avg_pooling": True}):
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


def test_it_runs_and_prints_the_ratios(monkeypatch, capsys, folder, no_flowers):
    # Threads in place of processes, a small network and product: the same path in less time.
    monkeypatch.setattr(training, "own_process", lambda: ThreadPoolExecutor(1))
    monkeypatch.setattr(training, "config_of", lambda name: CONFIG)
    monkeypatch.setattr(training, "MATRIX", 64)
    monkeypatch.setattr(training, "PRODUCT_SECONDS", 0.01)
    words = ["--networks", "small", "--pairs", "1", "--epochs", "1", "--dataset", str(folder)]
    assert training.main(words) == 0
    cells = capsys.readouterr().out.splitlines()[-1].split("|")
    assert cells[1].strip() == "small" and all(float(cell.split()[0]) > 0 for cell in cells[2:-1])
