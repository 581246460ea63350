"""Writes a report: charts, the page, the Markdown."""

from pathlib import Path
from typing import Any

from reports.drawing import save
from reports.markdown import markdown
from reports.page import page
from reports.sections import document
from reports.words import setting
from utils import InputError, write_text


def write(summary: dict[str, Any], folder: Path) -> Path:
    """Writes report.html, report.md and figures/ into the folder; returns the path of the page.

    InputError if the folder cannot be made.
    """
    figures = folder / "figures"
    try:
        figures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {folder} cannot be made: {error.strerror}") from None
    told = document(summary)
    drawings = {chart.name: save(chart, figures) for chart in told.charts()}
    write_text(folder / "report.md", markdown(told, figures.name) + "\n")
    write_text(folder / "report.html", page(told, drawings, _shown(summary)))
    return folder / "report.html"


def _shown(summary: dict[str, Any]) -> dict[str, Any]:
    """For the script of the page: names of hyperparameters and runs; for each configuration its
    kind, epochs, operator, metrics in words, and values in the order of the names.
    """
    runs, trials = {}, {}
    questions = summary["questions"]
    everything = [(q, m, run) for q in questions for m in q["methods"] for run in m["runs"]]
    names = sorted({one for *_, run in everything for p in run["points"] for one in p["config"]})
    for question, method, run in everything:
        runs[run["number"]] = f"{method['label']}, seed {run['seed']}"
        for point in run["points"]:
            values = [point["config"].get(name) for name in names]
            trials[f"{run['number']}/{point['trial']}"] = [
                {"partial": "not fully trained"}.get(point["kind"], point["kind"]),
                point["epochs"],
                point["operator"],
                _metrics(question, point),
                [None if value is None else setting(value) for value in values],
            ]
    return {"names": names, "runs": runs, "trials": trials}


def _metrics(question: dict[str, Any], point: dict[str, Any]) -> str:
    named = (
        (question["objective"], point["objective"]),
        (question["precision"], point["precision"]),
        ("parameters", point["num_params"]),
    )
    known = [(name, value) for name, value in named if value is not None]
    return ", ".join(
        f"{name} {value:,}" if isinstance(value, int) else f"{name} {value:.3f}"
        for name, value in known
    )
