"""Methods side by side on problems of the literature, at equal epochs.

    python -m benchmarks.compare --seeds 3
    python -m benchmarks.compare --problems tune --methods random dehb --seeds 20 --jobs 2

A unit is a method on a problem with a seed, within the epochs of 100 full trainings. Each finished
unit is a line of benchmarks/data/compare.jsonl and is not done again. Then the table of all units
asked for: median and quartiles over the seeds of the regret after 10, 25, 50 and 100 full
trainings' worth of epochs, and the average ranks. The regret is that of the noiseless objective of
the incumbent, which is the best feasible configuration trained in full, as it was measured.

Runs in the environment of requirements-peers.txt; our own methods need requirements.txt only.
"""

import argparse
import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from importlib import metadata
from multiprocessing import get_context
from pathlib import Path
from typing import Any, NamedTuple

import baselines
from benchmarks.compare_tables import BUDGETS, figure, pairwise_wins, regret_path, tables
from benchmarks.problems.literature import PROBLEMS, named
from engine.cli.command import command
from engine.cli.stopping import RESUMABLE
from search.generation import total_cost_epochs
from utils import InputError, nearest

DATA = Path(__file__).resolve().parent / "data" / "compare.jsonl"
PEERS = sorted({package for *_, package in baselines.PEERS.values() if package})
PACKAGES = (*PEERS, "ConfigSpace", "numpy", "scipy", "scikit-learn")


class Unit(NamedTuple):
    """What is done in one go."""

    problem: str
    method: str
    seed: int


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    given = arguments(argv)
    return command("compare.py", lambda: run(given), "interrupted; the same command goes on")


def run(given: argparse.Namespace) -> int:
    """Does what is left, and prints the tables; 1 if a unit failed."""
    units, data = chosen(given), Path(given.output)
    known = finished(data)
    left = [unit for unit in units if unit not in known]
    for method in dict.fromkeys(unit.method for unit in left):
        baselines.check(method)
    failed = 0
    for result in results(left, given.jobs):
        if result is None:
            raise KeyboardInterrupt
        if "error" in result:
            failed += 1
            print("{problem}, {method}, seed {seed}: {error}".format(**result), file=sys.stderr)
            continue
        append(data, result)
        at_end = result["path"][-1][1] if result["path"] else None
        words = result["problem"], result["method"], result["seed"], result["seconds"], at_end
        print("{}, {}, seed {}: {:.0f} s, regret {}".format(*words), file=sys.stderr)
    wanted = set(units)
    done = [line for unit, line in finished(data).items() if unit in wanted]
    print(tables(done))
    if given.against:
        print(f"\nProblems, by median regret:\n\n{pairwise_wins(done, given.against)}")
    if given.figure:
        figure(done, Path(given.figure))
    return 1 if failed else 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """What was given on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--problems", nargs="+", default=["claim"], help="names, or a half: tune, claim [claim]"
    )
    parser.add_argument(
        "--methods", nargs="+", default=baselines.METHODS, help=", ".join(baselines.METHODS)
    )
    parser.add_argument("--seeds", type=int, default=3, help="seeds 0 to one less [%(default)s]")
    parser.add_argument("--jobs", type=int, default=1, help="units at a time [%(default)s]")
    parser.add_argument("--output", default=str(DATA), help="the file of units [%(default)s]")
    parser.add_argument("--against", help="a method: on how many problems it beats the others")
    parser.add_argument("--figure", help="a drawing of the regrets, as .svg or .png")
    return parser.parse_args(argv)


def chosen(given: argparse.Namespace) -> list[Unit]:
    """The units asked for, seed by seed. InputError for an unknown problem."""
    if given.seeds < 1 or given.jobs < 1:
        raise InputError("--seeds and --jobs are whole numbers from 1")
    problems = named(given.problems)
    if given.against and given.against not in given.methods:
        hint = nearest(given.against, given.methods)
        raise InputError(f"--against {given.against!r} is none of --methods{hint}")
    return [
        Unit(problem, method, seed)
        for seed in range(given.seeds)
        for problem in dict.fromkeys(problems)
        for method in dict.fromkeys(given.methods)
    ]


def append(data: Path, result: dict[str, Any]) -> None:
    """Adds a line; one that a crash cut off before stays a line of its own."""
    data.parent.mkdir(parents=True, exist_ok=True)
    with data.open("a+b") as file:
        if file.tell() and data.read_bytes()[-1:] != b"\n":
            file.write(b"\n")
        file.write(json.dumps(result, allow_nan=False).encode() + b"\n")


def finished(data: Path) -> dict[Unit, dict[str, Any]]:
    """The lines of a file of units; one that was cut off by a crash is left out."""
    lines = {}
    for text in data.read_text(encoding="utf-8").splitlines() if data.exists() else []:
        try:
            line = json.loads(text)
            lines[Unit(line["problem"], line["method"], line["seed"])] = line
        except (ValueError, KeyError):
            print(f"{data}: a damaged line is left out", file=sys.stderr)
    return lines


def results(units: Sequence[Unit], jobs: int) -> Iterator[dict[str, Any] | None]:
    """The results as they come, `jobs` at a time, each in a fresh process if there are more."""
    if jobs == 1:
        yield from map(measure, units)
        return
    # ProcessPoolExecutor with max_tasks_per_child hangs in Python 3.11 once all have reached it.
    with get_context("spawn").Pool(jobs, maxtasksperchild=20) as pool:
        yield from pool.imap_unordered(measure, units)


def measure(unit: Unit) -> dict[str, Any] | None:
    """Runs a unit; None if it was cut off, by a signal for instance; `error` if a package failed.

    `path` holds [epochs charged, regret] wherever the incumbent changed.
    """
    problem, started = PROBLEMS[unit.problem](), time.monotonic()
    try:
        result = baselines.run(unit.method, problem, unit.seed, BUDGETS[-1] * problem.epochs)
    except Exception as error:  # of one of a dozen packages: the other units go on
        return {**unit._asdict(), "error": f"{type(error).__name__}: {error}"}
    if result.reason in RESUMABLE:
        return None
    trials = result.trials
    path = [
        [epochs, None if math.isinf(regret) else regret]
        for epochs, regret in regret_path(trials, problem)
    ]
    return {
        "v": 1,
        **unit._asdict(),
        "full_epochs": problem.epochs,
        "path": path,
        "charged": total_cost_epochs(trials),
        "configurations": len({trial.trial for trial in trials}),
        "fully_trained": sum(trial.epochs == problem.epochs for trial in trials),
        "seconds": round(time.monotonic() - started, 1),
        "versions": {
            name: metadata.version(name) for name in PACKAGES if baselines.installed(name)
        },
    }


if __name__ == "__main__":
    baselines.fix_set_order()
    sys.exit(main())
