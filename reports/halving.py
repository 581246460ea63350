"""Hyperband in hindsight: how well early rungs foretell the end, and what was saved.

A journal does not say how a dropped child would have ended, and children that reached the full
budget were chosen by the very rungs that are to be judged, which narrows their spread. So rungs
are judged on configurations that were trained in full at once (generation 0 and bracket 0): their
curves hold, to the bit, what each rung would have measured.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.stats import rankdata

from reports.reading import Run
from search.hyperband import budget_levels

MIN_TRIALS = 6  # fewer say nothing about a correlation


def levels(run: Run) -> list[int]:
    """The epochs at which rungs stand, ascending; the last is the full budget."""
    return budget_levels(run.settings.epochs, run.settings.min_epochs, run.settings.eta)


def rank_correlations(run: Run) -> dict[int, float | None]:
    """{epochs of a rung: Spearman's correlation of the objective there and at the full budget}.

    None where there are fewer than MIN_TRIALS configurations that no rung had chosen, or no
    spread.
    """
    wanted, metric = levels(run), run.ranking.metric
    curves = [run.curves[trial.trial] for trial in run.full if trial.bracket == 0]
    whole = [curve for curve in curves if set(wanted) <= set(curve)]

    def values(epochs: int) -> list[float]:
        found = [curve[epochs].get(metric) for curve in whole]
        return [-np.inf if one is None else run.ranking.sign * one for one in found]

    return {epochs: spearman(values(epochs), values(wanted[-1])) for epochs in wanted[:-1]}


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation, ties with mean ranks.

    None for fewer than MIN_TRIALS values, or without spread.
    """
    if len(first) < MIN_TRIALS or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])


def brackets(run: Run) -> list[dict[str, Any]]:
    """By bracket, over the generations: what it cost, and what training all in full would cost.

    [{"bracket", "children", "charged", "in_full"}]; epochs charged.
    """
    rows = []
    for s in sorted({one.bracket for one in run.trials if one.bracket > 0}, reverse=True):
        lines = [one for one in run.trials if one.bracket == s]
        children = len({one.trial for one in lines})
        charged = sum(one.cost_epochs for one in lines)
        in_full = children * run.settings.epochs
        rows.append({"bracket": s, "children": children, "charged": charged, "in_full": in_full})
    return rows
