"""Surrogate model: predicts the final objective and constraints from all evaluations so far.

One Gaussian process for the objective and one for each measured constraint are fitted to all
rungs; the epochs are an input column. The acquisition value is the expected improvement times the
probability of feasibility (Gardner et al. 2014, "Bayesian Optimization with Inequality
Constraints"), or that probability alone while nothing is feasible.

The rungs of one trial share a random effect (`gaussian`). Promotion ranks trials by the predicted
mean of their final result, including this effect: drawing explores, promotion exploits.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from search import gaussian
from search.constraints import Constraint, Ranking
from search.space import Config, Space
from search.trial import Trial

MODEL_VERSION = 10  # of the decisions by a model; a resumed run needs the same
MIN_TRIALS = 8  # trials before there is a model
MAX_TRIALS = 500  # rows of the model: the best full trainings, then the latest trials
MAX_TRIALS_FOR_FIT = 256
SMALLEST = 1e-6  # smallest metric / upper bound
CLIP_RANGE = 2.0  # outcomes are clipped at this many widths of the middle 90 % outside it


class Scaling(NamedTuple):
    """Clips outcomes to [low, high], and scales them to mean 0 and standard deviation 1.

    Each field has one value per outcome.
    """

    low: np.ndarray
    high: np.ndarray
    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def of(cls, outcomes: np.ndarray) -> "Scaling":
        """From the outcomes (trials, outcomes) of all trials."""
        low, high = np.quantile(outcomes, [0.05, 0.95], axis=0)
        # Without a width, the few other outcomes are what there is to learn.
        reach = np.where(high > low, CLIP_RANGE * (high - low), np.inf)
        clipped = np.clip(outcomes, low - reach, high + reach)
        std = clipped.std(axis=0)
        return cls(low - reach, high + reach, clipped.mean(axis=0), np.where(std > 0, std, 1.0))

    def apply(self, outcomes: np.ndarray) -> np.ndarray:
        """Scaled outcomes: (trials, outcomes)."""
        return (np.clip(outcomes, self.low, self.high) - self.mean) / self.std


@dataclass(frozen=True)
class Model:
    """A fitted model. Outcomes to minimise: the objective, negated if maximised, and residuals."""

    surrogate: "Surrogate"
    x: np.ndarray  # (trials, columns)
    trial_ids: np.ndarray  # (trials,)
    y: np.ndarray  # (trials, outcomes), scaled
    scaling: Scaling
    processes: tuple[gaussian.Process, ...]
    best: float | None  # best predicted objective of a feasible, fully trained configuration

    def predict(
        self, x: np.ndarray, trial_ids: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations of the outcomes: (rows, outcomes) each.

        trial_ids: to include the effects of these trials; see `gaussian.Process`.
        """
        each = (process.predict(x, trial_ids) for process in self.processes)
        mean, deviation = zip(*each, strict=True)
        return (
            np.column_stack(mean) * self.scaling.std + self.scaling.mean,
            np.column_stack(deviation) * self.scaling.std,
        )

    def acquisition(self, configs: Sequence[Config]) -> np.ndarray:
        """log(expected improvement x probability of feasibility) of a full training: (n,)."""
        from scipy.special import log_ndtr

        mean, deviation = self.predict(self.surrogate.inputs(configs))
        feasible = log_ndtr(-mean[:, 1:] / deviation[:, 1:]).sum(axis=1)
        if self.best is None:
            return feasible
        z = (self.best - mean[:, 0]) / deviation[:, 0]
        return feasible + np.log(deviation[:, 0]) + log_improvement(z)

    def fantasize(self, config: Config) -> "Model":
        """Conditions the model on its own mean at `config`, so that the next candidate differs."""
        x = self.surrogate.inputs([config])
        mean, best = self.predict(x)[0][0], self.best
        if (mean[1:] <= 0).all() and (best is None or mean[0] < best):
            best = float(mean[0])
        processes = tuple(process.fantasize(x) for process in self.processes)
        return replace(self, processes=processes, best=best)

    def rank_for_promotion(self, rung: Sequence[Trial], bracket: Sequence[Trial]) -> list[Trial]:
        """The trials of a rung by predicted final result, in the order of the search: best first.

        bracket: all trials of their bracket so far; the model is conditioned on them, too.
        """
        new = [trial for trial in bracket if self.surrogate.usable(trial)]
        processes = self.surrogate.processes(
            np.vstack([self.x, self.surrogate.inputs_of(new)]),
            np.vstack([self.y, self.scaling.apply(self.surrogate.outcomes(new))]),
            np.append(self.trial_ids, ids(new)),
        )
        inputs = self.surrogate.inputs([trial.config for trial in rung])
        mean, _ = replace(self, processes=processes).predict(inputs, ids(rung))
        violation = np.maximum(mean[:, 1:], 0).sum(axis=1)
        predicted = np.where(violation > 0, violation, mean[:, 0])
        # Rounded, so that the last bits of a product do not order equal values.
        order = {
            one.trial: (missed > 0, float(f"{value:.6g}"))
            for one, missed, value in zip(rung, violation, predicted, strict=True)
        }
        key = self.surrogate.ranking.key
        return sorted(rung, key=lambda trial: (order[trial.trial], key(trial)))


