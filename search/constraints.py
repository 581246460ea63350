"""Objective, constraints, and the sort key that ranks trials everywhere."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from search.trial import Trial
from utils import InputError

# The name of a metric contains neither < nor >: val/acc, f1-score, mAP@0.5, macro recall.
_CONSTRAINT = re.compile(r"\s*([^\s<>](?:[^\n<>]*[^\s<>])?)\s*(<=|>=)\s*(\S+)\s*")
RankKey = tuple[bool, float, float, int]


@dataclass(frozen=True)
class Constraint:
    """`metric <= bound` or `metric >= bound`."""

    metric: str
    sense: str
    bound: float

    @classmethod
    def parse(cls, text: str) -> "Constraint":
        """Reads 'precision >= 0.39'.

        InputError if the text has another form or the bound is not a finite number.
        """
        match = _CONSTRAINT.fullmatch(str(text))
        try:
            bound = float(match[3]) if match else math.nan
        except ValueError:
            bound = math.nan
        if match is None or not math.isfinite(bound):
            raise InputError(
                f"constraint {text!r} is not of the form 'metric <= number' or 'metric >= number' "
                "such as 'num_params <= 2e7'"
            )
        return cls(match[1], match[2], bound)

    def __str__(self) -> str:
        short = f"{self.bound:.12g}"
        exact = short if float(short) == self.bound else repr(self.bound)
        return f"{self.metric} {self.sense} {exact}"

    def residual(self, metrics: Mapping[str, Any]) -> float:
        """How far the metric is beyond the bound: feasible when <= 0.

        Infinite if the metric is missing or not finite.
        """
        value = metrics.get(self.metric)
        if value is None or not math.isfinite(value):
            return math.inf
        return value - self.bound if self.sense == "<=" else self.bound - value

    def relative_residual(self, metrics: Mapping[str, Any]) -> float:
        """The residual divided by the absolute bound; the residual itself if the bound is 0."""
        return self.residual(metrics) / (abs(self.bound) or 1.0)

    def violation(self, metrics: Mapping[str, Any]) -> float:
        """The relative residual, 0 if the constraint is met."""
        return max(0.0, self.relative_residual(metrics))


def total_violation(constraints: Iterable[Constraint], metrics: Mapping[str, Any]) -> float:
    """Sum of the violations; 0 when all constraints are met."""
    return sum(constraint.violation(metrics) for constraint in constraints)


@dataclass(frozen=True)
class Ranking:
    """The order of trials: feasible ones first, by the objective.

    Infeasible ones follow, by violation (Deb 2000, section 3).
    """

    metric: str
    sign: float  # 1 to maximize, -1 to minimize
    constraints: tuple[Constraint, ...] = ()

    @classmethod
    def parse(cls, objective: str, constraints: Sequence[str] = ()) -> "Ranking":
        """Reads 'maximize top3' or 'minimize loss', and constraints as text.

        InputError if one has another form.
        """
        sense, _, metric = str(objective).strip().partition(" ")
        if sense not in ("maximize", "minimize") or not metric.strip():
            raise InputError(
                f"objective {objective!r} is neither 'maximize METRIC' nor 'minimize METRIC'"
            )
        return cls(
            metric.strip(),
            1.0 if sense == "maximize" else -1.0,
            tuple(Constraint.parse(text) for text in constraints),
        )

    @property
    def metrics(self) -> list[str]:
        """The metrics of the objective and then of the constraints, each once."""
        return [*dict.fromkeys((self.metric, *(limit.metric for limit in self.constraints)))]

    def feasible(self, trial: Trial) -> bool:
        """Whether the trial succeeded, has an objective, and meets every constraint."""
        return not self.key(trial)[0]

    def key(self, trial: Trial) -> RankKey:
        """Sort key, best first: (is infeasible, violation, objective to minimise, trial id).

        Failed trials and NaN objectives come last.
        """
        value = trial.metrics.get(self.metric)
        if trial.status != "ok" or value is None or not math.isfinite(value):
            return True, math.inf, math.inf, trial.trial
        violation = total_violation(self.constraints, trial.metrics)
        return violation > 0, violation, -self.sign * value, trial.trial

    def static(self, known: Iterable[str]) -> "tuple[Constraint, ...]":
        """The static constraints: those on metrics in `known`."""
        names = set(known)
        return tuple(constraint for constraint in self.constraints if constraint.metric in names)
