"""The card of a search's winner: its metrics with intervals, and the commands to continue."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy.stats import t

from engine.wording import chance, counted, resume_words
from evaluation import thresholds
from evaluation.evidence import told
from evaluation.metrics import STATIC
from reports import charts, charts_networks, words
from reports.reading import Run
from reports.results import Result, winner_and_baseline
from search.trial import Trial

Interval = tuple[float, float] | None  # 95 %
Values = Mapping[str, tuple[float, Interval]]  # by metric: mean and interval


def card(
    drawn: dict[str, charts.Chart | None], name: str, label: str, run: Run, tests: Sequence[Result]
) -> dict[str, Any]:
    """The card of the winner of a run that has one; puts a picture of its network into `drawn`."""
    best, record = run.best, run.record.get("winner") or {}
    assert best is not None
    test, other = (one.content if one else {} for one in winner_and_baseline(tests))
    layers = (record.get("layers") or []) if record.get("config") == best.config else []
    drawn[name] = charts_networks.network(layers) if layers else None
    folds = on_folds(best), on_folds(run.baseline) if run.baseline else {}
    tables = [(f"Folds, after {counted(best.epochs, 'epoch')}", *_metrics(run, *folds))]
    if test:
        tested = _metrics(run, on_test(test), on_test(other))
        tables.insert(0, (f"Test split, after {counted(test['epochs'], 'epoch')}", *tested))
    values = (on_test(test), on_test(other), "test split") if test else (*folds, "folds")
    shapes = [(one["name"], " × ".join(map(str, one["output"]))) for one in layers]
    sizes = [(f"{one['parameters']:,}", f"{one['macs']:,}") for one in layers]
    return {
        "name": name,
        "headline": _headline(run, best, *values),
        "origin": _origin(label, run, best),
        "verdicts": _verdicts(run, best, test),
        "threshold": list(thresholds.words(test)),
        "tables": tables,
        "commands": _commands(run) if run.data else [],
        "configuration": [(key, words.setting(one)) for key, one in sorted(best.config.items())],
        "layers": [shape + size for shape, size in zip(shapes, sizes, strict=True)],
    }


def _headline(
    run: Run, best: Trial, winner: Values, baseline: Values, where: str
) -> list[tuple[str, str, str]]:
    """(value, name, baseline and chance) of the objective, the limited metrics and the sizes."""
    beside = {"baseline": _means(baseline), "chance": _chance(run)}
    known = {**best.metrics, **_means(winner)}
    return [
        (
            words.number(known[name]),
            words.plain(name) + f", {where}" * (name in winner),
            ", ".join(
                f"{w} {words.number(one[name])}" for w, one in beside.items() if name in one
            ),
        )
        for name in dict.fromkeys((*run.ranking.metrics, "num_params", "macs"))
        if known.get(name) is not None
    ]


def _means(values: Values) -> dict[str, float]:
    return {name: mean for name, (mean, _) in values.items()}


def _origin(label: str, run: Run, best: Trial) -> str:
    """The trial and the search of the winner, in words."""
    parents = f" of {' and '.join(map(str, best.parents))}" if best.parents else ""
    text = f"{label}, seed {run.settings.seed}: trial {best.trial} of {len(run.lasts)} "
    text += f"({best.operator}{parents})"
    if best.epochs < run.settings.epochs:
        text += f", trained for {counted(best.epochs, 'epoch')} only"
    if not run.ranking.feasible(best):
        text += ". No configuration met all limits: this is the nearest to them"
    elif run.baseline and run.baseline.trial == best.trial:
        text += ". It is the baseline, the space's default: nothing better was found"
    return f"{text}. {run.name}"


def _verdicts(run: Run, best: Trial, test: Mapping[str, Any]) -> list[tuple[bool, str]]:
    """For each limit: whether the winner meets it on the folds, and the verdict in words."""
    verdicts = {one["text"]: one for one in test.get("constraints") or []}
    lines = []
    for limit in run.ranking.constraints:
        text = f"{words.limit(str(limit))}: {words.number(best.metrics.get(limit.metric))}"
        tested = verdicts.get(str(limit))
        if tested and limit.metric not in STATIC:
            missed = "" if tested["met"] else "MISSED "
            text += f" on the folds; {missed}{words.number(tested['value'])} on the test split"
            text += told(tested)
        lines.append((limit.residual(best.metrics) <= 0, text))
    return lines


def on_folds(trial: Trial) -> Values:
    """Mean and interval of each metric over the folds; of a target without folds, the metrics."""
    folds = trial.folds or [trial.metrics]
    found = {name: [fold.get(name) for fold in folds] for name in folds[0] if name not in STATIC}
    return {
        name: interval(values)
        for name, values in found.items()
        if all(isinstance(value, int | float) for value in values)
    }


def on_test(result: Mapping[str, Any]) -> Values:
    """The metrics of a result file; older ones have no intervals."""
    known, intervals = result.get("metrics") or {}, result.get("intervals") or {}
    return {name: (one, intervals.get(name)) for name, one in known.items() if one is not None}


def interval(values: Sequence[float]) -> tuple[float, Interval]:
    """Mean and its 95 % interval by Student's t; no interval for one value."""
    mean = float(np.mean(values))
    if len(values) < 2:
        return mean, None
    half = t.ppf(0.975, len(values) - 1) * np.std(values, ddof=1) / math.sqrt(len(values))
    return mean, (mean - float(half), mean + float(half))


def _chance(run: Run) -> dict[str, float]:
    classes = run.data.get("class_names")
    return chance(len(classes)) if classes else {}


def _metrics(run: Run, winner: Values, baseline: Values) -> tuple[list[str], list[list[str]]]:
    """Columns and rows: the winner beside its baseline and chance."""
    guessed: Values = {name: (value, None) for name, value in _chance(run).items()}
    columns = {"winner": winner, "baseline": baseline, "chance": guessed}
    shown = {name: values for name, values in columns.items() if values}
    rows = [[words.plain(n), *(_sure(one.get(n)) for one in shown.values())] for n in winner]
    return ["", *shown], rows


def _sure(value: tuple[float, Interval] | None) -> str:
    """A mean, and its interval beneath."""
    if value is None:
        return ""
    mean, bounds = value
    return f"{mean:.3f}" + (f"\n{bounds[0]:.3f}–{bounds[1]:.3f}" if bounds else "")


def _commands(run: Run) -> list[tuple[str, str]]:
    """The commands to evaluate, export and resume a search on images."""
    own, link = (folder / "opt_cfg.json" for folder in (run.path, run.path.parent))
    config = link if link.resolve() == own.resolve() else own
    return [
        ("evaluate", f"main.py -c {config} -t True"),
        ("export", f"main.py -c {config} -t True --export shipped --quantise"),
        ("resume", resume_words(run.path, run.record.get("method"))),
    ]
