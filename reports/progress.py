"""The best objective so far against epochs, trials and time, as step functions.

A step function is {"x": [..], "y": [..], "end": x}: y[i] holds from x[i] to x[i + 1], the last
one to `end`, the state of the run when it was read. Before x[0] there is no value.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from reports.grouping import ExperimentGroup
from reports.reading import Run
from search.trial import Trial

# Epochs and trials count in the planned order; seconds are the end times of trials.
AXES = ("epochs", "trials", "seconds")


def places(run: Run, axis: str) -> list[tuple[float, Trial]]:
    """(position on the axis, trial) of each line of the journal."""
    if axis == "seconds":
        return [(one.meta.get("elapsed", 0.0), one) for one in run.trials]
    ends = np.cumsum([one.cost_epochs if axis == "epochs" else 1 for one in run.ordered])
    return list(zip(ends.tolist(), run.ordered, strict=True))


def best_so_far(run: Run, axis: str) -> dict[str, Any]:
    """The objective of the best feasible trial trained in full."""
    placed, best, steps = places(run, axis), None, []
    for x, trial in placed:
        better = best is None or run.ranking.key(trial) < run.ranking.key(best)
        if better and run.kind(trial) == "feasible":
            best = trial
            steps.append((x, trial.metrics[run.ranking.metric]))
    end = max((x for x, _ in placed), default=0)
    return {"x": [x for x, _ in steps], "y": [y for _, y in steps], "end": end}


def aggregate(steps: Sequence[dict[str, Any]]) -> list[tuple[float, float, float, float]]:
    """(x, mean, lowest, highest) of the seeds, where all of them have a value.

    That range starts where the last run gets its first value and ends where the first run ends.
    """
    if not all(step["x"] for step in steps):
        return []
    start, end = max(step["x"][0] for step in steps), min(step["end"] for step in steps)
    inside = {x for step in steps for x in step["x"] if start < x < end}
    grid = np.array(sorted({start, end, *inside}) if start <= end else [])
    values = np.array(
        [np.array(s["y"])[np.searchsorted(s["x"], grid, side="right") - 1] for s in steps]
    )
    ends = (values.mean(axis=0), values.min(axis=0), values.max(axis=0))
    return list(zip(grid.tolist(), *(one.tolist() for one in ends), strict=True))


def rows(experiment: ExperimentGroup) -> list[dict[str, Any]]:
    """Points of the chart: {"axis", "method", "run", "kind", "x", "y"}.

    kind: "method", the mean of its seeds, with "low" and "high", or its only run; "seed", one of
    several runs; "trial", a feasible, fully trained trial of an only run.
    """
    found = []
    for axis in AXES:
        for method, runs in experiment.methods.items():
            steps = [best_so_far(run, axis) for run in runs]
            same = {"axis": axis, "method": method}
            for run, step in zip(runs, steps, strict=True):
                line = {**same, "run": run.name, "kind": "seed" if len(runs) > 1 else "method"}
                ends = zip([*step["x"], step["end"]], step["y"] + step["y"][-1:], strict=False)
                found += [{**line, "x": x, "y": y} for x, y in ends]
            if len(runs) > 1:
                mean = {**same, "run": f"mean of {len(runs)} seeds", "kind": "method"}
                names = ("x", "y", "low", "high")
                found += [mean | dict(zip(names, one, strict=True)) for one in aggregate(steps)]
            else:
                found += [
                    {**line, "kind": "trial", "x": x, "y": one.metrics[run.ranking.metric]}
                    for x, one in places(run, axis)
                    if run.kind(one) == "feasible"
                ]
    return found
