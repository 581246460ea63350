"""All numbers of a report as plain data: dicts, lists, numbers and words.

from reports.summary import summarize
summary = summarize(["runs/a", "runs/b"])
summary["questions"][0]["methods"][0]["runs"][0]["winner"]["config"]
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from reports import halving, outcomes, progress
from reports.evaluation import read_results
from reports.grouping import Method, Question, group
from reports.importance import importance
from reports.lineage import lineage
from reports.reading import Run, read_runs
from reports.winner import winner
from search.generation import total_charged
from utils import InputError

Tests = Mapping[Path, Sequence[dict[str, Any]]]  # by run folder: see `read_results`


def summarize(
    names: Iterable[str | Path], results: Iterable[str | Path] = (), runs_dir: str | Path = "runs"
) -> dict[str, Any]:
    """Of the runs (paths, or names in `runs_dir`), with result files of `main.py` that belong to
    them: {"questions": [...], "left_out": results that are not used and why, in words}.

    Runs under the same constraints on the same data are one question; a question has methods, a
    method has runs that differ in their seeds. InputError if a run cannot be read.
    """
    named = [names] if isinstance(names, str | Path) else list(names)
    if not named:
        raise InputError("no run is named; allowed are run folders, or names in runs/")
    runs = read_runs(named, runs_dir)
    found, left_out = read_results(runs, results)
    tests = {run.path: by_run for run, by_run in zip(runs, found, strict=True)}
    questions = [_question(question, tests) for question in group(runs)]
    every = [run for one in questions for method in one["methods"] for run in method["runs"]]
    for number, run in enumerate(every):
        run["number"] = number
    return {"questions": questions, "left_out": left_out}


def _question(question: Question, tests: Tests) -> dict[str, Any]:
    runs = question.runs
    measured = [tests[run.path][0] for run in runs if tests[run.path]]
    first = runs[0]
    return {
        "title": question.title,
        "data": (first.record.get("data") or {}).get("name", "unknown data"),
        "objective": first.ranking.metric,
        "sign": first.ranking.sign,
        "precision": "precision",
        "constraints": [
            {"metric": limit.metric, "sense": limit.sense, "bound": limit.bound}
            for limit in first.ranking.constraints
        ],
        "sizes": [*dict.fromkeys(name for run in runs for name in sizes(run))],
        "epochs": first.settings.epochs,
        "folds": first.settings.folds if any(one.folds for one in first.trials) else None,
        "notes": [
            *dict.fromkeys(note for run in runs for note in run.notes()),
            *_unlike(measured),
        ],
        "methods": [_method(method, tests) for method in question.methods],
        "importance": importance(runs),
    }


def _unlike(measured: Sequence[dict[str, Any]]) -> list[str]:
    """Says so if results on the test split were not made in the same way."""
    kinds = ("epochs", "optimizer", "seeds")
    unlike = [kind for kind in kinds if len({str(one[kind]) for one in measured}) > 1]
    words = "The winners were trained for the test split with different"
    return [f"{words} {' and '.join(unlike)}: no fair comparison."] if unlike else []


def _method(method: Method, tests: Tests) -> dict[str, Any]:
    runs = [_run(run, tests[run.path]) for run in method.runs]
    begun = [run for run in runs if run["points"]]
    return {
        "label": method.label,
        "runs": runs,
        "curves": {
            axis: {
                quantity: progress.aggregate([run["curves"][axis][quantity] for run in begun])
                for quantity in progress.QUANTITIES
            }
            for axis in progress.AXES
        },
        "valid_share": spread([run["shares"]["valid_share"] for run in runs]),
        "failures": outcomes.failures(method.runs),
    }


def _run(run: Run, tests: Sequence[dict[str, Any]]) -> dict[str, Any]:
    points = [outcomes.point(run, trial) for trial in run.lasts]
    sign = run.ranking.sign
    return {
        "name": run.name,
        "seed": run.settings.seed,
        "status": run.status,
        "inexact": list(run.record.get("inexact") or []),
        "epochs_charged": total_charged(run.trials),
        "seconds": run.used_seconds,
        "shares": outcomes.shares(run),
        "time": outcomes.time_spent(run),
        "curves": progress.curves(run),
        "points": points,
        "fronts": {
            "precision": outcomes.pareto(points, "precision", maximize=True, sign=sign),
            **{name: outcomes.trade_off(points, name, sign) for name in sizes(run)},
        },
        "correlations": halving.rank_correlations(run),
        "halving": _halving(run),
        "winner": winner(run, tests),
        "lineage": lineage(run, run.best.trial) if run.best is not None else [],
    }


def sizes(run: Run) -> list[str]:
    """The metrics known before training that are drawn: parameters, and those with a limit."""
    limited = {limit.metric for limit in run.ranking.constraints}
    return ["num_params", *(n for n in run.static if n in limited and n != "num_params")]


def _halving(run: Run) -> dict[str, Any] | None:
    """None for a run without Hyperband."""
    if not run.settings.hyperband:
        return None
    return {
        "levels": halving.levels(run),
        "curves": halving.bracket_curves(run),
        "audit": halving.audit(run),
        "brackets": halving.brackets_as_run(run),
    }


def spread(values: Sequence[float | None]) -> dict[str, Any]:
    """{"mean", "sd", "low", "high", "runs"} of the runs that have a value; sd of a sample, None
    for one run.
    """
    known = [value for value in values if value is not None]
    if not known:
        return {"mean": None, "sd": None, "low": None, "high": None, "runs": 0}
    return {
        "mean": float(np.mean(known)),
        "sd": float(np.std(known, ddof=1)) if len(known) > 1 else None,
        "low": min(known),
        "high": max(known),
        "runs": len(known),
    }
