"""Helpers to make trials and spaces."""

import json
from collections.abc import Sequence
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

from benchmarks.problems.base import made_of
from engine.storage.journal import Journal
from search.space import Space
from search.trial import Trial

ROOT = Path(__file__).resolve().parent.parent


def make_trial(number: int = 0, **changes: Any) -> Trial:
    """A successful, fully trained trial, with these changes."""
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
    """The lines of a journal, without the values that may differ between identical runs."""
    records = [json.loads(trial.to_line()) for trial in trials]
    found = {json.dumps({**record, "meta": None}) for record in records}
    assert len(found) == len(records)
    return found


def assert_same(folder: Path, trials: Sequence[Trial], whole: Sequence[Trial]) -> None:
    """A search in a folder, on disk and in memory, equals the one without a folder."""
    assert lines(on_disk(folder)) == lines(trials) == lines(whole)


def processes_of(pid):
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def rich_space() -> Space:
    """Every kind of hyperparameter, conditions on conditions, and a forbidden clause.

    Children come before their parents in alphabetical order.
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
    return Space(made_of(OrdinalHyperparameter("x", list(range(1, count + 1)))))
