"""What became of the configurations: kinds of points, Pareto fronts, failures, time."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np

from reports.reading import IN_FULL, KINDS, Run
from search.trial import Trial

# Where the time of a run goes; seconds of workers.
FATES = ("initial population", "trained in full", "dropped on the way", "failed", "waiting")


def point(run: Run, trial: Trial) -> dict[str, Any]:
    """A configuration by its last line, as plain data."""
    return {
        **{name: trial.metrics.get(name) for name in run.static},
        "trial": trial.trial,
        "generation": trial.generation,
        "bracket": trial.bracket,
        "epochs": trial.epochs,
        "operator": trial.operator,
        "kind": run.kind(trial),
        "objective": trial.metrics.get(run.ranking.metric),
        "precision": trial.metrics.get(run.precision),
        "num_params": trial.metrics.get("num_params"),
        "config": trial.config,
    }


def pareto(
    points: Sequence[dict[str, Any]],
    metric: str,
    maximize: bool,
    sign: float = 1.0,
    kinds: Sequence[str] = IN_FULL,
) -> list[int]:
    """Indices of the points of these kinds that no other beats in both the objective and
    `metric`, by rising metric. sign: 1 if the objective is maximized, else -1.
    """
    usable = [
        (point[metric] if maximize else -point[metric], sign * point["objective"], index)
        for index, point in enumerate(points)
        if point["kind"] in kinds and point[metric] is not None and point["objective"] is not None
    ]
    front, highest = [], -np.inf
    for _, objective, index in sorted(usable, key=lambda one: (-one[0], -one[1], one[2])):
        if objective > highest:
            highest = objective
            front.append(index)
    return front[::-1] if maximize else front


def trade_off(points: Sequence[dict[str, Any]], metric: str, sign: float) -> list[int]:
    """The Pareto front of the objective and less of a metric known before training.

    Of the points that meet all limits; if none does, of all that were trained in full.
    """
    some = any(point["kind"] == "feasible" for point in points)
    return pareto(points, metric, False, sign, ("feasible",) if some else IN_FULL)


def shares(run: Run) -> dict[str, Any]:
    """Counts of configurations by kind, and the share of feasible among those trained in full.

    missed: by constraint, how many of those trained in full miss it.
    """
    counts = Counter(run.kind(trial) for trial in run.lasts)
    full = len(run.full)
    return {
        "configurations": len(run.lasts),
        **{kind: counts[kind] for kind in KINDS},
        "valid_share": counts["feasible"] / full if full else None,
        "missed": {
            str(limit): sum(limit.residual(trial.metrics) > 0 for trial in run.full)
            for limit in run.ranking.constraints
        },
    }


def failures(runs: Sequence[Run]) -> list[dict[str, Any]]:
    """[{"status", "error", "count"}], the most frequent first; numbers in errors become #."""
    reasons = Counter(
        (trial.status, re.sub(r"\d+(\.\d+)?", "#", trial.error or ""))
        for run in runs
        for trial in run.trials
        if trial.status != "ok"
    )
    return [
        {"status": status, "error": error, "count": count}
        for (status, error), count in sorted(reasons.items(), key=lambda item: (-item[1], item[0]))
    ]


def seconds(trial: Trial) -> float:
    """What a line of the journal took to train."""
    meta = trial.meta
    return float(meta.get("seconds") or sum(meta.get("fold_seconds") or [0.0]))


def time_spent(run: Run) -> dict[str, float]:
    """Seconds of workers by fate. 'waiting' is what the time of all workers leaves over: barriers,
    starting, reading data; workers are those seen in the journal, as if all had been there from
    beginning to end.
    """
    fate = {trial.trial: _fate(run, trial) for trial in run.lasts}
    spent = dict.fromkeys(FATES, 0.0)
    for trial in run.trials:
        spent["failed" if trial.status != "ok" else fate[trial.trial]] += seconds(trial)
    workers = len({trial.meta.get("worker") for trial in run.trials}) or 1
    spent["waiting"] = max(0.0, run.used_seconds * workers - sum(spent.values()))
    return spent


def _fate(run: Run, last: Trial) -> str:
    if run.kind(last) == "failed":
        return "failed"
    if last.generation == 0:
        return "initial population"
    return "dropped on the way" if run.kind(last) == "partial" else "trained in full"
