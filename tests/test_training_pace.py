"""The benchmark of the target's pace measures what it reports."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

from benchmarks import networks, training
from benchmarks.networks import PUBLISHED, config_of
from cnn import count_macs
from tests.trainings import CLASSES, CONFIG, images_of


def test_the_networks_lie_in_their_spaces(space, modern_space):
    assert set(training.BARS) == set(PUBLISHED)
    for name in (*PUBLISHED, *networks.NETWORKS):
        found = (space if name in PUBLISHED else modern_space).adopt(config_of(name))
        assert found[1] == [], name


def test_a_row_by_hand():
    fold = np.arange(30), np.arange(30, 40)
    task = training.Task(images_of(40), CLASSES, fold, CONFIG, 2, "cpu", 1)
    macs = (2 * 3 * 30 + 10) * count_macs(CONFIG, 8, CLASSES)
    pairs = [training.Rates(1.0, 1.5, plain, macs) for plain in (0.5, 0.25, 0.2)]
    cells = [cell.strip() for cell in training.row("small", task, pairs).split("|")[1:-1]]
    assert cells[:4] == ["small", "2", "1.000", "0.250"]
    ratios = ["4.00 [2.00, 5.00]", "0.50 [0.50, 0.50]", "1.50 [1.50, 1.50]"]
    assert cells[5::2] == ratios and cells[6::2] == [str(bar) for bar in training.BARS["small"]]


def test_it_runs_and_prints_the_ratios(monkeypatch, capsys, folder, no_flowers):
    # Threads instead of processes, a small network and product: the same path in less time.
    monkeypatch.setattr(training, "own_process", lambda: ThreadPoolExecutor(1))
    monkeypatch.setattr(training, "config_of", lambda name: CONFIG)
    monkeypatch.setattr(training, "MATRIX", 64)
    monkeypatch.setattr(training, "PRODUCT_SECONDS", 0.01)
    words = ["--networks", "small", "--pairs", "1", "--epochs", "1", "--dataset", str(folder)]
    assert training.main(words) == 0
    cells = capsys.readouterr().out.splitlines()[-1].split("|")
    assert cells[1].strip() == "small" and len(cells) == 13
    shares = float(cells[5]), float(cells[8].split()[0])  # may round to 0 on a small product
    assert min(shares) >= 0
    assert all(float(cells[place].split()[0]) > 0 for place in (2, 3, 4, 6, 10))
