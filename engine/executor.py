"""Runs the jobs of brackets in this process, each at most once in the life of a run."""

import logging
import time
from collections import Counter
from collections.abc import Generator, Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from engine.journal import Journal, used_seconds
from engine.run import RunFolder
from engine.settings import Settings
from engine.stopping import Clock, Stop, StopSignals
from search.trial import Job, Trial, evaluation_seed
from utils import InputError, nearest, without_nan

log = logging.getLogger("nas")
WATCHED_JOBS = 20  # if more than half of so many failed for one reason, the next ones will, too


class SerialExecutor:
    """Does jobs that are not in the journal and records them; asks the clock only before these."""

    def __init__(
        self,
        target: Any,
        settings: Settings,
        journal: Journal,
        folder: RunFolder | None,
        signals: StopSignals,
    ):
        self.target, self.run_seed, self.max_time = target, settings.seed, settings.max_time
        self.journal, self.folder, self.signals = journal, folder, signals
        ranking = settings.ranking()
        self.decisive = [ranking.metric, *(limit.metric for limit in ranking.constraints)]
        self.clock = Clock(used_before=used_seconds(journal.trials))

    def run(self, brackets: Iterable[Generator[list[Job], list[Trial], None]]) -> list[Trial]:
        """Drives the brackets to their ends in series; their trials by bracket, rung, trial id."""
        done: list[Trial] = []
        for bracket in brackets:
            jobs = next(bracket, None)
            while jobs:
                before = len(self.journal.trials)
                trials = [self._trial(job) for job in jobs]
                done += trials
                if len(self.journal.trials) > before:
                    log.info(_rung_line(trials))
                try:
                    jobs = bracket.send(trials)
                except StopIteration:
                    jobs = None
                self._forget(trials, jobs or [])
        return done

    def _trial(self, job: Job) -> Trial:
        trial = self.journal.find(job.key)
        if trial is not None:
            return trial
        self._stop_if_hopeless()
        if self.clock.used() >= self.max_time:
            raise Stop("time limit")
        with self.signals.interruptible():
            trial = self._evaluate(job)
        self.journal.append(trial)
        missing = [name for name in self.decisive if name not in trial.metrics]
        if trial.status == "ok" and missing:  # it would make everything infeasible, for a day
            raise InputError(
                f"objective or constraint on {missing[0]!r}: the target measures no such thing, "
                f"but {', '.join(trial.metrics)}{nearest(missing[0], trial.metrics)}"
            )
        origin = f"{job.operator} of {list(job.parents)}"
        outcome = f"{trial.status} {trial.metrics}"
        log.debug("trial %d at %d epochs (%s): %s", job.trial, job.epochs, origin, outcome)
        return trial

    def _evaluate(self, job: Job) -> Trial:
        """A failure of the target is a result, with the reason; it ranks last."""
        started = time.monotonic()
        status, error, metrics, folds, observed = "ok", None, {}, [], {}
        try:
            seed = evaluation_seed(self.run_seed, job.config, job.repeat)
            metrics = dict(self.target.evaluate(job.config, job.epochs, seed, self._state(job)))
            folds, observed = metrics.pop("folds", []), metrics.pop("observed", {})
            for name, value in metrics.items():
                if not isinstance(value, int | float | np.number):
                    raise TypeError(f"metric {name} is no number: {value!r}")
            metrics = without_nan(metrics)
            infinite = [name for name, value in metrics.items() if value is None]
            if infinite:
                status, error = "diverged", f"not finite: {', '.join(infinite)}"
        except Exception as exception:
            in_full = log.isEnabledFor(logging.DEBUG)
            log.warning("trial %d failed: %s", job.trial, exception, exc_info=in_full)
            metrics, folds = {}, []
            status, error = "failed", f"{type(exception).__name__}: {exception}"
        seconds = round(time.monotonic() - started, 3)
        observed = {**observed, "seconds": seconds, "elapsed": round(self.clock.used(), 3)}
        outcome: dict[str, Any] = {
            "status": status,
            "error": error,
            "metrics": metrics,
            "folds": folds,
        }
        return Trial(**asdict(job), **outcome, observed=observed)

    def _state(self, job: Job) -> Path | None:
        """Only what may go on to a next rung needs a state."""
        return self.folder.state_path(job.trial) if self.folder and job.bracket > 0 else None

    def _stop_if_hopeless(self) -> None:
        # Of this session only: a resume may have removed the cause.
        recent = self.journal.trials[self.journal.replayed :][-WATCHED_JOBS:]
        reasons = Counter(trial.error for trial in recent if trial.status == "failed")
        reason, count = reasons.most_common(1)[0] if reasons else ("", 0)
        if 2 * count > WATCHED_JOBS:
            raise Stop(
                "failures", f"{count} of the last {WATCHED_JOBS} trainings failed alike: {reason}"
            )

    def _forget(self, finished: list[Trial], going_on: list[Job]) -> None:
        """Deletes the states of children that are out or done."""
        if self.folder is not None:
            kept = {job.trial for job in going_on}
            for trial in finished:
                if trial.trial not in kept:
                    self.folder.state_path(trial.trial).unlink(missing_ok=True)


def _rung_line(trials: list[Trial]) -> str:
    first = trials[0]
    failed = sum(trial.status != "ok" for trial in trials)
    seconds = sum(trial.observed.get("seconds", 0.0) for trial in trials)
    return (
        f"generation {first.generation}, bracket {first.bracket}, rung {first.rung}: "
        f"{len(trials)} trained to {first.epochs} epochs in {seconds:.0f} s"
        + (f", {failed} failed" if failed else "")
    )
