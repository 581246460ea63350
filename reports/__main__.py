"""Exports a run for other viewers.

python -m reports runs/NAME --export optuna && optuna-dashboard NAME.optuna.jsonl
python -m reports runs/NAME --export csv
"""

import sys
from collections.abc import Sequence
from pathlib import Path

from engine.arguments import Parser
from reports.export import export_csv, export_optuna
from utils import InputError

EXPORTS = {"optuna": (export_optuna, ".optuna.jsonl"), "csv": (export_csv, ".csv")}


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = Parser(__doc__)
    parser.add_argument("run", metavar="RUN", help="folder of a run, finished or not")
    parser.add_argument("--export", required=True, choices=EXPORTS, help="for which viewer")
    parser.add_argument("--output", metavar="FILE", help="where to write [NAME.optuna.jsonl]")
    try:
        given = parser.parse_strictly(argv)
        print(export(Path(given["run"]), given["export"], given["output"]))
    except InputError as error:
        print(f"reports: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"reports: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def export(run_folder: Path, kind: str, output: str | None) -> str:
    """Exports a run (see EXPORTS), by default into the current folder; says what is where."""
    write, ending = EXPORTS[kind]
    path = Path(output or run_folder.resolve().name + ending)
    count = write(run_folder, path)
    words = f"{path}: {count} {'configurations' if kind == 'optuna' else 'rows'}"
    return f"{words}; optuna-dashboard {path} shows them" if kind == "optuna" else words


if __name__ == "__main__":
    sys.exit(main())
