"""Collects the numbers, tables and charts of a report for page.html.

from reports.report import write
write(["runs/a", "runs/b"], Path("report"))
"""

import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from evaluation.results import differences
from reports import charts, charts_networks, comparing, page, words
from reports.card import card
from reports.grouping import ExperimentGroup, group
from reports.importance import RELIABLE, importance
from reports.reading import read_runs
from reports.results import Result, errors, read_results, winner_and_baseline
from utils import InputError

MAX_MISTAKES = 24  # shown images
Drawn = dict[str, charts.Chart | None]  # by name


def write(
    names: Iterable[str | Path], folder: Path, results: Iterable[str | Path] = ()
) -> tuple[Path, list[str]]:
    """Writes report.html and figures/ about the runs into the folder.

    Returns the path of the page, and messages about omitted results. InputError if a run cannot
    be read or the folder cannot be made.
    """
    runs = read_runs(names)
    found, left_out = read_results(runs, results)
    tests = {run.path: of_run for run, of_run in zip(runs, found, strict=True)}
    drawn: Drawn = {}
    experiments = group(runs)
    told = [
        _experiment(drawn, f"{number}-" if number > 1 else "", experiment, tests)
        for number, experiment in enumerate(experiments, start=1)
    ]
    specs = {name: chart.to_dict() for name, chart in drawn.items() if chart is not None}
    title = "Report of a search" if len(runs) == 1 else f"Report of {len(runs)} searches"
    methods = comparing.methods(experiments, tests) if len(runs) > 1 else []
    path = page.write(folder, specs, title=title, methods=methods, experiments=told)
    return path, left_out


def _experiment(
    drawn: Drawn, prefix: str, experiment: ExperimentGroup, tests: comparing.Tests
) -> dict[str, Any]:
    """The report of runs with the same limits and data; puts its charts into `drawn`."""
    first, objective = experiment.runs[0], experiment.ranking.metric
    notes = dict.fromkeys(note for run in experiment.runs for note in run.notes())
    found = [(label, run) for label, run in experiment.labelled if run.best]
    found.sort(key=lambda one: experiment.ranking.key(one[1].best))
    told = {"prefix": prefix, "title": experiment.title, "objective": objective}
    told |= {"data": first.data.get("name", "unknown data"), "epochs": first.settings.epochs}
    winners = (winner_and_baseline(tests[run.path])[0] for run in experiment.runs)
    told["notes"] = [*notes, *differences([one.content for one in winners if one])]
    told["trials"] = any(run.trials for run in experiment.runs)
    told["cards"] = [
        card(drawn, f"{prefix}winner-{place}", label, run, tests[run.path])
        for place, (label, run) in enumerate(found, start=1)
    ]
    told |= comparing.how_made(experiment)
    return told | (_charts(drawn, prefix, experiment, tests) if told["trials"] else {})


def _charts(
    drawn: Drawn, prefix: str, experiment: ExperimentGroup, tests: comparing.Tests
) -> dict[str, Any]:
    ranking, told = experiment.ranking, {}
    metrics = dict.fromkeys(("num_params", *ranking.metrics[1:]))
    told["trade_offs"] = [
        (prefix + _id(f"{ranking.metric}-{metric}"), metric) for metric in metrics
    ]
    drawn |= {name: charts.trade_off(experiment, one) for name, one in told["trade_offs"]}
    drawn[f"{prefix}progress"] = charts.best_so_far(experiment)
    halved = [label for label, runs in experiment.methods.items() if runs[0].settings.hyperband]
    told["brackets"] = [(f"{prefix}brackets-{i}", label) for i, label in enumerate(halved, 1)]
    drawn |= {name: charts.learning_curves(experiment, one) for name, one in told["brackets"]}
    told["savings"] = comparing.savings(experiment)
    if told["savings"]:
        drawn[f"{prefix}rank-correlation"] = charts.correlations(experiment)
    drawn[f"{prefix}parallel-coordinates"] = charts_networks.parallel_coordinates(experiment)
    static = {metric for run in experiment.runs for metric in run.static}
    measured = [metric for metric in ranking.metrics if metric not in static]
    names, forests = importance(experiment.runs, measured)
    told["importance"] = [
        (prefix + _id(f"importance-{metric}"), metric, forest)
        for metric, forest in forests.items()
    ]
    for name, metric, forest in told["importance"]:
        if forest["r2"] >= RELIABLE:
            drawn[name] = charts_networks.importance_bars(forest, names, metric)
    shown = (winner_and_baseline(tests[run.path])[0] for run in experiment.runs)
    told["mistakes"] = [
        _mistakes(drawn, f"{prefix}confusion-{i}", one)
        for i, one in enumerate(filter(None, shown), 1)
    ]
    return told


def _id(name: str) -> str:
    """The name of a chart, which is a file and an element of the page."""
    return re.sub(r"[\W_]+", "-", name)


def _mistakes(drawn: Drawn, name: str, result: Result) -> dict[str, Any]:
    """The confusion matrix and the most confident errors of a network on the test split."""
    try:
        counts, wrong = errors(result)
    except InputError as error:
        return {"file": result.path, "error": error}
    names = result.content["dataset"].get("class_names") or []
    drawn[name] = charts_networks.confusion(counts, names)
    kept = ("support", "precision", "precision_bound", "recall")
    classes = [
        [one["class"], *(words.number(one.get(key)) for key in kept)]
        for one in result.content.get("by_class") or []
    ]
    shown = [{**vars(one), "image": page.thumbnail(one.file)} for one in wrong[:MAX_MISTAKES]]
    told = {"name": name, "file": result.path, "classes": classes, "of": len(names)}
    told["drawn"] = charts_networks.MAX_CLASSES
    return told | {"count": len(wrong), "mistakes": shown}
