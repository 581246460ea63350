"""The answer: what a search hands over, how sure its metrics are, and how to go on with it."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

import numpy as np
from scipy.stats import t

from engine.metrics import STATIC
from engine.console import chance, counted
from reports import charts_networks, thresholds, words
from reports.evidence import told
from reports.page import Page, folded, paragraph, side_by_side, table
from reports.reading import Run
from reports.results import Result
from search.trial import Trial

Values = Mapping[str, tuple[float, tuple[float, float] | None]]  # metric -> mean, 95 % interval
METRICS = "Intervals are 95 %: over test images by bootstrap; over folds by Student's t, which is "
METRICS += "rough, since folds share images. The winner was chosen on the folds: they flatter it."


def card(page: Page, name: str, label: str, run: Run, results: Sequence[Result]) -> str:
    """The winner of a run. name: of its charts."""
    best = run.best
    if best is None:
        return paragraph(f"{run.name}: nothing was trained to a usable result yet.")
    test = next((one.content for one in results if one.of_winner), None)
    baseline = next((one.content for one in results if not one.of_winner), None)
    recorded = run.record.get("winner") or {}
    layers = (recorded.get("layers") or []) if recorded.get("config") == best.config else []
    caption = "The network: a block a layer, with its channels; higher for larger maps, darker "
    caption += "for more parameters."
    drawn = charts_networks.network(layers) if layers else None
    folds = f"Means over the folds, after {counted(best.epochs, 'epoch')}"
    tested = f"On the test split, after {counted(test['epochs'], 'epoch')}" if test else ""
    by_fold = on_folds(best), on_folds(run.baseline) if run.baseline else {}
    by_test = on_test(test), on_test(baseline)
    return (
        f'<div class="card">\n{_headline(run, best, by_test[0] or by_fold[0], bool(test))}'
        + paragraph(f"{label}, seed {run.settings.seed}: {_origin(run, best)}")
        + side_by_side(
            f"<div>{_verdicts(run, best, test)}</div>",
            page.figure(f"{name}-network", drawn, caption),
        )
        + side_by_side(_metrics(run, tested, *by_test), _metrics(run, folds, *by_fold))
        + paragraph(METRICS, "reading")
        + _commands(run)
        + folded("Configuration and layers", side_by_side(_configuration(best), _layers(layers)))
        + "</div>\n"
    )


def _headline(run: Run, best: Trial, values: Values, tested: bool) -> str:
    """The metrics that decide, and the sizes, in large letters."""
    names = dict.fromkeys((*run.ranking.metrics, "num_params", "macs"))
    facts = {name: values[name][0] if name in values else best.metrics.get(name) for name in names}
    where = {name: (" on the test split" if tested else " on the folds") for name in values}
    shown = "".join(
        f"<div><b>{words.number(value)}</b>{escape(words.plain(name) + where.get(name, ''))}</div>"
        for name, value in facts.items()
        if value is not None
    )
    return f'<div class="big">{shown}</div>\n'


def _origin(run: Run, best: Trial) -> str:
    parents = " and ".join(map(str, best.parents))
    made = f"trial {best.trial} of {len(run.lasts)}, made by '{best.operator}'"
    made += f" of {parents}" if parents else ""
    if best.epochs < run.settings.epochs:
        made += f", trained for {counted(best.epochs, 'epoch')} only"
    if run.baseline and run.baseline.trial == best.trial:
        made += ". Nothing better than the baseline, the space's default, was found"
    return f"{made}. {run.name}."


def _verdicts(run: Run, best: Trial, test: Mapping[str, Any] | None) -> str:
    """How the winner stands to each limit, on the folds and on the test split."""
    verdicts = {one["text"]: one for one in (test or {}).get("constraints") or []}
    lines = []
    for limit in run.ranking.constraints:
        met, value = limit.residual(best.metrics) <= 0, best.metrics.get(limit.metric)
        text = f"{words.limit(str(limit))}: {words.number(value)}"
        on_test = verdicts.get(str(limit))
        if on_test and limit.metric not in STATIC:
            missed = "" if on_test["met"] else "MISSED "
            text += f" on the folds; {missed}{words.number(on_test['value'])} on the test split"
            text += told(on_test)
        lines.append(f'<li class="{"met" if met else "missed"}">{escape(text)}</li>\n')
    nearest = "" if run.ranking.feasible(best) else "Nothing met all limits: this is the nearest."
    threshold = " ".join(line.strip() for line in thresholds.words(test or {}))
    notes = paragraph(nearest, "note") + paragraph(threshold)
    return f'<ul class="limits">\n{"".join(lines)}</ul>\n{notes}'


def on_folds(trial: Trial) -> Values:
    """What was measured in each fold; of a target without folds, what was measured at all."""
    found: dict[str, tuple[float, tuple[float, float] | None]] = {}
    folds = trial.folds or [trial.metrics]
    for name in folds[0]:
        values = [fold.get(name) for fold in folds]
        if name not in STATIC and all(isinstance(value, int | float) for value in values):
            found[name] = interval(values)
    return found


def on_test(result: Mapping[str, Any] | None) -> Values:
    """The metrics of a result file; older ones have no intervals."""
    metrics, intervals = ((result or {}).get(key) or {} for key in ("metrics", "intervals"))
    known = {name: value for name, value in metrics.items() if value is not None}
    return {name: (value, intervals.get(name)) for name, value in known.items()}


def interval(values: Sequence[float]) -> tuple[float, tuple[float, float] | None]:
    """Mean and its 95 % interval by Student's t; no interval for one value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return mean, (mean - float(half), mean + float(half))


def _metrics(run: Run, title: str, winner: Values, baseline: Values) -> str:
    """The winner beside its baseline and chance."""
    classes = run.data.get("class_names")
    guessed = chance(len(classes)) if classes else {}
    others = {"baseline": {name: _sure(value) for name, value in baseline.items()}}
    others["chance"] = {name: f"{value:.3f}" for name, value in guessed.items()}
    others = {column: cells for column, cells in others.items() if cells}
    rows = [
        [words.plain(name), _sure(value), *(cells.get(name, "") for cells in others.values())]
        for name, value in winner.items()
    ]
    return table(["", "winner", *others], rows, title)


def _sure(value: tuple[float, tuple[float, float] | None]) -> str:
    """A mean, and its interval beneath."""
    mean, bounds = value
    return f"{mean:.3f}" + (f"\n{bounds[0]:.3f} to {bounds[1]:.3f}" if bounds else "")


def _commands(run: Run) -> str:
    """How to measure, ship and go on; only of searches on images."""
    if not run.data:
        return ""
    config, peer = run.path / "opt_cfg.json", run.record.get("method")
    start = f"-m baselines {peer}" if peer else "optimizer.py"
    lines = (
        ("evaluate", f"main.py -c {config} -t True"),
        ("export", f"main.py -c {config} -t True --export shipped --quantise"),
        ("resume", f"{start} --resume {run.path}"),
    )
    text = "\n".join(f"# {what}\npython {command}" for what, command in lines)
    return f"<pre>{escape(text)}</pre>\n"


def _configuration(best: Trial) -> str:
    values = sorted(best.config.items())
    rows = [[name, "None" if one is None else words.setting(one)] for name, one in values]
    return table(["hyperparameter", "value"], rows)


def _layers(layers: Sequence[Mapping[str, Any]]) -> str:
    rows = [
        [one["name"], " × ".join(map(str, one["output"])), f"{one['parameters']:,}",
         f"{one['macs']:,}"]
        for one in layers
    ]  # fmt: skip
    return table(["layer", "output", "parameters", "multiply-adds"], rows)
