"""How the best and the population went, against epochs, cost and time: step functions.

A step function is {"x": [..], "y": [..], "end": x}: y[i] holds from x[i] to x[i + 1], the last
one to `end`, where the run stood when it was read. Before x[0] there is no value.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from reports.reading import Run
from search.evolution import survivors
from search.trial import Trial

# Epochs charged, and multiply-adds of an image x epochs (of trials that failed and did not tell
# them, none), both in the order of the plan; seconds, as they arrived.
AXES = ("epochs", "macs", "time")
QUANTITIES = ("best", "best_precision", "population", "population_precision")
MAX_POINTS = 250  # of an aggregated curve


def curves(run: Run) -> dict[str, dict[str, dict[str, Any]]]:
    """{axis: {quantity: step function}} of a run, `best` with the `trials` of its steps.

    best: the objective of the best feasible trial trained in full; best_precision: the precision
    of that trial; population: means over the best `pop_size` trained in full, after each
    generation (the last one as far as it has come).
    """
    return {axis: {**_best(run, axis), **_population(run, axis)} for axis in AXES}


def _positions(run: Run, axis: str) -> list[tuple[float, Trial]]:
    if axis == "time":
        return [(trial.meta.get("elapsed", 0.0), trial) for trial in run.trials]
    prices = dict.fromkeys((trial.trial for trial in run.trials), 1)
    if axis == "macs":
        told = {t.trial: t.metrics.get("macs") for t in run.lasts}
        prices = {number: macs for number, macs in told.items() if macs is not None}
        if not prices:
            return []
    charges = [trial.cost_epochs * prices.get(trial.trial, 0) for trial in run.ordered]
    return list(zip(np.cumsum(charges).tolist(), run.ordered, strict=True))


def _best(run: Run, axis: str) -> dict[str, dict[str, Any]]:
    placed, best = _positions(run, axis), None
    steps: list[tuple[float, Trial]] = []
    for x, trial in placed:
        if run.kind(trial) != "feasible":
            continue
        if best is None or run.ranking.key(trial) < run.ranking.key(best):
            best = trial
            steps.append((x, trial))
    end = max((x for x, _ in placed), default=0.0)
    x = [at for at, _ in steps]
    return {
        "best": {
            "x": x,
            "y": [trial.metrics[run.ranking.metric] for _, trial in steps],
            "end": end,
            "trials": [trial.trial for _, trial in steps],
        },
        "best_precision": {
            "x": x,
            "y": [trial.metrics.get(run.precision) for _, trial in steps],
            "end": end,
        },
    }


def _population(run: Run, axis: str) -> dict[str, dict[str, Any]]:
    placed = _positions(run, axis)
    ends: dict[int, float] = {}
    for x, trial in placed:
        ends[trial.generation] = max(x, ends.get(trial.generation, 0.0))
    x, values = [], []
    population: list[Trial] = []
    for generation in sorted(ends):
        new = [trial for trial in run.full if trial.generation == generation]
        population = survivors(population, new, run.ranking.key, run.settings.pop_size)
        if population:
            x.append(ends[generation])
            values.append(
                [_mean(population, name) for name in (run.ranking.metric, run.precision)]
            )
    end = max(ends.values(), default=0.0)
    names = ("population", "population_precision")
    return {
        name: {"x": x, "y": [pair[i] for pair in values], "end": end}
        for i, name in enumerate(names)
    }


def _mean(trials: Sequence[Trial], metric: str) -> float | None:
    known = [value for trial in trials if (value := trial.metrics.get(metric)) is not None]
    return sum(known) / len(known) if known else None


def aggregate(steps: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """Mean, lowest and highest of the seeds on a common grid, where each seed has a value.

    That is from where the last of them found its first to where the first of them ended; None if
    there is no such place. {"x", "mean", "low", "high", "runs"}.
    """
    if not steps or any(not step["x"] or None in step["y"] for step in steps):
        return None
    start, end = max(step["x"][0] for step in steps), min(step["end"] for step in steps)
    if start > end:
        return None
    inside = {x for step in steps for x in step["x"] if start < x < end}
    grid = np.array(sorted({start, end, *inside}))
    if len(grid) > MAX_POINTS:
        grid = grid[np.unique(np.linspace(0, len(grid) - 1, MAX_POINTS).round().astype(int))]
    values = np.array([at(step, grid) for step in steps])
    return {
        "x": grid.tolist(),
        "mean": values.mean(axis=0).tolist(),
        "low": values.min(axis=0).tolist(),
        "high": values.max(axis=0).tolist(),
        "runs": len(steps),
    }


def at(step: dict[str, Any], grid: np.ndarray) -> np.ndarray:
    """The values of a step function at places that are not before its first."""
    return np.array(step["y"])[np.searchsorted(step["x"], grid, side="right") - 1]
