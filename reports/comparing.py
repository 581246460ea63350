"""Tables of a report: methods and runs side by side, what early stopping saved, how all was made."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np

from engine.console import in_words
from reports import halving, words
from reports.grouping import Question
from reports.outcomes import failures, time_spent
from reports.page import folded, paragraph, section, table
from reports.reading import KINDS, Run
from reports.results import Result
from search.generation import total_charged

Tests = Mapping[Path, Sequence[Result]]  # by run folder: see `results.read_results`
COLUMNS = ["method", "seeds", "configurations", "epochs", "time", "valid share", "sd"]


def all_limits(questions: Sequence[Question], tests: Tests) -> str:
    """One table over all questions."""
    rows = [
        [words.limit(one.title), *_method(one, label, tests)]
        for one in questions
        for label in one.methods
    ]
    columns = ["limits", *COLUMNS, "best objective", "precision", "parameters", "test objective"]
    reading = "Values under different limits answer different questions: tighter limits leave "
    return section("All limits side by side", reading + "less room.", table(columns, rows))


def methods(question: Question, tests: Tests) -> str:
    """A row a method; nothing for a single run."""
    if len(question.runs) == 1:
        return ""
    metric, precision = (
        words.plain(one) for one in (question.ranking.metric, question.runs[0].precision)
    )
    columns = [*COLUMNS, f"best {metric}", precision, "parameters", f"test {metric}"]
    rows = [_method(question, label, tests) for label in question.methods]
    reading = "Means over seeds, in brackets the lowest and the highest. Best: the best feasible "
    reading += "configuration trained in full, on the folds, which chose it and so flatter it; "
    reading += "test: the same configuration on the test split. Valid share: of those trained in "
    reading += "full, how many meet all limits, with the standard deviation over seeds."
    return section("Methods side by side", reading, table(columns, rows), level=3)


def _method(question: Question, label: str, tests: Tests) -> list[str]:
    runs, metric = question.methods[label], question.ranking.metric
    best = [run.best for run in runs if run.best and run.kind(run.best) == "feasible"]
    tested = [one.content["metrics"].get(metric) for run in runs if run.best in best
              for one in [r for r in tests[run.path] if r.of_winner][:1]]  # fmt: skip
    shares = [sum(run.kind(one) == "feasible" for one in run.full) / len(run.full)
              for run in runs if run.full]  # fmt: skip
    missing = f"; {len(runs) - len(best)} without" if len(best) < len(runs) else ""
    return [
        label,
        ", ".join(str(run.settings.seed) for run in runs),
        words.spread([len(run.lasts) for run in runs]),
        words.spread([total_charged(run.trials) for run in runs]),
        words.spread([run.used_seconds for run in runs], in_words),
        words.spread(shares, words.share),
        words.share(float(np.std(shares, ddof=1))) if len(shares) > 1 else words.NONE,
        words.spread([one.metrics.get(metric) for one in best]) + missing,
        words.spread([one.metrics.get(runs[0].precision) for one in best]),
        words.spread([one.metrics.get("num_params") for one in best]),
        words.spread(tested),
    ]


def unlike(results: Sequence[Sequence[Result]]) -> list[str]:
    """Says so if results of the winners on the test split were not made in the same way."""
    first = [next((one.content for one in of_run if one.of_winner), None) for of_run in results]
    kinds = [
        kind
        for kind in ("epochs", "optimizer", "seeds")
        if len({str(one[kind]) for one in first if one}) > 1
    ]
    said = "The winners were trained for the test split with different"
    return [f"{said} {' and '.join(kinds)}: no fair comparison."] if kinds else []


def savings(question: Question) -> str:
    """What the brackets that stop early cost, and what training all in full would have cost."""
    rows = []
    for label, runs in question.methods.items():
        found = [row for run in runs for row in halving.brackets(run)]
        for s in sorted({row["bracket"] for row in found}, reverse=True):
            same = [row for row in found if row["bracket"] == s]
            names = ("children", "charged", "in_full")
            children, charged, full = (sum(row[name] for row in same) for name in names)
            counts = [f"{count:,}" for count in (children, charged, full)]
            rows.append([label, str(s), *counts, words.share(1 - charged / full)])
    columns = ["method", "bracket", "children", "epochs", "all in full", "saved"]
    return table(columns, rows, "What stopping early saved; a bracket is its number of halvings.")


def how_made(question: Question) -> str:
    """Runs, what became of their configurations, time, failures, settings, versions."""
    blocks = [_runs(question), _kinds(question), _times(question), _failures(question)]
    settings, versions = _settings(question), [_versions(run) for run in question.runs]
    blocks += [folded("Settings", settings), folded("Versions, machine, command", *versions)]
    return section("How it was made", "", *blocks)


def _runs(question: Question) -> str:
    rows = []
    for label, run in question.labelled:
        best = run.best.metrics if run.best else {}
        feasible = (
            {True: "yes", False: "no"}[run.ranking.feasible(run.best)] if run.best else words.NONE
        )
        inexact = " (inexact)" if run.record.get("inexact") else ""
        rows.append(
            [run.name + inexact, label, str(run.settings.seed), run.status, f"{len(run.lasts):,}",
             f"{total_charged(run.trials):,}", in_words(run.used_seconds),
             *(words.number(best.get(name))
               for name in (run.ranking.metric, run.precision, "num_params")), feasible]
        )  # fmt: skip
    columns = ["run", "method", "seed", "ended", "configurations", "epochs", "time"]
    columns += [words.plain(question.ranking.metric), "precision", "parameters", "feasible"]
    return table(columns, rows)


def _kinds(question: Question) -> str:
    limits = question.ranking.constraints
    rows = []
    for label, runs in question.methods.items():
        kinds = [run.kind(one) for run in runs for one in run.lasts]
        full = [one for run in runs for one in run.full]
        missed = [sum(limit.residual(one.metrics) > 0 for one in full) for limit in limits]
        counts = [len(kinds), *map(kinds.count, KINDS), *missed]
        rows.append([label, *(f"{count:,}" for count in counts)])
    columns = ["method", "configurations", "feasible", "miss a limit", "not fully trained"]
    columns += ["failed", *(f"missed {words.limit(str(limit))}" for limit in limits)]
    return table(columns, rows, "What became of the configurations; misses of those in full.")


def _times(question: Question) -> str:
    spent = [(label, run, time_spent(run)) for label, run in question.labelled]
    rows = [
        [f"{label}, {run.settings.seed}", *map(in_words, times.values())]
        for label, run, times in spent
    ]
    caption = "Time of all workers; waiting is what training leaves over."
    return table(["run", *spent[0][2]], rows, caption)


def _failures(question: Question) -> str:
    rows = [
        [label, status, error or words.NONE, str(count)]
        for label, runs in question.methods.items()
        for status, error, count in failures(runs)
    ]
    return table(["method", "status", "reason", "trainings"], rows, "Failed; # is any number.")


def _settings(question: Question) -> str:
    runs = question.runs[:6]
    values = [asdict(run.settings) for run in runs]
    rows = [[name, *(words.setting(one[name]) for one in values)] for name in values[0]]
    return table(["setting", *(run.name for run in runs)], rows)


def _versions(run: Run) -> str:
    known = {**(run.record.get("versions") or {})}
    for name in ("device", "gpu", "processor", "machine", "git_revision"):
        known |= {name: run.record[name]} if run.record.get(name) else {}
    words_of = " ".join(map(str, run.record.get("arguments") or []))
    known |= {"arguments": words_of} if words_of else {}
    return table(["", ""], [[name, str(value)] for name, value in known.items()], run.name)
