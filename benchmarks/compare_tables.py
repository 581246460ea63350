"""Regrets and ranks from the units of benchmarks/compare.py: pure functions, and a figure."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest, rankdata

from evaluation.statistics import holm
from search.trial import Trial

BUDGETS = (10, 25, 50, 100)  # in full trainings
HEAD = "".join(f" {budget} |" for budget in BUDGETS)
RULE = "| --- |" + " --- |" * len(BUDGETS)
Line = Mapping[str, Any]  # of the file of units


def regret_path(trials: Sequence[Trial], problem: Any) -> list[tuple[int, float]]:
    """(epochs charged so far, regret of the incumbent) at each change of the incumbent.

    The incumbent is the fully trained feasible trial with the best measured objective.
    """
    path, spent, best = [], 0, None
    for trial in trials:
        spent += trial.cost_epochs
        if trial.epochs < problem.epochs or not problem.ranking.feasible(trial):
            continue
        key = problem.ranking.key(trial)
        if best is None or key < best:
            best = key
            path.append((spent, problem.regret(trial.config)))
    return path


def regret_at(line: Line, budget: float) -> float:
    """The regret after the epochs of `budget` full trainings; inf if nothing is feasible."""
    known = [regret for spent, regret in line["path"] if spent <= budget * line["full_epochs"]]
    return known[-1] if known and known[-1] is not None else math.inf


def ranks(regrets: Mapping[str, float]) -> dict[str, float]:
    """Method -> rank, 1 for the least regret; ties share one, as do all with nothing feasible."""
    return dict(zip(regrets, map(float, rankdata([*regrets.values()])), strict=True))


def average_ranks(lines: Sequence[Line], budget: float) -> tuple[dict[str, float], int]:
    """Method -> mean rank, and the number of (problem, seed) for which all methods are done."""
    methods = {line["method"] for line in lines}
    cells: dict[tuple[str, int], dict[str, float]] = {}
    for line in lines:
        cell = cells.setdefault((line["problem"], line["seed"]), {})
        cell[line["method"]] = regret_at(line, budget)
    complete = [ranks(cell) for cell in cells.values() if set(cell) == methods]
    means = {m: float(np.mean([cell[m] for cell in complete])) for m in methods if complete}
    return means, len(complete)


def quartiles(regrets: Sequence[float]) -> tuple[float, ...]:
    """Lower quartile, median, upper quartile; numpy returns NaN for infinite regrets."""
    found = np.quantile(np.minimum(regrets, 1e300), [0.25, 0.5, 0.75]).tolist()
    return tuple(math.inf if one > 1e200 else one for one in found)


def units(lines: Sequence[Line], problem: str, method: str) -> list[Line]:
    """The lines of a method on a problem."""
    return [line for line in lines if (line["problem"], line["method"]) == (problem, method)]


def tables(lines: Sequence[Line]) -> str:
    """A table for each problem, and the average ranks, as Markdown."""
    methods = list(dict.fromkeys(line["method"] for line in lines))
    text = ["Regret: median [quartiles] over seeds after the epochs of that many full trainings."]
    for problem in dict.fromkeys(line["problem"] for line in lines):
        text += ["", f"| {problem} |{HEAD}", RULE]
        for method in methods:
            of = units(lines, problem, method)
            if of:
                cells = [cell([regret_at(line, budget) for line in of]) for budget in BUDGETS]
                text.append(f"| {method} ({len(of)}) | {' | '.join(cells)} |")
    averaged = [average_ranks(lines, budget) for budget in BUDGETS]
    count = averaged[0][1]
    words = f"average rank of {len(methods)} ({count} problems x seeds)"
    text += ["", f"| {words} |{HEAD}", RULE]
    for method in (
        sorted(methods, key=lambda name: averaged[-1][0].get(name, 0.0)) if count else ()
    ):
        text.append(f"| {method} | {' | '.join(f'{mean[method]:.2f}' for mean, _ in averaged)} |")
    return "\n".join([*text, "", *first_feasible(lines)])


def first_feasible(lines: Sequence[Line]) -> list[str]:
    """A table: epochs until the first feasible one, in full trainings, median over seeds."""
    methods = list(dict.fromkeys(line["method"] for line in lines))
    text = [f"| first feasible | {' | '.join(methods)} |", "| --- |" + " --- |" * len(methods)]
    for problem in dict.fromkeys(line["problem"] for line in lines):
        words = []
        for method in methods:
            of = units(lines, problem, method)
            known = [li["path"][0][0] / li["full_epochs"] if li["path"] else math.inf for li in of]
            middle = quartiles(known)[1] if known else math.inf
            words.append("-" if math.isinf(middle) else f"{middle:.3g}")
        text.append(f"| {problem} | {' | '.join(words)} |")
    return text


def pairwise_wins(lines: Sequence[Line], method: str) -> str:
    """On how many problems the median regret of a method is below that of each other, in Markdown.

    In parentheses: on how many it is at most half. Two methods with nothing feasible in half of
    their seeds tie, and neither counts. p: two-sided sign test, Holm-corrected over the others.
    """
    medians: dict[tuple[str, str, int], list[float]] = {}
    for line in lines:
        for budget in BUDGETS:
            place = line["problem"], line["method"], budget
            medians.setdefault(place, []).append(regret_at(line, budget))
    middle = {place: quartiles(regrets)[1] for place, regrets in medians.items()}
    problems = dict.fromkeys(line["problem"] for line in lines)
    others = dict.fromkeys(line["method"] for line in lines if line["method"] != method)
    cells: dict[str, list[str]] = {other: [] for other in others}
    for budget in BUDGETS:
        words, p_values = [], []
        for other in others:
            pairs = [
                (middle[problem, method, budget], middle[problem, other, budget])
                for problem in problems
                if {(problem, method, budget), (problem, other, budget)} <= middle.keys()
            ]
            below = sum(ours < theirs for ours, theirs in pairs)
            above = sum(ours > theirs for ours, theirs in pairs)
            half = sum(ours <= theirs / 2 and ours < theirs for ours, theirs in pairs)
            words.append(f"{below} ({half}) of {len(pairs)}")
            p_values.append(binomtest(below, below + above).pvalue if below + above else 1.0)
        for other, counts, p in zip(others, words, holm(p_values), strict=True):
            cells[other].append(f"{counts}, p {p:.3f}")
    rows = [f"| {other} | {' | '.join(cells[other])} |" for other in others]
    return "\n".join([f"| {method} below (at most half of) |{HEAD}", RULE, *rows])


def cell(regrets: Sequence[float]) -> str:
    """'0.031 [0.020, 0.055]'; a dash where nothing was feasible."""
    low, middle, high = ("-" if math.isinf(x) else f"{x:.3f}" for x in quartiles(regrets))
    return f"{middle} [{low}, {high}]"


def figure(lines: Sequence[Line], path: Path) -> None:
    """Draws median regrets against epochs, a panel for each problem, and the average ranks."""
    from matplotlib.figure import Figure

    problems = list(dict.fromkeys(line["problem"] for line in lines))
    methods = list(dict.fromkeys(line["method"] for line in lines))
    columns = min(4, len(problems) + 1)
    rows = -(-(len(problems) + 1) // columns)
    drawing = Figure(figsize=(3.6 * columns, 2.8 * rows), layout="constrained")
    axes = drawing.subplots(rows, columns, squeeze=False).ravel()
    budgets = np.arange(2, BUDGETS[-1] + 1, 2)
    # Two line styles per colour distinguish twenty methods.
    styles = {
        m: {"color": f"C{i % 10}", "ls": "-" if i < 10 else "--"} for i, m in enumerate(methods)
    }
    for axis, problem in zip(axes, problems, strict=False):
        for method in methods:
            of = units(lines, problem, method)
            medians = [
                quartiles([regret_at(li, b) for li in of])[1] if of else math.inf for b in budgets
            ]
            axis.plot(budgets, np.where(np.isinf(medians), np.nan, medians), **styles[method])
        axis.set(title=problem, yscale="log")
    averaged = [average_ranks(lines, budget)[0] for budget in budgets]
    last = axes[len(problems)]
    for method in methods:
        last.plot(
            budgets,
            [mean.get(method, np.nan) for mean in averaged],
            label=method,
            **styles[method],
        )
    last.set(title="average rank")
    for axis in axes[len(problems) + 1 :]:
        axis.set_axis_off()
    drawing.supxlabel("epochs, in full trainings")
    drawing.supylabel("median regret")
    drawing.legend(loc="outside upper center", ncols=6, fontsize="small")
    drawing.savefig(path)
