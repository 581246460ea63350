"""Hands the jobs of brackets to an executor, each at most once in the life of a run.

Brackets run in parallel if there are enough workers. Each rung of a bracket ends with a barrier,
so that decisions do not depend on the number of workers.
"""

import logging
import re
from collections import Counter
from collections.abc import Callable, Generator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import asdict
from typing import Any

from engine.callbacks import Callback, CallbackHandler
from engine.cli.settings import Settings
from engine.cli.stopping import Clock, Stop, StopSignals
from engine.storage.journal import Journal, used_seconds
from engine.storage.run import RunFolder
from engine.workers.executor import NOT_MEASURED, evaluate, max_memory_bytes, require_metrics
from engine.workers.process import WorkerFailed
from search.trial import Job, Trial, evaluation_seed
from utils import InputError

log = logging.getLogger("nas")
WATCHED_JOBS = 20  # the search stops if more than half of that many failed for one reason
FEW_JOBS = 5  # the search stops if that many all lack a metric of the ranking
LONGEST_WAIT = 86400.0  # seconds; the system refuses waits of years
Halving = Generator[list[Job], list[Trial], None]


class BracketRun:
    """A running bracket: the jobs of its current rung, and its trials so far.

    cost: the cost of an epoch of a configuration, in any unit.
    """

    def __init__(self, halving: Halving, cost: Callable[[Mapping[str, Any]], float]):
        self.halving, self.cost = halving, cost
        self.done: list[Trial] = []  # of the complete rungs, by rung and trial id
        self.fresh = False  # whether this session added a trial of this rung to the journal
        self._enter(next(halving, []))

    def _enter(self, rung: list[Job]) -> None:
        self._rung = {job.trial: job for job in rung}
        self._trials: dict[int, Trial] = {}
        self.waiting = sorted(rung, key=lambda job: (-self.cost(job.config), job.trial))
        self._largest_cost = self.cost(self.waiting[0].config) if rung else 0.0

    def remaining_cost(self, epochs: int) -> float:
        """Upper bound on the remaining cost (of an epoch, x epochs) of this bracket.

        Its next job may be promoted to the top rung, at `epochs`.
        """
        job = self.waiting[0]
        largest = self._largest_cost if job.bracket else self.cost(job.config)
        return largest * (epochs - job.epochs + job.cost_epochs)

    def finish(self, trial: Trial) -> list[Trial]:
        """Adds a trial; returns all trials of its rung if it was the last one, else none."""
        self._trials[trial.trial] = trial
        if len(self._trials) < len(self._rung):
            return []
        trials = [self._trials[number] for number in self._rung]
        self.done += trials
        try:
            self._enter(self.halving.send(trials))
        except StopIteration:
            self._enter([])
        return trials


