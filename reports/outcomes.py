"""Outcomes of the configurations: Pareto fronts, failures, busy time."""

import re
from collections import Counter
from collections.abc import Sequence

from reports.reading import Run
from search.trial import Trial


def front(run: Run, metric: str) -> list[Trial]:
    """The Pareto front of the objective and a static metric, which is minimized.

    Of the feasible trials or, without any, of all fully trained ones. By ascending metric.
    """
    sign, objective = run.ranking.sign, run.ranking.metric
    pool = [one for one in run.full if run.ranking.feasible(one)] or run.full
    usable = [
        (one.metrics[metric], -sign * one.metrics[objective], one.trial, one)
        for one in pool
        if None not in (one.metrics.get(metric), one.metrics.get(objective))
    ]
    found: list[Trial] = []
    best = float("inf")
    for _, loss, _, one in sorted(usable):
        if loss < best:
            best = loss
            found.append(one)
    return found


def failures(runs: Sequence[Run]) -> list[tuple[str, str, int]]:
    """(status, error, count), the most frequent first; numbers in errors become #."""
    failed = [one for run in runs for one in run.trials if one.status != "ok"]
    reasons = Counter((one.status, re.sub(r"\d+(\.\d+)?", "#", one.error or "")) for one in failed)
    ranked = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return [(status, error, count) for (status, error), count in ranked]


def share_busy(run: Run) -> float | None:
    """Share of all workers' time spent on training; the rest is waiting.

    Counts the workers in the journal, each for the whole run.
    """
    spent = sum(one.meta.get("seconds", 0.0) for one in run.trials)
    workers = len({one.meta.get("worker") for one in run.trials})
    return spent / (run.used_seconds * workers) if run.used_seconds else None
