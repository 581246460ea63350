"""The best configuration of a run: what it is, and how sure its metrics are."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from engine.metrics import STATIC
from reports.reading import Run
from search.trial import Trial


def winner(run: Run, tests: Sequence[dict[str, Any]]) -> dict[str, Any] | None:
    """None before anything was trained to a usable result. tests: see `read_results`."""
    best = run.best
    if best is None:
        return None
    recorded = run.record.get("winner") or {}
    same = recorded.get("config") == best.config
    return {
        "trial": best.trial,
        "generation": best.generation,
        "epochs": best.epochs,
        "fully_trained": best.epochs >= run.settings.epochs,
        "feasible": run.ranking.feasible(best),
        "config": best.config,
        "num_params": best.metrics.get("num_params"),
        "macs": best.metrics.get("macs"),
        "metrics": _over_folds(best),
        "constraints": [
            {
                "text": str(limit),
                "value": best.metrics.get(limit.metric),
                "met": limit.residual(best.metrics) <= 0,
            }
            for limit in run.ranking.constraints
        ],
        "layers": recorded.get("layers") if same else None,
        "baseline": _baseline(run),
        "tests": list(tests),
    }


def _baseline(run: Run) -> dict[str, Any]:
    """What decides, of the space's default configuration that the search began with, if it did."""
    metrics = (run.record.get("baseline") or {}).get("metrics") or {}
    return {name: metrics[name] for name in run.ranking.metrics if metrics.get(name) is not None}


def _over_folds(trial: Trial) -> list[dict[str, Any]]:
    """What was measured in each fold: [{"name", "mean", "low", "high", "folds"}].

    Of a target without folds, what was measured at all.
    """
    rows, folds = [], trial.folds or [trial.metrics]
    for name in folds[0]:
        values = [fold.get(name) for fold in folds]
        if all(isinstance(value, int | float) for value in values):
            mean, low, high = interval(values)
            if len(set(values)) > 1 or name not in STATIC:
                row = {"name": name, "mean": mean, "low": low, "high": high}
                rows.append({**row, "folds": values if trial.folds else []})
    return rows


def interval(values: Sequence[float]) -> tuple[float, float | None, float | None]:
    """Mean and its 95 % interval by Student's t; no interval for one value.

    Folds share training images, so that theirs is a rough one.
    """
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None, None
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return mean, mean - float(half), mean + float(half)
