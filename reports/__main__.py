"""Explains searches from their run folders: what they found, how, and at what cost.

    python -m reports [RUN...] --output DIR
    python -m reports RUN --export optuna && optuna-dashboard NAME.optuna.jsonl
    python -m reports RUN --export csv
    python -m reports RUN --pareto num_params

RUN is a run folder, the name of one in runs/, or 'last' for the newest (the default); its search
may still run. Writes DIR/report.html (one self-contained file) and DIR/figures/ (SVG, PNG); or a
file of one run for other viewers; or the Pareto front of one run, as a table, a CSV and the
configurations in the format of main.py.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.cli.arguments import Parser
from engine.cli.command import command
from evaluation.results import check_file
from reports.reading import Run, read_run
from utils import InputError

EXPORTS = {"optuna": ".optuna.jsonl", "csv": ".csv"}  # viewer -> suffix of the file


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return command("reports", lambda: run(arguments(argv)))


def arguments(argv: Sequence[str] | None) -> dict[str, Any]:
    """The arguments of the command line."""
    parser = Parser(__doc__)
    parser.prog = "python -m reports"
    words = "folders or names in runs/ [last]"
    parser.add_argument("runs", nargs="*", default=["last"], metavar="RUN", help=words)
    words = "folder for the report [report] or --pareto, file for --export [NAME.KIND]"
    parser.add_argument("--output", help=words)
    parser.add_argument("--export", choices=EXPORTS, help="for which viewer")
    words = "a metric that needs no training, such as num_params or macs"
    parser.add_argument("--pareto", metavar="METRIC", help=words)
    words = "results of main.py on the test split that are not beside the runs"
    parser.add_argument("--results", nargs="+", default=[], metavar="FILE", help=words)
    return parser.parse_strictly(argv)


def run(given: dict[str, Any]) -> None:
    """Writes the requested files and prints where they are."""
    runs, output = given["runs"], given.get("output")
    if output == "":
        raise InputError("--output is empty; allowed is a folder, or a file for --export")
    names = ("export", "pareto", "results")
    flags = [f"--{name}" for name in names if given.get(name)]
    if len(flags) > 1:
        raise InputError(f"{flags[1]} cannot go with {flags[0]}: give only one")
    if len(runs) > 1 and flags and flags != ["--results"]:
        raise InputError(f"{flags[0]} takes one run, not {len(runs)}")
    if "export" in given:
        print(export(read_run(runs[0]), given["export"], output))
        return
    folder = Path(output or "report")
    if (folder / "trials.jsonl").exists():
        raise InputError(
            f"--output {folder} is the folder of a run; allowed is any other, as {folder}/report"
        )
    if "pareto" in given:
        from reports.tradeoffs import export_front

        print(export_front(read_run(runs[0]), given["pareto"], folder if output else None))
        return
    from reports.report import write

    path, left_out = write(runs, folder, given["results"])
    for words in left_out:
        print(f"reports: {words}", file=sys.stderr)
    print(f"report: {path}")


def export(run: Run, kind: str, output: str | None) -> str:
    """Exports a run, by default into the current folder; returns a message."""
    from reports.export import export_csv, export_optuna

    path = Path(output or run.name + EXPORTS[kind])
    check_file(path, "--output")
    if path.resolve().parent == run.path.resolve():
        raise InputError(f"--output {path} is in the folder of the run; allowed is any other")
    if kind == "csv":
        return f"{path}: {export_csv(run, path)} rows"
    count = export_optuna(run, path)
    return f"{path}: {count} configurations; optuna-dashboard {path} shows them"


if __name__ == "__main__":
    sys.exit(main())
