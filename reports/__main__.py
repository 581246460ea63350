"""Explains searches: what they found, how, and at what cost, from their run folders alone.

    python -m reports RUN [RUN...] --output DIR
    python -m reports RUN --export optuna && optuna-dashboard NAME.optuna.jsonl
    python -m reports RUN --export csv
    python -m reports RUN --pareto num_params

RUN is a run folder, the name of one in runs/, or 'last' for the newest; a search may be under way
in it. Writes DIR/report.html (one file that needs nothing else), DIR/report.md and DIR/figures/
(SVG, PNG); or a file of one run for other viewers; or the Pareto front of one run, as a table, a
CSV and the configurations as main.py takes them.
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.arguments import Parser
from engine.command import command
from engine.results import check_file
from reports.reading import find_run
from utils import InputError

EXPORTS = {"optuna": ".optuna.jsonl", "csv": ".csv"}  # viewer -> how the file is called


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return command("reports", lambda: run(arguments(argv)))


def arguments(argv: Sequence[str] | None) -> dict[str, Any]:
    """What was given on the command line."""
    parser = Parser(__doc__)
    parser.prog = "python -m reports"
    parser.add_argument("runs", nargs="*", default=["last"], metavar="RUN", help="[last]")
    parser.add_argument(
        "--output",
        help="folder for the report [report] or --pareto, file for --export [NAME.KIND]",
    )
    parser.add_argument("--export", choices=EXPORTS, help="for which viewer")
    parser.add_argument(
        "--pareto", metavar="METRIC", help="known before training, as num_params or macs"
    )
    parser.add_argument(
        "--results",
        nargs="+",
        default=[],
        metavar="FILE",
        help="results of main.py on the test split that lie elsewhere than beside the runs",
    )
    return parser.parse_strictly(argv)


def run(given: dict[str, Any]) -> None:
    """Reads, counts, draws, writes."""
    if given["output"] == "":
        raise InputError("--output is empty; allowed is a folder, or a file for --export")
    flags = [f"--{name}" for name in ("export", "pareto") if given[name] is not None]
    if flags:
        if given["results"]:
            flags.append("--results")
        if len(flags) > 1:
            raise InputError(f"{flags[1]} cannot go with {flags[0]}: give only one")
        if len(given["runs"]) > 1:
            raise InputError(f"{flags[0]} takes one run, not {len(given['runs'])}")
    if given["export"] is not None:
        print(export(find_run(given["runs"][0]), given["export"], given["output"]))
        return
    folder = Path(given["output"] or "report")
    if (folder / "trials.jsonl").exists():
        raise InputError(
            f"--output {folder} is the folder of a run; allowed is any other, as {folder}/report"
        )
    if given["pareto"] is not None:
        from reports.tradeoffs import export_front

        chosen = folder if given["output"] else None
        print(export_front(find_run(given["runs"][0]), given["pareto"], chosen))
        return
    from reports.report import write

    path, left_out = write(given["runs"], folder, given["results"])
    for words in left_out:
        print(f"reports: {words}", file=sys.stderr)
    print(f"report: {path}")


def export(run_folder: Path, kind: str, output: str | None) -> str:
    """Exports a run, by default into the current folder; says what is where."""
    from reports.export import export_csv, export_optuna

    write = {"optuna": export_optuna, "csv": export_csv}[kind]
    path = Path(output or run_folder.resolve().name + EXPORTS[kind])
    check_file(path, "--output ")
    if path.resolve().parent == run_folder.resolve():
        raise InputError(f"--output {path} is in the folder of the run; allowed is any other")
    count = write(run_folder, path)
    words = f"{path}: {count} {'configurations' if kind == 'optuna' else 'rows'}"
    return f"{words}; optuna-dashboard {path} shows them" if kind == "optuna" else words


if __name__ == "__main__":
    sys.exit(main())