class Dispatcher:
    """Runs and records the jobs that are not in the journal; checks the clock only before them."""

    def __init__(
        self,
        pool: Any,
        settings: Settings,
        journal: Journal,
        folder: RunFolder | None,
        signals: StopSignals,
        cost: Callable[[Mapping[str, Any]], float],
        callbacks: CallbackHandler,
    ):
        self.pool, self.settings, self.callbacks = pool, settings, callbacks
        self.journal, self.folder, self.signals = journal, folder, signals
        self.cost, self.decisive = cost, settings.ranking().metrics
        self.clock = Clock(used_before=used_seconds(journal.trials))
        self._running: dict[Future, tuple[Job, BracketRun]] = {}

    def run(self, halvings: Sequence[Halving]) -> list[Trial]:
        """Runs the brackets to their ends; returns their trials by bracket, rung, trial id."""
        brackets = [BracketRun(halving, self.cost) for halving in halvings]
        began = len(self.journal.trials)
        self.signals.check()
        if 0 < began == self.journal.replayed:
            self.clock.restart()  # the time of a replay does not count
        try:
            self._begin(brackets)
            while self._running:
                self._wait()
                self._record()
                self._begin(brackets)
        except Stop:
            self._record()  # jobs that have just ended
            raise
        session = self.journal.trials[self.journal.replayed :]
        self._refuse_if_none_measures(session)
        if len(session) >= WATCHED_JOBS and {one.status for one in session} == {"diverged"}:
            raise Stop("failures", f"all {len(session)} trials diverged: {session[0].error}")
        done = [trial for bracket in brackets for trial in bracket.done]
        new = {trial.key for trial in self.journal.trials[began:]}
        _break_circuit([trial for trial in done if trial.key in new][-WATCHED_JOBS:])
        return done

    def _begin(self, brackets: Sequence[BracketRun]) -> None:
        """Starts jobs while a worker is free; takes trials from the journal if it has them."""
        try:
            workers = self.pool.workers
        except Exception as error:
            raise _lost(error) from None
        while len(self._running) < workers:
            ready = [bracket for bracket in brackets if bracket.waiting]
            if not ready:
                return
            # One worker runs the brackets in series. Several start with the bracket of largest
            # remaining cost, to reduce waiting at the barrier. No result depends on this order.
            bracket = ready[0]
            if workers > 1:
                bracket = max(ready, key=lambda one: one.remaining_cost(self.settings.epochs))
            job = bracket.waiting[0]
            trial = self.journal.find(job)
            if trial is None:
                if self.clock.used() >= self.settings.max_time:
                    if self._running:
                        return
                    raise Stop("time limit")
                recent = self.journal.trials[self.journal.replayed :][-WATCHED_JOBS:]
                # If any recent trial succeeded, only a whole generation is judged, since the
                # order of arrival depends on the number of workers.
                if not any(trial.status == "ok" for trial in recent):
                    if len(recent) >= FEW_JOBS:
                        self._refuse_if_none_measures(recent)
                    _break_circuit(recent)
                if self.folder and job.rung == 0:
                    self.folder.check_space()
                with self.signals.interruptible():
                    self._running[self._submit(job)] = job, bracket
            bracket.waiting.pop(0)
            if trial is not None:
                self._finish(bracket, trial)

    def _submit(self, job: Job) -> Future:
        seed = evaluation_seed(self.settings.seed, job.config, job.repeat)
        state = str(self.folder.state_path(job.trial)) if self.folder else None
        return self.pool.submit(evaluate, job, seed, state, max_memory_bytes(self.settings))

    def _wait(self) -> None:
        """Waits until a job ends; raises Stop if none ends within the time limit plus grace."""
        limit = self.settings.max_time + self.settings.grace
        with self.signals.interruptible():
            while True:
                left = min(max(0.0, limit - self.clock.used()), LONGEST_WAIT)
                if wait(self._running, timeout=left, return_when=FIRST_COMPLETED).done:
                    return
                if self.clock.used() >= limit:
                    raise Stop("time limit")

    def _record(self) -> None:
        """Records the jobs that have ended, and updates their brackets."""
        for future in [future for future in self._running if future.done()]:
            job, bracket = self._running.pop(future)
            try:
                outcome = dict(future.result())
            except getattr(self.pool, "fatal_errors", ()) as error:
                reason = f"{type(error).__name__}: {error}"
                outcome = {"status": "failed", "error": reason, "meta": {}}
            except Exception as error:
                raise _lost(error) from None
            require_metrics(outcome, self.decisive)
            trace = outcome.pop("traceback", None)
            outcome["meta"]["elapsed"] = round(self.clock.used(), 3)
            trial = Trial(**asdict(job), **outcome)
            self.journal.append(trial)
            self._tell(trial, trace)
            self.callbacks.notify(Callback.recorded, trial)
            if self.folder and job.epochs < self.settings.epochs:
                self.folder.cap_states(job.trial, int(self.settings.max_checkpoint_gb * 1e9))
            elif self.folder:
                self.folder.delete_states([job.trial])  # there is no next rung
            bracket.fresh = True
            self._finish(bracket, trial)

    def _refuse_if_none_measures(self, new: Sequence[Trial]) -> None:
        """InputError if no trial ever measured the objective and the constrained metrics.

        The settings are then wrong, and every trial would fail.
        """
        lacking = all(NOT_MEASURED in (trial.error or "") for trial in new)
        if new and lacking and not any(trial.status == "ok" for trial in self.journal.trials):
            raise InputError(new[0].error)

    def _tell(self, trial: Trial, trace: str | None) -> None:
        if trial.status != "ok":
            level = logging.INFO if trial.status == "diverged" else logging.WARNING
            log.log(level, "trial %d: %s: %s", trial.trial, trial.status, trial.error)
        if trace:
            log.debug("%s", trace)
        origin = f"{trial.operator} of {list(trial.parents)}"
        outcome = f"{trial.status} {trial.metrics}"
        log.debug("trial %d at %d epochs (%s): %s", trial.trial, trial.epochs, origin, outcome)

    def _finish(self, bracket: BracketRun, trial: Trial) -> None:
        """Adds a new or recorded trial; at the end of its rung, deletes the dropped states."""
        rung = bracket.finish(trial)
        if not rung:
            return
        promoted = {job.trial for job in bracket.waiting}
        if bracket.fresh:
            self.callbacks.notify(Callback.rung_complete, rung, promoted)
            bracket.fresh = False
        if self.folder and rung[0].bracket:  # bracket 0 has no states left
            self.folder.delete_states(one.trial for one in rung if one.trial not in promoted)


def _lost(error: Exception) -> Stop:
    """The end of a search whose workers cannot start, or whose scheduler has died."""
    if isinstance(error, WorkerFailed):
        return Stop("failures", str(error))
    lost = f"workers are lost ({type(error).__name__}: {error}); --resume continues"
    return Stop("failures", lost)


def _break_circuit(recent: Sequence[Trial]) -> None:
    """Raises Stop if most of these trials failed for the same reason.

    They are of this session, since the cause of earlier failures may have been fixed.
    """
    lost = [trial for trial in recent if trial.status not in ("ok", "diverged")]
    # Without numbers, since 'killed 3 times' equals 'killed 2 times'.
    reasons = [re.sub(r"\d+", "#", trial.error or "") for trial in lost]
    if not lost:
        return
    reason, count = Counter(reasons).most_common(1)[0]
    if 2 * count > WATCHED_JOBS:
        told = lost[reasons.index(reason)].error
        raise Stop("failures", f"{count} of the last {WATCHED_JOBS} trials failed alike: {told}")
