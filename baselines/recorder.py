"""The accounting, which is the same for every method: what is trained, charged and recorded.

A configuration that violates a static constraint is never trained and costs nothing. One that was
trained to fewer epochs before resumes there and is charged the difference, even if the package
does not track this. A repeated trial is free: it is in the journal.

A run resumes by replay. With the same seed a method requests the same trials in the same order.
Those in the journal are taken from there, at the same charge.
"""

import math
from collections.abc import Mapping
from functools import cached_property
from typing import Any

from engine.callbacks import CallbackHandler
from engine.cli.settings import Settings
from engine.cli.stopping import Stop, StopSignals
from engine.storage.journal import Journal
from engine.storage.run import RunFolder
from engine.workers.dispatch import Dispatcher, Halving
from engine.workers.executor import InProcess
from search.fitting import fitted
from search.known import StaticLimits
from search.space import Config, Space
from search.trial import Job, Trial, canonical
from utils import InputError, derive_rng, without_nan

MAX_UNEVALUATED = 1000  # proposals in a row without cost before a method counts as stuck


class Recorder:
    """Trains for a method, and keeps its journal: in memory, and in a run folder if there is one.

    objective_range: the smallest and largest value of the objective.
    """

    def __init__(
        self,
        space: Space,
        target: Any,
        settings: Settings,
        objective_range: tuple[float, float],
        folder: RunFolder | None,
        signals: StopSignals,
        callbacks: CallbackHandler,
    ):
        self.space, self.settings, self.folder = space, settings, folder
        self.objective_range = objective_range
        self.ranking = settings.ranking()
        self.known = StaticLimits(space, self.ranking, target.static_metrics, settings.seed)
        self.journal = Journal(folder.trials_jsonl if folder else None, space.declared)
        pool, cost = InProcess(target), self.known.cost
        self.dispatcher = Dispatcher(
            pool, settings, self.journal, folder, signals, cost, callbacks
        )
        self._trained: dict[str, dict[int, Trial]] = {}  # by configuration and epochs
        self._asked = 0  # trials requested and charged, including replayed ones
        self._free, self.spent = 0, 0

    def forbidden(self, config: Mapping[str, Any]) -> bool:
        """Whether a clause of the space forbids it: for packages without such clauses."""
        forbidden = self.space.forbids(config)
        if forbidden:
            self.count_unevaluated()
        return forbidden

    def static_violation(self, config: Mapping[str, Any]) -> float:
        """Violation of the static constraints; a proposal that violates them costs nothing."""
        violation = self.known.violation(config)
        if violation > 0:
            self.count_unevaluated()
        return violation

    @cached_property
    def default(self) -> Config | None:
        """The space's default, fitted to the static constraints as in our searches with this seed.

        None if its structure cannot meet them.
        """
        rng = derive_rng(self.settings.seed, "child", 0)
        return fitted(self.space, self.space.default(), self.known.violation, rng)

    def repaired(self, config: Config, number: int) -> Config | None:
        """A proposal, fitted to the static constraints as in our own searches.

        None if its structure cannot meet them.
        """
        rng = derive_rng(self.settings.seed, "repair", number)
        return fitted(self.space, config, self.known.violation, rng)

    def train(self, config: Mapping[str, Any], epochs: int) -> Trial:
        """The trial of the configuration at `epochs` epochs in total.

        Stop if the budget does not allow it; InputError if a resumed run requests another trial
        than before.
        """
        config = without_nan(dict(config))
        done = self._trained.get(canonical(config), {})
        if epochs in done:
            self.count_unevaluated()
            return done[epochs]
        reached = max(done, default=0)
        cost_epochs = epochs - reached if reached < epochs else epochs  # fewer: from the start
        if self.spent + cost_epochs > (self.settings.max_total_epochs or math.inf):
            raise Stop("epoch limit")
        number = next(iter(done.values())).trial if done else len(self._trained)
        place = 0, 0, 0  # generation, bracket, rung
        job = Job(number, *place, epochs, cost_epochs, dict(config))
        if self._asked < self.journal.replayed and self.journal.find(job) is None:
            recorded = self.journal.trials[self._asked]
            raise InputError(
                f"the run cannot be resumed: training {self._asked} was trial {recorded.trial} "
                f"up to epoch {recorded.epochs}, and now it is another: {canonical(job.config)}"
            )
        if done and self.folder and cost_epochs == epochs:  # the state is of a longer training
            self.folder.delete_states([number])
        (trial,) = self.dispatcher.run([_alone(job)])
        self._trained.setdefault(canonical(config), {})[epochs] = trial
        self.spent, self._asked, self._free = self.spent + cost_epochs, self._asked + 1, 0
        return trial

    def loss(self, trial: Trial) -> float:
        """The loss for a method without constraints: Deb's order (2000, section 3) as a number.

        Feasible: the objective, to be minimised. Infeasible: its worst value plus
        range * v / (1 + v) for a violation v, so that less violation is better, and the loss
        stays within twice the range.
        """
        infeasible, violation, value, _ = self.ranking.key(trial)
        return self.penalty(violation) if infeasible else value

    def penalty(self, violation: float) -> float:
        """The loss of an infeasible configuration: see `loss`."""
        low, high = self.objective_range
        worst = high if self.ranking.sign < 0 else -low
        share = 1.0 if math.isinf(violation) else violation / (1 + violation)
        return worst + (high - low) * share

    def count_unevaluated(self) -> None:
        """Counts a proposal without cost. Stop if there are too many of them in a row."""
        self._free += 1
        if self._free >= MAX_UNEVALUATED:
            raise Stop("space exhausted")


def _alone(job: Job) -> Halving:
    """The job as a bracket of its own."""
    yield [job]
