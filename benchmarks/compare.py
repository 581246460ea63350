"""Compares methods on problems from the literature, at equal epochs.

    python -m benchmarks.compare --seeds 3
    python -m benchmarks.compare --problems tune --methods random dehb --seeds 20 --jobs 2

A unit is a method on a problem with a seed, within the epochs of 100 full trainings. Each finished
unit is a line of benchmarks/data/compare.jsonl and is not repeated. The tables cover all requested
units: median and quartiles over the seeds of the regret after the epochs of 10, 25, 50 and 100
full trainings, and the average ranks. The regret is that of the noiseless objective of the
incumbent. The incumbent is the fully trained feasible configuration with the best measured
objective.

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
    """A search of the comparison."""

    problem: str
    method: str
    seed: int


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    given = arguments(argv)
    return command("compare.py", lambda: run(given), "interrupted; the same command continues")


def run(given: argparse.Namespace) -> int:
    """Runs the unfinished units, and prints the tables; 1 if a unit failed."""
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
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--problems", nargs="+", default=["claim"], help="names, or a half: tune, claim [claim]"
    )
    parser.add_argument(
        "--methods", nargs="+", default=baselines.METHODS, help=", ".join(baselines.METHODS)
    )
    parser.add_argument(
        "--seeds", type=int, default=3, help="number of seeds, from 0 [%(default)s]"
    )
    parser.add_argument("--jobs", type=int, default=1, help="parallel units [%(default)s]")
    parser.add_argument("--output", default=str(DATA), help="the file of units [%(default)s]")
    parser.add_argument("--against", help="a method: print on how many problems it beats others")
    parser.add_argument("--figure", help="file for a plot of the regrets, .svg or .png")
    return parser.parse_args(argv)


def chosen(given: argparse.Namespace) -> list[Unit]:
    """The requested units, seed by seed. InputError for an unknown problem."""
    if given.seeds < 1 or given.jobs < 1:
        raise InputError("--seeds and --jobs are whole numbers from 1")
    problems = named(given.problems)
    if given.against and given.against not in given.methods:
        hint = nearest(given.against, given.methods)
        raise InputError(f"--against {given.against!r} is not one of --methods{hint}")
    return [
        Unit(problem, method, seed)
        for seed in range(given.seeds)
        for problem in dict.fromkeys(problems)
        for method in dict.fromkeys(given.methods)
    ]


def append(data: Path, result: dict[str, Any]) -> None:
    """Appends a line; an earlier line that a crash cut off stays separate."""
    data.parent.mkdir(parents=True, exist_ok=True)
    with data.open("a+b") as file:
        if file.tell() and data.read_bytes()[-1:] != b"\n":
            file.write(b"\n")
        file.write(json.dumps(result, allow_nan=False).encode() + b"\n")


def finished(data: Path) -> dict[Unit, dict[str, Any]]:
    """The lines of a file of units; damaged ones are left out."""
    lines = {}
    for text in data.read_text(encoding="utf-8").splitlines() if data.exists() else []:
        try:
            line = json.loads(text)
            lines[Unit(line["problem"], line["method"], line["seed"])] = line
        except (ValueError, KeyError):
            print(f"{data}: a damaged line is left out", file=sys.stderr)
    return lines


def results(units: Sequence[Unit], jobs: int) -> Iterator[dict[str, Any] | None]:
    """The results as they finish, `jobs` at a time, in spawned processes if `jobs` > 1."""
    if jobs == 1:
        yield from map(measure, units)
        return
    # ProcessPoolExecutor with max_tasks_per_child hangs in Python 3.11 once all have reached it.
    with get_context("spawn").Pool(jobs, maxtasksperchild=20) as pool:
        yield from pool.imap_unordered(measure, units)


def measure(unit: Unit) -> dict[str, Any] | None:
    """Runs a unit; None if it was interrupted, such as by a signal; `error` if a package failed.

    `path` holds [epochs charged, regret] at each change of the incumbent.
    """
    problem, started = PROBLEMS[unit.problem](), time.monotonic()
    try:
        result = baselines.run(unit.method, problem, unit.seed, BUDGETS[-1] * problem.epochs)
    except Exception as error:  # of one of a dozen packages: the other units continue
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
        "fully_trained": sum(trial.fully_trained(problem.epochs) for trial in trials),
        "seconds": round(time.monotonic() - started, 1),
        "versions": {
            name: metadata.version(name) for name in PACKAGES if baselines.installed(name)
        },
    }


if __name__ == "__main__":
    baselines.fix_set_order()
    sys.exit(main())
