"""How the best configuration got better, against epochs, trials and time: step functions.

A step function is {"x": [..], "y": [..], "end": x}: y[i] holds from x[i] to x[i + 1], the last
one to `end`, where the run stood when it was read. Before x[0] there is no value.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from reports.grouping import Question
from reports.reading import Run

# Epochs charged and trials, both in the order of the plan; seconds, as they arrived.
AXES = ("epochs", "trials", "seconds")
MAX_POINTS = 250  # of an aggregated curve


def best_so_far(run: Run, axis: str) -> dict[str, Any]:
    """The objective of the best feasible trial trained in full, with the `trials` of its steps."""
    if axis == "seconds":
        lines, places = run.trials, [one.meta.get("elapsed", 0.0) for one in run.trials]
    else:
        lines = run.ordered
        places = np.cumsum([one.cost_epochs if axis == "epochs" else 1 for one in lines]).tolist()
    best, steps = None, []
    for x, trial in zip(places, lines, strict=True):
        better = best is None or run.ranking.key(trial) < run.ranking.key(best)
        if better and run.kind(trial) == "feasible":
            best = trial
            steps.append((x, trial))
    return {
        "x": [x for x, _ in steps],
        "y": [trial.metrics[run.ranking.metric] for _, trial in steps],
        "trials": [trial.trial for _, trial in steps],
        "end": max(places, default=0),
    }


def aggregate(steps: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Mean, lowest and highest of the seeds on a common grid, where each seed has a value.

    That is from where the last of them found its first to where the first of them ended; None if
    there is no such place.
    """
    if not steps or not all(step["x"] for step in steps):
        return None
    start, end = max(step["x"][0] for step in steps), min(step["end"] for step in steps)
    if start > end:
        return None
    inside = {x for step in steps for x in step["x"] if start < x < end}
    grid = np.array(sorted({start, end, *inside}))
    if len(grid) > MAX_POINTS:
        grid = grid[np.unique(np.linspace(0, len(grid) - 1, MAX_POINTS).round().astype(int))]
    values = np.array(
        [np.array(s["y"])[np.searchsorted(s["x"], grid, side="right") - 1] for s in steps]
    )
    bounds = {"mean": values.mean(axis=0), "low": values.min(axis=0), "high": values.max(axis=0)}
    return {"x": grid.tolist(), **{name: found.tolist() for name, found in bounds.items()}}


def rows(question: Question) -> list[dict[str, Any]]:
    """The step functions of all runs, and of several seeds their mean, as points of lines.

    [{"axis", "method", "run", "mean", "x", "y", "trial", "low", "high"}]; mean: whether it stands
    for its method: the mean of its seeds, or its only run.
    """
    found = []
    for axis in AXES:
        for method, runs in question.methods.items():
            steps = [best_so_far(run, axis) for run in runs]
            same = {"axis": axis, "method": method}
            for run, step in zip(runs, steps, strict=True):
                xs, ys = [*step["x"], step["end"]], [*step["y"], *step["y"][-1:]]
                trials = [*step["trials"], *step["trials"][-1:]]
                line = {**same, "run": run.name, "mean": len(runs) == 1}
                found += [
                    {**line, "x": x, "y": y, "trial": trial}
                    for x, y, trial in zip(xs, ys, trials, strict=False)  # no y: no point
                ]
            mean = aggregate(steps) if len(runs) > 1 else None
            for x, y, low, high in zip(*mean.values(), strict=True) if mean else ():
                line = {**same, "run": f"mean of {len(runs)} seeds", "mean": True}
                found.append({**line, "x": x, "y": y, "low": low, "high": high})
    return found
