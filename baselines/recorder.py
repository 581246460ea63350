"""The account that is the same for every method: what is trained, charged and recorded.

A configuration that breaks a limit known before training is never trained and costs nothing. One
that was trained to fewer epochs before goes on from there and is charged the difference, whether
or not the package knows of it. The same training again is free: it is in the journal.

A run goes on by replay. With the same seed a method asks for the same trainings in the same order,
and as long as the journal has them, they are taken from there, at the same charge.
"""

import logging
import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from engine.callbacks import Callback, CallbackHandler
from engine.cli.settings import Settings
from engine.cli.stopping import Clock, Stop, StopSignals
from engine.storage.journal import Journal, used_seconds
from engine.storage.run import RunFolder
from engine.workers.executor import evaluate, memory_bound
from search.fitting import fit
from search.known import StaticLimits
from search.space import Config, Space
from search.trial import Job, Trial, canonical, evaluation_seed
from utils import InputError, derive_rng, without_nan

log = logging.getLogger("nas")
MAX_UNEVALUATED = 1000  # in a row that cost nothing, before a method counts as stuck


class Recorder:
    """Trains for a method, and keeps its journal: in memory, and in a run folder if there is one.

    objective_range: the objective's least and greatest value.
    """

    def __init__(
        self,
        space: Space,
        target: Any,
        settings: Settings,
        objective_range: tuple[float, float],
        folder: RunFolder | None = None,
        signals: StopSignals | None = None,
        callbacks: CallbackHandler | None = None,
    ):
        self.space, self.target, self.settings, self.folder = space, target, settings, folder
        self.objective_range = objective_range
        self.signals, self.callbacks = signals or StopSignals(), callbacks or CallbackHandler()
        self.ranking = settings.ranking()
        self.known = StaticLimits(space, self.ranking, target.static_metrics, settings.seed)
        self.journal = Journal(folder.trials_jsonl if folder else None, space.declared)
        self.clock = Clock(used_before=used_seconds(self.journal.trials))
        self._trained: dict[str, dict[int, Trial]] = {}  # by configuration and epochs
        self._asked = 0  # trainings asked for and charged, replayed ones too
        self._free, self.spent = 0, 0

    def forbidden(self, config: Mapping[str, Any]) -> bool:
        """Whether a clause of the space forbids it: for packages that know no such clauses."""
        forbidden = self.space.forbids(config)
        if forbidden:
            self.count_unevaluated()
        return forbidden

    def static_violation(self, config: Mapping[str, Any]) -> float:
        """Of the limits known before training; a proposal that breaks them has no other cost."""
        violation = self.known.violation(config)
        if violation > 0:
            self.count_unevaluated()
        return violation

    def default(self) -> Config | None:
        """The space's default within the static limits, as our searches with this seed have it.

        None if its structure cannot meet them.
        """
        return self._fitted(self.space.default(), "child", 0)

    def repaired(self, config: Config, number: int) -> Config | None:
        """A proposal within the limits known before training, repaired as in our own searches.

        None if its structure cannot meet them.
        """
        return self._fitted(config, "repair", number)

    def _fitted(self, config: Config, purpose: str, number: int) -> Config | None:
        rng = derive_rng(self.settings.seed, purpose, number)
        fitted = fit(self.space, config, self.known.violation, rng)
        return fitted if self.known.violation(fitted) <= 0 else None

    def train(self, config: Mapping[str, Any], epochs: int) -> Trial:
        """The trial of the configuration at so many epochs in all.

        Stop if the budget does not allow it; InputError if a run that goes on asks for another
        training than it did before.
        """
        config = without_nan(dict(config))
        done = self._trained.get(canonical(config), {})
        if epochs in done:
            self.count_unevaluated()
            return done[epochs]
        reached = max(done, default=0)
        cost_epochs = epochs - reached if reached < epochs else epochs  # it does not go back
        if self.spent + cost_epochs > (self.settings.max_total_epochs or math.inf):
            raise Stop("epoch limit")
        number = next(iter(done.values())).trial if done else len(self._trained)
        place = 0, 0, 0  # generation, bracket, rung
        job = Job(number, *place, epochs, cost_epochs, dict(config))
        trial = self._replayed(job) or self._train(job)
        self._trained.setdefault(canonical(config), {})[epochs] = trial
        self.spent, self._asked, self._free = self.spent + cost_epochs, self._asked + 1, 0
        return trial

    def _replayed(self, job: Job) -> Trial | None:
        """The outcome that a session before this one has recorded."""
        if self._asked >= self.journal.replayed:
            return None
        trial = self.journal.trials[self._asked]
        asked, recorded = asdict(job), asdict(trial)
        if canonical({name: recorded[name] for name in asked}) != canonical(asked):
            raise InputError(
                f"the run cannot go on: its training number {self._asked} was trial {trial.trial} "
                f"up to epoch {trial.epochs}, and now it would be another: {canonical(job.config)}"
            )
        return trial

    def _train(self, job: Job) -> Trial:
        """Trains, and records the outcome."""
        if self.clock.used() >= self.settings.max_time:
            raise Stop("time limit")
        state = None
        if self.folder:
            self.folder.check_space()
            state = str(self.folder.state_path(job.trial))
            if job.cost_epochs == job.epochs:  # not from the state of a longer training
                self.folder.delete_states([job.trial])
        seed = evaluation_seed(self.settings.seed, job.config)
        with self.signals.interruptible():
            outcome = evaluate(self.target, job, seed, state, memory_bound(self.settings))
        log.debug("%s", outcome.pop("traceback", ""))
        outcome["meta"]["elapsed"] = round(self.clock.used(), 3)
        trial = Trial(**asdict(job), **outcome)
        self.journal.append(trial)
        self.callbacks.notify(Callback.recorded, trial)
        if self.folder and job.epochs < self.settings.epochs:
            self.folder.cap_states(job.trial, int(self.settings.max_checkpoint_gb * 1e9))
        elif self.folder:
            self.folder.delete_states([job.trial])
        return trial

    def loss(self, trial: Trial) -> float:
        """What a method without constraints minimises: Deb's order (2000, section 3) in a number.

        Feasible: the objective, to be minimised. Infeasible: its worst value plus
        range * v / (1 + v) for a violation v, so that less violation is better, and everything
        stays within twice the range.
        """
        infeasible, violation, value, _ = self.ranking.key(trial)
        return self.penalty(violation) if infeasible else value

    def penalty(self, violation: float) -> float:
        """The loss of what is infeasible: see `loss`."""
        low, high = self.objective_range
        worst = high if self.ranking.sign < 0 else -low
        share = 1.0 if math.isinf(violation) else violation / (1 + violation)
        return worst + (high - low) * share

    def count_unevaluated(self) -> None:
        """A proposal cost nothing. Stop if there were too many of them in a row."""
        self._free += 1
        if self._free >= MAX_UNEVALUATED:
            raise Stop("space exhausted")
