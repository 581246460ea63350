"""A target without training, and helpers to make trials and spaces."""

import json
import math
import os
import signal
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
from ConfigSpace import (
    AndConjunction,
    Categorical,
    ConfigurationSpace,
    Constant,
    EqualsCondition,
    Float,
    ForbiddenAndConjunction,
    ForbiddenEqualsClause,
    GreaterThanCondition,
    InCondition,
    Integer,
    OrConjunction,
    OrdinalHyperparameter,
)

from engine.journal import Journal
from search.space import Space
from search.trial import Trial, canonical
from utils import derive_seed


def num_params(config: Mapping[str, Any], side: int = 16, classes: int = 17) -> int:
    """The parameters of a network of configs/space.json, written anew, without torch."""
    total, channels = 0, 3
    for i in range(config["n_conv_layers"]):
        width = config[f"n_channels_conv_{i}"]
        total += width * channels * config["kernel_size"] ** 2 + width
        total += 2 * width if config["use_BN"] else 0
        channels, side = width, side // 2
    features = channels if config["global_avg_pooling"] else channels * side * side
    for i in range(config["n_fc_layers"]):
        width = config[f"n_channels_fc_{i}"]
        total += width * features + width
        features = width
    return total + classes * features + classes


def _size(config: Mapping[str, Any]) -> dict[str, int]:
    return {"num_params": num_params(config)}


class StubTarget:
    """Closed-form metrics in place of training.

    `act(config, epochs)` may raise, or return metrics that replace the computed ones. `calls`
    holds (config, epochs, seed, state) of every evaluation.
    """

    def __init__(
        self,
        act: Callable[[dict[str, Any], int], Mapping[str, Any] | None] = lambda *_: None,
        static_metrics: Callable[[Mapping[str, Any]], dict[str, Any]] | None = None,
    ):
        self.act = act
        self._static_metrics = static_metrics or _size
        self.calls: list[tuple[dict[str, Any], int, int, str | None]] = []
        self.begun: list[int] = []  # epochs of the state from which each call went on

    def static_metrics(self, config: Mapping[str, Any]) -> dict[str, Any]:
        return dict(self._static_metrics(config))

    def evaluate(
        self, config: Mapping[str, Any], epochs: int, seed: int, state: str | Path | None = None
    ) -> dict[str, Any]:
        config = dict(config)
        changed = self.act(config, epochs) or {}
        self.calls.append((config, epochs, seed, None if state is None else str(state)))
        self.begun.append(self._go_on(canonical(config), epochs, seed, state))
        quality = derive_seed("quality", config) / 2**63
        speed = 1 + derive_seed("speed", config) / 2**60
        luck = derive_seed("luck", seed) / 2**63
        top3 = (0.2 + 0.7 * quality) * (1 - math.exp(-epochs / speed)) + 0.05 * luck
        metrics = {
            "top3": top3,
            "top1": top3 / 2,
            "precision": 0.6 * quality + 0.3 * luck,
            "recall": top3 / 3,
            "loss": 3 - 2 * top3,
            **self.static_metrics(config),
            **changed,
        }
        folds = [{**metrics, "curve": [{"epochs": epochs, "top3": top3}]} for _ in range(2)]
        return {**metrics, "folds": folds, "meta": {"fold_seconds": [0.0, 0.0]}}

    def _go_on(self, key: str, epochs: int, seed: int, state: str | Path | None) -> int:
        if state is None:
            return 0
        begun = 0
        if Path(state).exists():
            saved = json.loads(Path(state).read_text())
            assert saved["key"] == key and saved["seed"] == seed, "the state of another training"
            assert saved["epochs"] <= epochs
            begun = saved["epochs"]
        Path(state).write_text(json.dumps({"key": key, "seed": seed, "epochs": epochs}))
        return begun


def make_trial(number: int = 0, **changes: Any) -> Trial:
    """A trial that succeeded, trained in full, with these differences."""
    values: dict[str, Any] = {
        "trial": number,
        "generation": 0,
        "bracket": 0,
        "rung": 0,
        "epochs": 50,
        "cost_epochs": 50,
        "config": {"x": number},
        "metrics": {"top3": 0.5, "precision": 0.5, "num_params": 1000},
    }
    return Trial(**{**values, **changes})


