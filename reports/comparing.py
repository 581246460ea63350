"""Tables of a report: comparison of methods, savings by early stopping, settings and versions."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from engine.wording import in_words
from reports import halving, words
from reports.grouping import ExperimentGroup
from reports.outcomes import failures, share_busy
from reports.reading import KINDS, Run
from reports.results import Result, winner_and_baseline
from search.generation import total_cost_epochs

Tests = Mapping[Path, Sequence[Result]]  # by run folder: see `results.read_results`


def methods(experiments: Sequence[ExperimentGroup], tests: Tests) -> list[list[str]]:
    """One row per method and set of limits, after a row of column names."""
    limited = [*dict.fromkeys(name for one in experiments for name in one.ranking.metrics[1:])]
    columns = ["limits", "method", "seeds", "best objective", *map(words.plain, limited)]
    columns += ["test objective", "valid share", "sd", "epochs", "time"]
    rows = [
        [words.limit(one.title), *_method(one, label, tests, limited)]
        for one in experiments
        for label in one.methods
    ]
    start = 0 if len(experiments) > 1 else 1
    return [row[start:] for row in (columns, *rows)]


def _method(
    experiment: ExperimentGroup, label: str, tests: Tests, limited: Sequence[str]
) -> list[str]:
    runs, metric = experiment.methods[label], experiment.ranking.metric
    found = [run for run in runs if run.best and run.kind(run.best) == "feasible"]
    best = [run.best.metrics for run in found if run.best]
    first = [winner_and_baseline(tests[run.path])[0] for run in found]
    full = [[run.kind(one) == "feasible" for one in run.full] for run in runs if run.full]
    valid = [sum(met) / len(met) for met in full]
    missing = f"; {len(runs) - len(found)} without" if len(found) < len(runs) else ""
    return [
        label,
        ", ".join(str(run.settings.seed) for run in runs),
        words.spread([one.get(metric) for one in best]) + missing,
        *(words.spread([one.get(name) for one in best]) for name in limited),
        words.spread([one.content["metrics"].get(metric) for one in first if one]),
        words.spread(valid, words.share),
        words.share(float(np.std(valid, ddof=1))) if len(valid) > 1 else words.NONE,
        words.spread([total_cost_epochs(run.trials) for run in runs]),
        words.spread([run.used_seconds for run in runs], in_words),
    ]


def savings(experiment: ExperimentGroup) -> list[list[str]]:
    """By method and bracket: children, their epochs, epochs of full training, the share saved."""
    return [
        [label, str(bracket), *(f"{count:,}" for count in counts), words.share(saved)]
        for label, runs in experiment.methods.items()
        for bracket, *counts in halving.savings(runs)
        for saved in [1 - counts[1] / counts[2]]
    ]


def how_made(experiment: ExperimentGroup) -> dict[str, Any]:
    """Runs with the counts of their configurations, failures, settings, versions."""
    failed = [
        [label, status, error or words.NONE, str(count)]
        for label, runs in experiment.methods.items()
        for status, error, count in failures(runs)
    ]
    values = [asdict(run.settings) for run in experiment.runs]
    settings = [[name, *(words.setting(one[name]) for one in values)] for name in values[0]]
    return {
        "runs": _runs(experiment),
        "failures": failed,
        "settings": [["", *(run.name for run in experiment.runs)], *settings],
        "versions": [(run.name, _versions(run)) for run in experiment.runs],
    }


def _runs(experiment: ExperimentGroup) -> list[list[str]]:
    """One column per run, since one run is the usual case and a phone is narrow."""
    ranking = experiment.ranking
    names = ["run", "method", "seed", "ended", "configurations", "feasible", "miss a limit"]
    names += ["not fully trained", "failed"]
    names += [f"miss {words.limit(str(limit))}" for limit in ranking.constraints]
    names += ["epochs", "time", "busy", *map(words.plain, ranking.metrics)]
    columns = [names]
    for label, run in experiment.labelled:
        kinds, best = [run.kind(one) for one in run.lasts], run.best.metrics if run.best else {}
        missed = [sum(limit.residual(one.metrics) > 0 for one in run.full)
                  for limit in ranking.constraints]  # fmt: skip
        counts = [len(kinds), *map(kinds.count, KINDS), *missed, total_cost_epochs(run.trials)]
        name = run.name + (" (inexact)" if run.record.get("inexact") else "")
        columns.append([name, label, str(run.settings.seed), run.status])
        columns[-1] += [*map(words.number, counts), in_words(run.used_seconds)]
        columns[-1] += [words.share(share_busy(run))]
        columns[-1] += [words.number(best.get(metric)) for metric in ranking.metrics]
    return [list(row) for row in zip(*columns, strict=True)]


def _versions(run: Run) -> list[tuple[str, str]]:
    known = dict(run.record.get("versions") or {})
    names = ("device", "gpu", "processor", "machine", "git_revision")
    known |= {name: run.record[name] for name in names if run.record.get(name)}
    known["arguments"] = " ".join(map(str, run.record.get("arguments") or [])) or words.NONE
    return [(name, str(value)) for name, value in known.items()]
