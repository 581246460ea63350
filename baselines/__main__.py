"""A search on images by a third-party method, instead of `python optimizer.py`.

    python -m baselines dehb --seed 123 --max_total_epochs 800

Takes the flags of optimizer.py and writes the same run folder; --resume replays the journal and
continues. It trains in this process, one network at a time: flags of workers and of the methods
of optimizer.py have no effect.
"""

import functools
import sys
from collections.abc import Sequence
from typing import Any

import baselines
import optimizer
from engine.cli.command import command
from engine.cli.settings import Settings
from evaluation.metrics import SHARES
from search.space import Space
from utils import InputError, nearest


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    words = "interrupted; continue with --resume"
    return command("baselines", lambda: run(argv), words, optimizer.KEPT)


def run(argv: Sequence[str] | None) -> int:
    """Reads the command line and searches."""
    parser = optimizer.parser(__doc__)
    parser.prog, parser.usage = "python -m baselines", "%(prog)s METHOD [flags]"
    parser.add_argument("method", metavar="METHOD", help=", ".join(baselines.PEERS))
    given = parser.parse_strictly(argv)
    method = given.pop("method")
    baselines.check(method, baselines.PEERS)
    return optimizer.run(given, functools.partial(searching, method), method)


def searching(
    method: str, folder: Any, space: Space, target: Any, settings: Settings, *rest: Any
) -> optimizer.Result:
    """Searches with a method; the objective must have the range 0 to 1."""
    metric = settings.ranking().metric
    if metric not in SHARES:  # the penalty needs a largest value
        raise InputError(
            f"objective {settings.objective!r}: allowed is one of {', '.join(SHARES)}"
            f"{nearest(metric, SHARES)}"
        )
    return baselines.search_in(method, (0.0, 1.0), folder, space, target, settings, *rest)


if __name__ == "__main__":
    baselines.fix_set_order()
    sys.exit(main())
