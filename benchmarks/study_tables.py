"""Rows and Markdown tables of a study, from its run folders and results alone."""

import statistics
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.reading import Run, read_run
from search.constraints import Constraint, total_violation
from search.generation import total_cost_epochs
from search.trial import Trial
from utils import read_json

TEST, AGAIN = "result_test.json", "result_again.json"  # of main.py, in the folder of a run


def _full(run: Run) -> list[Trial]:
    """All trials with full epochs, including failures, which are not valid networks either."""
    return [trial for trial in run.trials if trial.epochs == run.settings.epochs]


def rows(units: Iterable[Any], default: Path) -> list[dict[str, Any]]:
    """A row for each search (`study.Unit`) with a winner, then one for the default network."""
    found = []
    for unit in units:
        if (unit.folder / "opt_cfg.json").exists():
            found.append(
                {
                    "limits": unit.limits,
                    "method": unit.method,
                    "seed": unit.seed,
                    **_searched(run := read_run(unit.folder)),
                    "test": _measured(unit.folder / TEST),
                    "again": _again(unit.folder / AGAIN, run.ranking.constraints),
                }
            )
    if (default / TEST).exists():
        result = read_json(default / TEST)
        row = {"limits": None, "method": "default", "num_params": result["num_params"]}
        measured = {"test": _measured(default / TEST), "again": _measured(default / AGAIN)}
        found.append(row | measured)
    return found


def _searched(run: Run) -> dict[str, Any]:
    """A run's winner, and the share of valid trials among the fully trained."""
    winner, full = run.record["winner"], _full(run)
    valid = [trial for trial in full if run.ranking.feasible(trial)]
    return {
        "constraints": [str(limit) for limit in run.ranking.constraints],
        "feasible": winner["feasible"],
        "metrics": winner["metrics"],
        "num_params": winner["metrics"]["num_params"],
        "epochs": total_cost_epochs(run.trials),
        "fully_trained": len(full),
        "valid": len(valid) / len(full) if full else 0.0,
    }


def _measured(path: Path) -> dict[str, float] | None:
    return read_json(path)["metrics"] if path.exists() else None


def _again(path: Path, limits: Sequence[Constraint]) -> dict[str, Any] | None:
    """The winner on fresh folds: mean metrics, and in how many trainings it met all constraints.

    A metric is None if one of the trainings diverged.
    """
    if not path.exists():
        return None
    result = read_json(path)
    sizes = {name: result[name] for name in ("num_params", "macs")}
    each = [{**sizes, **one["metrics"]} for one in result["by_seed"]]
    kept = sum(total_violation(limits, metrics) == 0 for metrics in each)
    return {**result["metrics"], "kept": kept, "trainings": len(each)}


def markdown(found: Sequence[Mapping[str, Any]]) -> str:
    """All tables of the study."""
    parts = ["# Study", ""]
    for limits in dict.fromkeys(row["limits"] for row in found if row["limits"]):
        here = [row for row in found if row["limits"] == limits]
        parts += [f"## Limits: {', '.join(here[0]['constraints'])}", "", *_by_method(here), ""]
    default = [row for row in found if row["method"] == "default" and row["test"]]
    for row in default:
        measured = [
            f"{where}: top-3 {row[of]['top3']:.3f}, precision {row[of]['precision']:.3f}"
            for of, where in (("test", "test"), ("again", "fresh folds"))
            if row[of]
        ]
        words = "; ".join(measured)
        parts += [f"Default network ({row['num_params']:,} parameters), {words}.", ""]
    return "\n".join(parts).rstrip() + "\n"


def _by_method(here: Sequence[Mapping[str, Any]]) -> list[str]:
    """Means and standard deviations over the seeds with a feasible winner, by method.

    The shares of valid trials and of met limits are over all seeds.
    """
    table = [
        "| method | seeds | best feasible top-3 on the folds | its precision | valid, % "
        "| top-3, fresh folds | its precision | limits kept there, % | test top-3 "
        "| test precision |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for method in dict.fromkeys(row["method"] for row in here):
        mine = [row for row in here if row["method"] == method]
        feasible = [row for row in mine if row["feasible"]]  # the others are not solutions
        found = [row["metrics"] for row in feasible]
        tests = [row["test"] for row in feasible if row["test"]]
        again = [row["again"] for row in feasible if row["again"]]
        kept = [one["kept"] / one["trainings"] for row in mine if (one := row["again"])]
        cells = [
            method,
            f"{len(found)} feasible of {len(mine)}",
            spread([metrics["top3"] for metrics in found]),
            spread([metrics["precision"] for metrics in found]),
            spread([100 * row["valid"] for row in mine], digits=1),
            spread([one["top3"] for one in again]),
            spread([one["precision"] for one in again]),
            spread([100 * share for share in kept], digits=1),
            spread([test["top3"] for test in tests]),
            spread([test["precision"] for test in tests]),
        ]
        table.append(f"| {' | '.join(cells)} |")
    return table


def spread(known: Sequence[float | None], digits: int = 3) -> str:
    """'mean (sd)' over seeds; the mean alone for one. None, a diverged training, is left out."""
    values = [value for value in known if value is not None]
    if not values:
        return "-"
    mean = f"{statistics.mean(values):.{digits}f}"
    return mean if len(values) < 2 else f"{mean} ({statistics.stdev(values):.{digits}f})"
