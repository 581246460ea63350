"""The Pareto front of a run in the objective and a static metric: a table and configurations.

    python -m reports RUN --pareto num_params

The front of the feasible, fully trained trials. Writes a folder: front.csv, each configuration in
the format of main.py, and a link to the run, where main.py finds its limits and its images.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.wording import aligned, number_words
from reports.outcomes import front
from reports.reading import Run
from search.trial import Trial
from utils import InputError, nearest, write_csv, write_json


def export_front(run: Run, metric: str, folder: Path | None) -> str:
    """Writes the front into the folder [NAME.pareto_METRIC]; returns the printed lines."""
    if run.static and metric not in run.static:
        raise InputError(
            f"--pareto cannot be {metric!r}; allowed is a metric that is to be small: "
            f"{', '.join(run.static)}{nearest(metric, run.static)}"
        )
    best = front(run, metric)
    if not best:
        raise InputError(f"{run.name} has no front yet: nothing was trained in full")
    folder = folder or Path(f"{run.name}.pareto_{metric}")
    files = _write(run, best, folder)
    met = run.kind(best[0]) == "feasible"
    among = "all that meet the limits" if met else "all trained in full (none meets the limits)"
    lines = [
        f"{run.ranking.metric} against {metric}: the Pareto front of {among}:",
        *_table(run, best, metric),
        f"written: {folder / 'front.csv'} and {len(files)} configurations",
    ]
    if run.data:  # else main.py cannot measure them
        lines[-1] += "; to measure them:"
        lines.append(f"python main.py -c {' '.join(map(str, files))} -t True")
    return "\n".join(lines)


def _write(run: Run, best: Sequence[Trial], folder: Path) -> list[Path]:
    """Writes the folder; returns the files of the configurations."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {folder} cannot be made: {error.strerror}") from None
    link, record = folder / "run.json", run.path.resolve() / "run.json"
    if link.exists() and not link.is_symlink():
        raise InputError(f"--output {folder} has a run.json of its own; allowed is another folder")
    link.unlink(missing_ok=True)
    link.symlink_to(os.path.relpath(record, folder.resolve()))
    files = [folder / f"trial_{trial.trial}.json" for trial in best]
    rows: list[dict[str, Any]] = []
    for trial, file in zip(best, files, strict=True):
        write_json(file, trial.config)
        facts = {"file": file.name, "trial": trial.trial, "epochs": trial.epochs}
        facts |= {"feasible": run.ranking.feasible(trial), **trial.metrics}
        rows.append({**facts, **{f"config.{name}": one for name, one in trial.config.items()}})
    write_csv(folder / "front.csv", [*dict.fromkeys(n for row in rows for n in row)], rows)
    return files


def _table(run: Run, best: Sequence[Trial], metric: str) -> list[str]:
    shown = [*dict.fromkeys((metric, *run.ranking.metrics, *run.static))]
    rows = [["trial", *shown]]
    rows += [[str(t.trial), *(number_words(t.metrics.get(n)) for n in shown)] for t in best]
    lines = aligned(rows)
    winner = run.best.trial if run.best is not None else None
    return [lines[0]] + [
        line + "  (the winner)" * (trial.trial == winner)
        for line, trial in zip(lines[1:], best, strict=True)
    ]
