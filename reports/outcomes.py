"""What became of the configurations: Pareto fronts, failures, time."""

import re
from collections import Counter
from collections.abc import Sequence

from reports.reading import Run
from search.trial import Trial

# Where the time of a run goes; seconds of workers.
FATES = ("initial population", "trained in full", "dropped on the way", "failed", "waiting")


def front(run: Run, metric: str) -> list[Trial]:
    """The Pareto front of the objective and less of a metric known before training.

    Of what meets all limits; if nothing does, of all that was trained in full. By rising metric.
    """
    pool = [one for one in run.full if run.ranking.feasible(one)] or run.full
    pool = [one for one in pool if None not in (one.metrics.get(metric), _value(run, one))]
    found: list[Trial] = []
    for one in sorted(pool, key=lambda one: (one.metrics[metric], -_value(run, one), one.trial)):
        if not found or _value(run, one) > _value(run, found[-1]):
            found.append(one)
    return found


def _value(run: Run, trial: Trial) -> float | None:
    """The objective, more of which is better."""
    value = trial.metrics.get(run.ranking.metric)
    return None if value is None else run.ranking.sign * value


def failures(runs: Sequence[Run]) -> list[tuple[str, str, int]]:
    """(status, error, count), the most frequent first; numbers in errors become #."""
    reasons = Counter(
        (trial.status, re.sub(r"\d+(\.\d+)?", "#", trial.error or ""))
        for run in runs
        for trial in run.trials
        if trial.status != "ok"
    )
    ranked = sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    return [(status, error, count) for (status, error), count in ranked]


def time_spent(run: Run) -> dict[str, float]:
    """Seconds of workers by fate. 'waiting' is what the time of all workers leaves over: barriers,
    starting, reading data; workers are those seen in the journal, as if all had been there from
    beginning to end.
    """
    fate = {trial.trial: _fate(run, trial) for trial in run.lasts}
    spent = dict.fromkeys(FATES, 0.0)
    for trial in run.trials:
        seconds = trial.meta.get("seconds") or sum(trial.meta.get("fold_seconds") or [0])
        spent["failed" if trial.status != "ok" else fate[trial.trial]] += float(seconds)
    workers = len({trial.meta.get("worker") for trial in run.trials}) or 1
    spent["waiting"] = max(0.0, run.used_seconds * workers - sum(spent.values()))
    return spent


def _fate(run: Run, last: Trial) -> str:
    kind = run.kind(last)
    if kind == "failed":
        return "failed"
    if last.generation == 0:
        return "initial population"
    return "dropped on the way" if kind == "partial" else "trained in full"