class Surrogate:
    """Fits models to the trials of a search, in their fixed order.

    The parameters of the processes are refitted whenever the number of trials has grown by a
    quarter: they depend on the first 8, 10, 12, 15, ... trials only.
    """

    def __init__(self, space: Space, ranking: Ranking, static: Sequence[Constraint], epochs: int):
        self.scales, self.ranking, self.epochs = space.scales, ranking, epochs
        self.limits = [limit for limit in ranking.constraints if limit not in static]
        self.parameters: list[np.ndarray] = []
        self._known = 0  # number of trials that determined the parameters

    def learn(self, trials: Sequence[Trial]) -> Model | None:
        """A model of the trials, or None while there are too few.

        Trials without results (failed, diverged, out of memory, timed out) count as the worst
        outcomes so far, outliers clipped, so that the search leaves their region.
        """
        usable = [trial for trial in trials if self.usable(trial)]
        if len(usable) < MIN_TRIALS:
            return None
        count = MIN_TRIALS
        while count * 5 // 4 <= len(usable):
            count = count * 5 // 4
        if count != self._known:
            first = usable[:count][-MAX_TRIALS_FOR_FIT:]
            x, outcomes = self.inputs_of(first), self.outcomes(first)
            y = Scaling.of(outcomes).apply(outcomes)
            self.parameters = [gaussian.fit(x, one, ids(first)) for one in y.T]
            self._known = count
        known = self.outcomes(usable)
        worst = np.minimum(known.max(axis=0), Scaling.of(known).high)  # not that of an outlier
        chosen = self.selected(trials)
        x, trial_ids = self.inputs_of(chosen), ids(chosen)
        outcomes = self.outcomes(chosen, failed=worst)
        scaling = Scaling.of(outcomes)
        y = scaling.apply(outcomes)
        processes = self.processes(x, y, trial_ids)
        model = Model(self, x, trial_ids, y, scaling, processes, None)
        full = [t for t in chosen if t.epochs == self.epochs and self.ranking.feasible(t)]
        if not full:
            return model
        # The best prediction: the best measured value is biased by noise.
        return replace(model, best=float(model.predict(self.inputs_of(full))[0][:, 0].min()))

    def selected(self, trials: Sequence[Trial]) -> list[Trial]:
        """At most `MAX_TRIALS`, in their order: up to half are the best full trainings."""
        full = [i for i, trial in enumerate(trials) if trial.epochs == self.epochs]
        best = {*sorted(full, key=lambda i: self.ranking.key(trials[i]))[: MAX_TRIALS // 2]}
        others = [i for i in range(len(trials)) if i not in best]
        return [trials[i] for i in sorted([*best, *others[len(best) - MAX_TRIALS :]])]

    def processes(
        self, x: np.ndarray, y: np.ndarray, trial_ids: np.ndarray
    ) -> tuple[gaussian.Process, ...]:
        """Processes conditioned on these inputs and outcomes, with the current parameters."""
        pairs = zip(y.T, self.parameters, strict=True)
        return tuple(gaussian.Process.of(x, one, trial_ids, theta) for one, theta in pairs)

    def usable(self, trial: Trial) -> bool:
        """Whether the trial has an objective and a value for each constraint."""
        return math.isfinite(self.ranking.key(trial)[1])

    def inputs(self, configs: Sequence[Config], epochs: Sequence[int] | None = None) -> np.ndarray:
        """(configurations, columns), each in [0, 1]; default epochs: of a full training."""
        reached = np.array(epochs or [self.epochs] * len(configs), float)
        share = np.log(reached) / math.log(max(self.epochs, 2))
        rows = [
            [x for name, scale in self.scales.items() for x in scale.encoded(config.get(name))]
            for config in configs
        ]
        return np.column_stack([np.array(rows, float).reshape(len(configs), -1), share])

    def inputs_of(self, trials: Sequence[Trial]) -> np.ndarray:
        """`inputs` of the configurations and epochs of trials."""
        return self.inputs([t.config for t in trials], [t.epochs for t in trials])

    def outcomes(self, trials: Sequence[Trial], failed: Sequence[float] = ()) -> np.ndarray:
        """(trials, 1 + constraints), to minimise. failed: the row of a trial without results."""
        rows = [self._outcome(one) if self.usable(one) else failed for one in trials]
        return np.array(rows, float).reshape(len(trials), 1 + len(self.limits))

    def _outcome(self, trial: Trial) -> list[float]:
        known: Mapping[str, Any] = trial.metrics
        residuals = [model_residual(limit, known) for limit in self.limits]
        return [-self.ranking.sign * known[self.ranking.metric], *residuals]


def model_residual(limit: Constraint, metrics: Mapping[str, Any]) -> float:
    """The residual of a constraint on a scale that suits a model: feasible when <= 0.

    For a positive upper bound it is log(metric / bound), as times, sizes and losses differ by
    factors and change with the epochs; for any other bound it is the relative residual.
    """
    if limit.sense == "<=" and limit.bound > 0:
        return math.log(max(metrics[limit.metric] / limit.bound, SMALLEST))
    return limit.relative_residual(metrics)


def ids(trials: Sequence[Trial]) -> np.ndarray:
    """(trials,): the trial ids; all rungs of a configuration have the same one."""
    return np.array([trial.trial for trial in trials], int)


def log_improvement(z: np.ndarray) -> np.ndarray:
    """log(density(z) + z * distribution(z)) of the standard normal, also for very small values.

    Ament et al. 2023, "Unexpected Improvements to Expected Improvement for Bayesian Optimization",
    equation 9: where the sum cancels, it uses the scaled complementary error function.
    """
    from scipy.special import erfcx, ndtr

    near, far = np.maximum(z, -1.0), np.clip(z, -1e3, -1.0)
    log_density = -0.5 * z * z - 0.5 * math.log(2 * math.pi)
    usual = np.exp(-0.5 * near * near) / math.sqrt(2 * math.pi) + near * ndtr(near)
    share = 1 + far * math.sqrt(math.pi / 2) * erfcx(-far / math.sqrt(2))
    small = log_density + np.where(z > -1e3, np.log(share), -2 * np.log(np.maximum(-z, 1.0)))
    return np.where(z > -1.0, np.log(usual), small)