def write_journal(path: Path, trials: Sequence[Trial]) -> None:
    journal = Journal(path)
    for trial in trials:
        journal.append(trial)
    journal.close()


def on_disk(folder: Path) -> list[Trial]:
    """The trials of a run's journal."""
    return [Trial.from_line(line) for line in (folder / "trials.jsonl").read_text().splitlines()]


def lines(trials: Sequence[Trial]) -> set[str]:
    """What a journal says, but for what may differ between identical runs."""
    records = [json.loads(trial.to_line()) for trial in trials]
    found = {json.dumps({**record, "meta": None}) for record in records}
    assert len(found) == len(records)
    return found


def bare(trials: Sequence[Trial]) -> set[str]:
    """The lines without folds: a search in a folder keeps these on disk only."""
    return lines([replace(trial, folds=[]) for trial in trials])


def assert_same(folder: Path, trials: Sequence[Trial], whole: Sequence[Trial]) -> None:
    """A search in a folder, on disk and in memory, is the one that ran without a folder."""
    assert lines(on_disk(folder)) == lines(whole)
    assert lines(trials) == bare(whole)


def processes_of(pid):
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def rich_space() -> Space:
    """Every kind of hyperparameter, conditions on conditions, and a forbidden clause.

    The names are such that children come before their parents in the alphabet.
    """
    space = ConfigurationSpace(name="rich")
    kind = Categorical("z_kind", ["x", "y", "z"], default="x")
    depth = Integer("m_depth", (1, 9), default=5)
    step = OrdinalHyperparameter("a_step", [1, 2, 4])
    ratio = Float("a_ratio", (0.0, 1.0), default=0.5)
    rate = Float("a_rate", (1e-4, 1.0), default=0.01, log=True)
    width = Integer("width", (1, 1000), default=32, log=True)
    switch = Categorical("switch", [True, False], default=True)
    fixed = Constant("fixed", "as it is")
    space.add(kind, depth, step, ratio, rate, width, switch, fixed)
    space.add(
        InCondition(depth, kind, ["x", "y"]),
        GreaterThanCondition(step, depth, 3),
        AndConjunction(EqualsCondition(ratio, step, 4), EqualsCondition(ratio, switch, True)),
        OrConjunction(EqualsCondition(rate, kind, "x"), EqualsCondition(rate, step, 2)),
        ForbiddenAndConjunction(
            ForbiddenEqualsClause(kind, "x"), ForbiddenEqualsClause(switch, False)
        ),
    )
    return Space(space)


def small_space(count: int = 6) -> Space:
    """`count` configurations and no more: {"x": 1} to {"x": count}."""
    space = ConfigurationSpace(name="small")
    space.add(OrdinalHyperparameter("x", list(range(1, count + 1))))
    return Space(space)


class Misbehaving(StubTarget):
    """A stub whose trainings of chosen configurations go wrong; can be pickled.

    wrong: canonical configuration -> 'raise', 'nan', 'hang', 'allocate', 'memory_error' or 'kill'.
    """

    def __init__(self, wrong: Mapping[str, str]):
        super().__init__()
        self.wrong = dict(wrong)

    def __reduce__(self) -> tuple[Any, ...]:
        return Misbehaving, (self.wrong,)

    def evaluate(
        self, config: Mapping[str, Any], epochs: int, seed: int, state: str | Path | None = None
    ) -> dict[str, Any]:
        how = self.wrong.get(canonical(config))
        if how == "raise":
            raise ValueError("as it was told")
        if how == "memory_error":
            raise MemoryError("as it was told")
        if how == "hang":
            time.sleep(3600)
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        blocks = []
        while how == "allocate":
            blocks.append(b"x" * (1 << 26))
        metrics = super().evaluate(config, epochs, seed, state)
        return {**metrics, "loss": math.nan} if how == "nan" else metrics
