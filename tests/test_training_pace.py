"""The benchmark of the target's pace: that it measures what it says."""

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from benchmarks import networks, training
from benchmarks.networks import PUBLISHED, config_of
from search.space import Space
from tests.trainings import CONFIG

SPACES = Path(__file__).resolve().parent.parent / "configs"


def test_the_networks_lie_in_their_spaces(space):
    assert set(training.BARS) == set(PUBLISHED)
    modern = Space.load(SPACES / "space_modern.json")
    for name in (*PUBLISHED, *networks.NETWORKS):
        found = (space if name in PUBLISHED else modern).adopt(config_of(name))
        assert found[1] == [], name


def test_it_runs_and_prints_the_ratios(monkeypatch, capsys, folder, no_flowers):
    # Threads in place of processes, a small network and product: the same path in less time.
    monkeypatch.setattr(training, "own_process", lambda: ThreadPoolExecutor(1))
    monkeypatch.setattr(training, "config_of", lambda name: CONFIG)
    monkeypatch.setattr(training, "MATRIX", 64)
    monkeypatch.setattr(training, "PRODUCT_SECONDS", 0.01)
    words = ["--networks", "small", "--pairs", "1", "--epochs", "1", "--dataset", str(folder)]
    assert training.main(words) == 0
    cells = capsys.readouterr().out.splitlines()[-1].split("|")
    assert cells[1].strip() == "small" and float(cells[2].split()[0]) > 0
    assert all(float(cell.split()[0]) >= 0 for cell in cells[2:-1])
