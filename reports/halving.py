"""Hyperband in hindsight: learning curves, how well early rungs foretell the end, what was saved.

A journal does not say how a dropped child would have ended, and children that reached the full
budget were chosen by the very rungs that are to be judged, which narrows their spread. So rungs
are judged on configurations that were trained in full at once (generation 0 and bracket 0): their
curves hold, to the bit, what each rung would have measured.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from reports.reading import IN_FULL, Run
from search.constraints import RankKey
from search.hyperband import Bracket, Child, budget_levels, hyperband_brackets, successive_halving
from search.trial import Trial
from utils import derive_rng

MIN_TRIALS = 6  # fewer say nothing about a correlation
DRAWS = 200  # of imagined brackets


def levels(run: Run) -> list[int]:
    """The epochs at which rungs stand, ascending; the last is the full budget."""
    return budget_levels(run.settings.epochs, run.settings.min_epochs, run.settings.eta)


def bracket_curves(run: Run) -> dict[int, list[dict[str, Any]]]:
    """{bracket: [{"trial", "kind", "x": epochs, "y": objective}]} of the children."""
    metric, found = run.ranking.metric, {}
    for trial in run.lasts:
        points = sorted(run.curves.get(trial.trial, {}).items())
        curve = [(at, m[metric]) for at, m in points if m.get(metric) is not None]
        if trial.generation > 0 and curve:
            x, y = zip(*curve, strict=True)
            known = {"trial": trial.trial, "kind": run.kind(trial), "x": list(x), "y": list(y)}
            found.setdefault(trial.bracket, []).append(known)
    return dict(sorted(found.items(), reverse=True))


def at_levels(run: Run, unselected: bool) -> list[dict[int, Trial]]:
    """Configurations trained in full as each rung would have seen them: {epochs: trial}.

    unselected: only those that no rung had chosen.
    """
    wanted, found = levels(run), []
    for trial in run.full:
        curve = run.curves[trial.trial]
        if (unselected and trial.bracket > 0) or not set(wanted) <= set(curve):
            continue
        measured = trial.folds[0] if trial.folds else {}
        static_metrics = {
            name: value for name, value in trial.metrics.items() if name not in measured
        }
        found.append(
            {
                epochs: replace(trial, epochs=epochs, metrics={**static_metrics, **curve[epochs]})
                for epochs in wanted
            }
        )
    return found


def rank_correlations(run: Run) -> list[dict[str, Any]]:
    """Spearman's correlation of each rung's budget with the full one.

    [{"epochs", "objective", "promotion", "trials", "chosen", "chosen_trials"}], one a rung:
    objective and promotion (the order by which children go on: constraints first) among
    configurations that no rung had chosen; chosen: objective among all that reached the full
    budget. None where there are fewer than MIN_TRIALS, or no spread.
    """
    free, everyone = at_levels(run, unselected=True), at_levels(run, unselected=False)
    full = run.settings.epochs

    def objective(trial: Trial) -> float:
        value = trial.metrics.get(run.ranking.metric)
        return -np.inf if value is None else run.ranking.sign * value

    def correlation(pool: Sequence[dict[int, Trial]], epochs: int) -> float | None:
        values = [[objective(seen[at]) for seen in pool] for at in (epochs, full)]
        return spearman(*values)

    return [
        {
            "epochs": epochs,
            "objective": correlation(free, epochs),
            "promotion": spearman(_order(run, free, epochs), _order(run, free, full)),
            "trials": len(free),
            "chosen": correlation(everyone, epochs),
            "chosen_trials": len(everyone),
        }
        for epochs in levels(run)[:-1]
    ]


def _order(run: Run, pool: Sequence[dict[int, Trial]], epochs: int) -> list[int]:
    """The place of each in the order of promotion."""
    ranked = sorted(range(len(pool)), key=lambda i: run.ranking.key(pool[i][epochs]))
    places = {index: place for place, index in enumerate(ranked)}
    return [places[index] for index in range(len(pool))]


def spearman(first: Sequence[float], second: Sequence[float]) -> float | None:
    """Spearman's rank correlation, ties with mean ranks.

    None for fewer than MIN_TRIALS values, or without spread.
    """
    if len(first) < MIN_TRIALS or len(set(first)) == 1 or len(set(second)) == 1:
        return None
    from scipy.stats import rankdata

    return float(np.corrcoef(rankdata(first), rankdata(second))[0, 1])


def audit(run: Run) -> list[dict[str, Any]]:
    """What each bracket would have done to configurations whose end is known.

    DRAWS times, as many configurations as the bracket takes in are drawn from those that no rung
    had chosen, and halved by the search's own rules. [{"bracket", "children", "pool", "dropped",
    "loss"}]: dropped is the share of draws in which the eventual best was dropped, loss the mean
    difference in the objective between it and the one that was kept instead, over all draws in
    which the kept one is feasible. None where the pool is smaller than the bracket.
    """
    pool, rows, full = at_levels(run, unselected=True), [], run.settings.epochs
    keys = {(t.trial, t.epochs): run.ranking.key(t) for seen in pool for t in seen.values()}

    def key(trial: Trial) -> RankKey:
        return keys[trial.trial, trial.epochs]

    for bracket in _halving_brackets(run):
        size = bracket.rungs[0].size
        row: dict[str, Any] = {"bracket": bracket.s, "children": size, "pool": len(pool)}
        rows.append({**row, "dropped": None, "loss": None})
        if size > len(pool) or len(pool) < MIN_TRIALS:
            continue
        rng = derive_rng("audit", run.settings.seed, bracket.s)
        dropped, losses = 0, []
        for _ in range(DRAWS):
            drawn = [pool[i] for i in rng.choice(len(pool), size, replace=False)]
            best = min((seen[full] for seen in drawn), key=key)
            kept = _kept(bracket, {seen[full].trial: seen for seen in drawn}, key)
            dropped += kept.trial != best.trial
            if run.ranking.feasible(kept):
                objectives = [one.metrics[run.ranking.metric] or 0.0 for one in (best, kept)]
                losses.append(run.ranking.sign * (objectives[0] - objectives[1]))
        rows[-1] |= {
            "dropped": dropped / DRAWS,
            "loss": float(np.mean(losses)) if losses else None,
        }
    return rows


def _halving_brackets(run: Run) -> list[Bracket]:
    settings = run.settings
    brackets = hyperband_brackets(settings.epochs, settings.min_epochs, settings.eta)
    return [bracket for bracket in brackets if bracket.s > 0]


def _kept(
    bracket: Bracket, seen: dict[int, dict[int, Trial]], key: Callable[[Trial], RankKey]
) -> Trial:
    """The best of those that a bracket trains in full."""
    children = [Child(number, {}) for number in sorted(seen)]
    halving = successive_halving(bracket, children, 0, lambda rung, _: sorted(rung, key=key))
    jobs, trials = next(halving), []
    try:
        while True:
            trials = [seen[job.trial][job.epochs] for job in jobs]
            jobs = halving.send(trials)
    except StopIteration:
        return min(trials, key=key)


def brackets_as_run(run: Run) -> list[dict[str, Any]]:
    """By bracket, over the generations: what it cost and what it saved.

    [{"bracket", "brackets", "children", "cost_epochs", "in_full", "saved", "first", "places"}]:
    charged epochs, those that training all its children in full would have taken, and the share
    saved; first: the share of its finished brackets whose eventual best led its first rung
    already; places: the worst place that an eventual best had there, as (place, children).
    """
    rows = []
    for s in sorted({one.bracket for one in run.trials if one.bracket > 0}, reverse=True):
        lines = [one for one in run.ordered if one.bracket == s]
        children = len({one.trial for one in lines})
        cost_epochs, in_full = (
            sum(one.cost_epochs for one in lines),
            children * run.settings.epochs,
        )
        generations = sorted({one.generation for one in lines})
        same = [[one for one in lines if one.generation == number] for number in generations]
        places = [place for bracket in same if (place := _place(run, bracket)) is not None]
        rows.append(
            {
                "bracket": s,
                "brackets": len(generations),
                "children": children,
                "cost_epochs": cost_epochs,
                "in_full": in_full,
                "saved": 1 - cost_epochs / in_full,
                "first": sum(p == 1 for p, _ in places) / len(places) if places else None,
                "places": max(places, default=None),
            }
        )
    return rows


def _place(run: Run, lines: Sequence[Trial]) -> tuple[int, int] | None:
    """Of the eventual best in the first rung of its bracket: (place from 1, of how many)."""
    full = [one for one in lines if run.kind(one) in IN_FULL]
    if not full:
        return None
    best = min(full, key=run.ranking.key)
    ranked = sorted((one for one in lines if one.rung == 0), key=run.ranking.key)
    return [one.trial for one in ranked].index(best.trial) + 1, len(ranked)
