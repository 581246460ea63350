"""Explains searches: what they found, how, and at what cost, from their run folders alone.

    python -m reports RUN [RUN...] --output DIR

RUN is a run folder, or the name of one in runs/; a search may be under way in it. Writes
DIR/report.html (one file that needs nothing else), DIR/report.md and DIR/figures/ (SVG, PNG).
"""

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from engine.arguments import Parser
from utils import InputError


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    try:
        run(arguments(argv))
    except InputError as error:
        print(f"reports: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"reports: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return 2
    return 0


def arguments(argv: Sequence[str] | None) -> dict[str, Any]:
    """What was given on the command line."""
    parser = Parser(__doc__)
    parser.prog = "python -m reports"
    parser.add_argument("runs", nargs="+", metavar="RUN", help="run folders, or names in runs/")
    parser.add_argument("--output", metavar="DIR", help="folder for the report [report]")
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
    from reports.summary import summarize
    from reports.writing import write

    summary = summarize(given["runs"], given["results"])
    for path in summary["unused"]:
        words = "is no result on the test split of any of these runs' winners, and left out"
        print(f"reports: {path} {words}", file=sys.stderr)
    print(f"report: {write(summary, Path(given['output'] or 'report'))}")


if __name__ == "__main__":
    sys.exit(main())
