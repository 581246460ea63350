"""The account that is the same for every method: what is trained, charged and recorded.

A configuration that breaks a limit known before training is never trained and costs nothing. One
that was trained to fewer epochs before goes on from there and is charged the difference, whether
or not the package knows of it. The same training again is free: it is in the journal.
"""

import math
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from ConfigSpace import Configuration
from ConfigSpace.exceptions import ForbiddenValueError

from engine.executor import evaluate
from engine.journal import Journal
from engine.run import RunFolder
from engine.settings import Settings
from search.constraints import total_violation
from search.trial import Job, Trial, canonical, evaluation_seed
from utils import InputError, without_nan

FREE_PROPOSALS = 1000  # in a row that cost nothing, before a method counts as stuck


class Spent(Exception):
    """The next training would exceed the budget, or no proposal leads to one any more."""


class Recorder:
    """Trains for a method, and keeps its journal: in memory, and in a run folder if there is one.

    problem: a target with `space`, and `objective_range`, the objective's least and greatest.
    """

    def __init__(self, problem: Any, settings: Settings, folder: RunFolder | None = None):
        self.problem, self.settings, self.folder = problem, settings, folder
        self.ranking = settings.ranking()
        self.limits = self.ranking.cheap(problem.cheap(problem.space.default()))
        self.journal = Journal(folder.trials_jsonl if folder else None)
        if self.journal.trials:
            raise InputError(f"{folder and folder.path} holds a run already")
        self._latest: dict[str, Trial] = {}  # of each configuration, the longest training
        self._free, self.spent = 0, 0

    def forbidden(self, config: Mapping[str, Any]) -> bool:
        """Whether a clause of the space forbids it: for packages that know no such clauses."""
        try:
            Configuration(self.problem.space.configspace, values=dict(config))
        except ForbiddenValueError:
            self.count_free()
            return True
        return False

    def cheap_violation(self, config: Mapping[str, Any]) -> float:
        """Of the limits known before training; a proposal that breaks them has no other cost."""
        violation = total_violation(self.limits, self.problem.cheap(config))
        if violation > 0:
            self.count_free()
        return violation

    def train(self, config: Mapping[str, Any], epochs: int, operator: str = "sample") -> Trial:
        """The trial of the configuration at so many epochs in all. Raises Spent."""
        config = without_nan(dict(config))
        key = canonical(config)
        latest = self._latest.get(key)
        number = latest.trial if latest else len(self._latest)
        known = self.journal.find((number, epochs, 0))
        if latest and known:
            self.count_free()
            return known
        reached = latest.epochs if latest and latest.epochs < epochs else 0
        if self.spent + epochs - reached > (self.settings.max_total_epochs or math.inf):
            raise Spent
        job = Job(
            **{"trial": number, "generation": 0, "bracket": 0, "rung": 0, "epochs": epochs},
            **{"charged": epochs - reached, "config": config, "operator": operator},
        )
        state = str(self.folder.state_path(number)) if self.folder else None
        if self.folder and latest and not reached:  # a shorter training cannot go on from a longer
            self.folder.delete_states([number])
        seed = evaluation_seed(self.settings.seed, config)
        outcome = evaluate(self.problem, job, seed, state, None)
        outcome.pop("traceback", None)
        trial = Trial(**asdict(job), **outcome)
        self.journal.append(trial)
        self.spent, self._free = self.spent + job.charged, 0
        if reached or not latest:
            self._latest[key] = trial
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
        low, high = self.problem.objective_range
        worst = high if self.ranking.sign < 0 else -low
        share = 1.0 if math.isinf(violation) else violation / (1 + violation)
        return worst + (high - low) * share

    def count_free(self) -> None:
        """A proposal cost nothing. Raises Spent if there were too many of them in a row."""
        self._free += 1
        if self._free >= FREE_PROPOSALS:
            raise Spent
