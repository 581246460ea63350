"""Reads a run folder in any state: finished, killed, old, or of a running search.

It locks, creates and repairs nothing, so it does not disturb a running search.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from engine.cli.settings import Settings, of_record, resolve
from engine.storage.journal import read_trials, used_seconds
from engine.storage.naming import find_run
from engine.storage.run import read_record
from search.constraints import Ranking
from search.generation import baseline, incumbent
from search.trial import Trial
from utils import InputError

METHODS = {  # (sampler, hyperband) -> name; in the order in which reports list them
    ("evolution", True): "evolution with Hyperband",
    ("evolution", False): "evolution",
    ("random", True): "Hyperband",
    ("random", False): "random search",
    ("guided", True): "guided",
    ("guided", False): "guided without Hyperband",
}
KINDS = ("feasible", "infeasible", "partial", "failed")
IN_FULL = KINDS[:2]  # trained in full, with success


@dataclass(frozen=True)
class Run:
    """The content of a run folder at the time of reading."""

    path: Path
    record: dict[str, Any]  # run.json
    settings: Settings
    trials: list[Trial]  # in order of arrival

    @property
    def name(self) -> str:
        return self.path.resolve().name

    @property
    def method(self) -> str:
        """The name of the method: of one in `baselines/`, else by the settings."""
        if "method" in self.record:
            return self.record["method"]
        return METHODS[self.settings.sampler, self.settings.hyperband]

    @property
    def data(self) -> dict[str, Any]:
        """The data set in run.json; {} if it has none."""
        return self.record.get("data") or {}

    @cached_property
    def ranking(self) -> Ranking:
        """Objective and constraints."""
        return self.settings.ranking()

    @property
    def status(self) -> str:
        """Why the last session ended, in words."""
        sessions = self.record.get("sessions") or [{}]
        return sessions[-1].get("reason") or "not ended: running, or killed"

    @cached_property
    def ordered(self) -> list[Trial]:
        """The trials in the planned order, which does not depend on workers."""
        return sorted(
            self.trials, key=lambda one: (one.generation, one.rung, -one.bracket, one.trial)
        )

    @cached_property
    def lasts(self) -> list[Trial]:
        """The trial with the most epochs of each configuration; by id."""
        by_reach = sorted(self.ordered, key=lambda one: (one.trial, one.epochs))
        return list({trial.trial: trial for trial in by_reach}.values())

    @cached_property
    def full(self) -> list[Trial]:
        """The successful, fully trained trials; by id."""
        return [one for one in self.lasts if self.kind(one) in IN_FULL]

    @cached_property
    def best(self) -> Trial | None:
        """The winner so far, chosen as in the search."""
        return incumbent(self.trials, self.ranking)

    @cached_property
    def baseline(self) -> Trial | None:
        """The space's default within the limits, if the search started with it."""
        return baseline(self.trials, self.settings.epochs)

    @cached_property
    def curves(self) -> dict[int, dict[int, dict[str, Any]]]:
        """{trial: {epochs: metrics}} of all measurements: means over the folds."""
        found: dict[int, dict[int, dict[str, Any]]] = {}
        for trial in self.ordered:
            if trial.status == "ok":
                known = learning_curve(trial) | {trial.epochs: trial.metrics}
                found.setdefault(trial.trial, {}).update(known)
        return found

    @cached_property
    def static(self) -> list[str]:
        """Static metrics to minimize: those that no fold has; without folds those with a limit."""
        limits = self.ranking.constraints
        more = {self.ranking.metric, *(one.metric for one in limits if one.sense == ">=")}
        names = [name for trial in self.lasts for name in trial.metrics]
        measured = {name for trial in self.lasts for fold in trial.folds for name in fold}
        if not measured:
            names = [one.metric for one in limits if one.sense == "<="]
        return [name for name in dict.fromkeys(names) if name not in measured | more]

    @property
    def used_seconds(self) -> float:
        return used_seconds(self.trials)

    def kind(self, trial: Trial) -> str:
        """One of KINDS; 'partial' was not trained in full (yet), 'infeasible' misses a limit."""
        if trial.status != "ok":
            return "failed"
        if trial.epochs < self.settings.epochs:
            return "partial"
        return "feasible" if self.ranking.feasible(trial) else "infeasible"

    def notes(self) -> list[str]:
        """Notes to show with any results of this run."""
        notes = [self.data["note"]] if self.data.get("note") else []
        if not notes and self.data.get("kind") == "synthetic":
            notes = ["The images are drawn flowers: results say nothing about photographs."]
        inexact = self.record.get("inexact") or []
        return notes + [f"{self.name} was resumed inexactly, {words}" for words in inexact]


def learning_curve(trial: Trial) -> dict[int, dict[str, float]]:
    """{epochs: means over the folds} from the curves of the folds; {} if they have none."""
    folds = [{at["epochs"]: at for at in fold.get("curve") or []} for fold in trial.folds]
    common = sorted(set.intersection(*map(set, folds))) if folds else []
    found = {}
    for epochs in common:
        points = [fold[epochs] for fold in folds]
        columns = {name: [point.get(name) for point in points] for name in points[0]}
        known = {name: values for name, values in columns.items() if None not in values}
        found[epochs] = {
            name: sum(values) / len(values) for name, values in known.items() if name != "epochs"
        }
    return found


def read_run(name: str | Path, runs_dir: str | Path = "runs") -> Run:
    """The run that `find_run` finds."""
    path = find_run(name, runs_dir)
    record = read_record(path / "run.json")
    if not isinstance(record.get("settings"), dict):
        raise InputError(f"{path / 'run.json'} has no settings of a search")
    settings = resolve(of_record(record["settings"]))
    journal = path / "trials.jsonl"
    trials, _ = read_trials(journal) if journal.is_file() else ([], False)
    return Run(path, record, settings, trials)


def read_runs(names: Iterable[str | Path], runs_dir: str | Path = "runs") -> list[Run]:
    """The named runs, without repetitions."""
    runs = [read_run(name, runs_dir) for name in names]
    return list({run.path.resolve(): run for run in runs}.values())
