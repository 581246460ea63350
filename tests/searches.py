"""Small searches on a target without training, complete and interrupted."""

import json
from pathlib import Path

import pytest

from engine.cli.settings import Settings, resolve
from engine.cli.stopping import Stop
from optimizer import search
from search import guided
from search.offspring import OffspringSampler
from search.trial import Trial
from tests.stub_target import StubTarget
from tests.stubs import assert_same, on_disk
from utils import derive_seed

METHODS = [
    (sampler, hyperband) for sampler in ("evolution", "random") for hyperband in (True, False)
]
SMALL = {"workers": "0", "pop_size": 4, "num_children": 3, "epochs": 12, "max_generations": 2}
# Epochs of each job of a small search, in the fixed order used by the epoch limit.
CHARGES = [12] * 4 + 2 * ([3] * 4 + [6] * 3 + [12] * 3 + [3] * 2 + [6] + [6])
GUIDED = {"sampler": "guided", "pop_size": 4, "max_generations": 10}
each_method = pytest.mark.parametrize(("sampler", "hyperband"), METHODS)


def without(part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Disables a part of the guided search."""
    if part == "candidates":
        monkeypatch.setattr(guided, "CANDIDATES", 1)
        monkeypatch.setattr(guided, "NEIGHBOURS", 0)
    if part == "promotion":
        measured = OffspringSampler.rank_for_promotion
        monkeypatch.setattr(guided.GuidedSampler, "rank_for_promotion", measured)


def small(**given) -> Settings:
    return resolve({**SMALL, **given})


class Interrupted(StubTarget):
    """Stops the search after that many jobs: before the next one, or when its state is saved."""

    def __init__(self, after: int, saved: bool = False, **options):
        super().__init__(**options)
        self.after, self.saved, self.count = after, saved, 0

    def evaluate(self, *arguments):
        self.count += 1
        if self.count > self.after and not self.saved:
            raise Stop("interrupted")
        metrics = super().evaluate(*arguments)
        if self.count > self.after:
            raise Stop("terminated")
        return metrics


def assert_resumed(
    space, settings, folder: Path, after: int, saved: bool, **options
) -> list[StubTarget]:
    """Searches in sessions that end after that many jobs, until one ends by itself."""
    whole = search(space, StubTarget(**options), settings)
    targets = []
    while True:
        targets.append(Interrupted(after, saved, **options))
        result = search(space, targets[-1], settings, folder)
        if result.reason not in ("interrupted", "terminated"):
            break
        assert len(on_disk(folder)) == after * len(targets)
    assert_same(folder, result.trials, whole.trials)
    assert result.best.config == whole.best.config and result.reason == whole.reason
    assert json.loads((folder / "opt_cfg.json").read_text()) == whole.best.config
    assert not (folder / "checkpoints").exists()
    return targets


def spent(trials: list[Trial]) -> int:
    return sum(trial.cost_epochs for trial in trials)


def fate(config: dict) -> str:
    return ["raises", "diverges", "ok", "ok"][derive_seed(config) % 4]


def unlucky(config: dict, epochs: int) -> dict | None:
    if fate(config) == "raises" and epochs > 3:
        raise RuntimeError(f"out of luck {derive_seed(config)}")
    if fate(config) == "diverges":
        return {"top3": float("nan"), "loss": float("inf")}
    return None
