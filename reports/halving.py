"""Analysis of Hyperband: how well early rungs predict the final ranking, and the saved epochs.

A journal does not record how a dropped child would have ended, and the children with the full
budget were chosen by the rungs under analysis, which narrows their spread. So the analysis uses
configurations that were trained in full at once (generation 0 and bracket 0, but no dropped child
that was resumed): their curves equal, to the bit, the measurements of each rung.
"""

from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr

from reports.reading import Run
from search.hyperband import budget_levels

MIN_TRIALS = 6  # fewer give no useful correlation


def levels(run: Run) -> list[int]:
    """The epochs of the rungs, ascending; the last is the full budget."""
    return budget_levels(run.settings.epochs, run.settings.min_epochs, run.settings.eta)


def rank_correlations(run: Run) -> dict[int, float]:
    """{epochs of a rung: Spearman's rank correlation of its objective with the final one}.

    Without rungs that have fewer than MIN_TRIALS configurations or no spread.
    """
    wanted, ranking = levels(run), run.ranking
    at_once = [one for one in run.full if one.bracket == 0 and one.cost_epochs == one.epochs]
    curves = [run.curves[trial.trial] for trial in at_once]
    whole = [curve for curve in curves if set(wanted) <= set(curve)]
    objectives = {at: [curve[at].get(ranking.metric) for curve in whole] for at in wanted}
    values = {
        at: [-np.inf if one is None else ranking.sign * one for one in found]
        for at, found in objectives.items()
    }
    *rungs, full = wanted
    known = [at for at in rungs if len(whole) >= MIN_TRIALS and len(set(values[at])) > 1]
    if len(set(values[full])) < 2:
        return {}
    return {at: float(spearmanr(values[at], values[full]).statistic) for at in known}


def savings(runs: Sequence[Run]) -> list[tuple[int, int, int, int]]:
    """(bracket, children, their epochs, epochs if all were trained in full), by bracket."""
    lines = [(run, one) for run in runs for one in run.trials if one.bracket > 0]
    found = []
    for s in sorted({one.bracket for _, one in lines}, reverse=True):
        same = [(run, one) for run, one in lines if one.bracket == s]
        begun = [run.settings.epochs for run, one in same if one.rung == 0]
        found.append((s, len(begun), sum(one.cost_epochs for _, one in same), sum(begun)))
    return found
