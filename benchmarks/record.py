"""Records learning curves: the material of the simulated target (benchmarks/simulator.py).

    python -m benchmarks.record --configurations 200 --jobs 2
    python -m benchmarks.record --pack

Trains configurations of configs/space.json over three folds for 50 epochs on the real images,
measured after every epoch. They are drawn in rounds of 20, of at most --max_macs multiply-adds:
8 at random, and 12 children, by the operators of the search, of the better half of what the
rounds before have recorded within a limit on parameters, which takes turns (1e5, 3e5, 1e6): so the
record holds what random search and what evolution meets at each limit. The first round is
random. What is drawn depends on the seed and the curves alone, not on the number of workers.

Each finished configuration is a line of the work file, a journal (search/trial.py), and is not
trained again; after each round and at the end, also after Ctrl-C, the work file is packed
(benchmarks/curves.py). --pack only does that.
"""

import argparse
import math
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, as_completed
from pathlib import Path
from typing import Any

from benchmarks.curves import PACKED, pack
from engine.command import command
from engine.executor import evaluate
from engine.journal import Journal, read_trials
from engine.pool import ProcessPool
from search.constraints import Constraint, Ranking, total_violation
from search.evolution import draw_child, propose
from search.space import Space
from search.trial import Job, Trial, canonical, evaluation_seed
from target import ImageTarget, cross_validation
from utils import InputError, derive_rng
from vision.data import open_data, open_train

ROUND, RANDOM = 20, 8  # configurations of a round, and how many of them are drawn at random
SIZE_LIMITS = (1e5, 3e5, 1e6)  # parameters, a limit a round
FOLDS = 3


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    given = arguments(argv)
    return command("record.py", lambda: run(given), "interrupted; the same command goes on")


def run(given: argparse.Namespace) -> None:
    """Records what is left to record, and packs, whatever ended it."""
    work, packed = Path(given.work), Path(given.output)
    try:
        if not given.pack:
            record(given, work, packed)
    finally:
        if work.exists():
            print(f"{packed}: {pack(read_trials(work)[0], packed)} configurations", flush=True)


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """What was given on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--configurations", type=int, default=200, help="[%(default)s]")
    parser.add_argument("--max_macs", type=float, default=4e6, help="[%(default)g]")
    parser.add_argument("--epochs", type=int, default=50, help="[%(default)s]")
    parser.add_argument("--seed", type=int, default=123, help="[%(default)s]")
    parser.add_argument("--jobs", type=int, default=2, help="trainings at a time [%(default)s]")
    parser.add_argument("--dataset", default="flowers17", help="[%(default)s]")
    parser.add_argument("--pack", action="store_true", help="train nothing")
    work = PACKED.with_suffix(".jsonl")
    parser.add_argument("--work", default=str(work), help="the work file [%(default)s]")
    parser.add_argument("--output", default=str(PACKED), help="the packed file [%(default)s]")
    return parser.parse_args(argv)


def record(given: argparse.Namespace, work: Path, packed: Path) -> None:
    """Trains, round by round, what the work file does not hold."""
    space = Space.load(Path(__file__).resolve().parent.parent / "configs" / "space.json")
    source = open_data(given.dataset)
    points = range(1, given.epochs + 1)
    target = cross_validation(
        open_train(source)[0], source.num_classes, FOLDS, given.seed, curve_epochs=points
    )
    work.parent.mkdir(parents=True, exist_ok=True)
    pool = ProcessPool(target, given.jobs, math.inf, 10**12)
    journal = Journal(work)
    try:
        for first in range(0, given.configurations, ROUND):
            jobs = draw(space, target, given, journal.trials, first)
            for trial in results(pool, jobs[: given.configurations - first], journal, given.seed):
                journal.append(trial)
                words = trial.trial, trial.operator, trial.metrics.get("top3"), trial.status
                print("{}, {}: top3 {}, {}".format(*words), flush=True)
            pack(read_trials(work)[0], packed)
    finally:
        pool.shutdown()
        journal.close()


def draw(
    space: Space,
    target: ImageTarget,
    given: argparse.Namespace,
    recorded: Sequence[Trial],
    first: int,
) -> list[Job]:
    """The round that begins with that number, from the trials of the rounds before it."""
    before = sorted((t for t in recorded if t.trial < first), key=lambda trial: trial.trial)
    limit = SIZE_LIMITS[first // ROUND % len(SIZE_LIMITS)]
    cheapness = Constraint("macs", "<=", given.max_macs)
    size = Constraint("num_params", "<=", limit)
    ranking = Ranking.parse("maximize top3", [str(size)])
    within = sorted(filter(ranking.feasible, before), key=ranking.key)
    parents = within[: math.ceil(len(within) / 2)]
    seen = {canonical(trial.config) for trial in before}
    jobs = []
    for number in range(first, first + ROUND):
        child = parents and number >= first + RANDOM
        rng = derive_rng(given.seed, "record", number)
        proposal = draw_child(
            space,
            _proposals(space, parents if child else [], ranking),
            _violation(target, [cheapness, size] if child else [cheapness]),
            seen,
            rng,
        )
        if proposal is None:
            raise InputError(f"no new configuration of {given.max_macs:g} multiply-adds is left")
        config, ids, operator = proposal
        seen.add(canonical(config))
        epochs = given.epochs
        jobs.append(Job(number, first // ROUND, 0, 0, epochs, epochs, config, ids, operator))
    return jobs


def _proposals(space: Space, parents: Sequence[Trial], ranking: Ranking) -> Callable[..., Any]:
    return lambda rng: propose(space, parents, ranking.key, 2, 0.5, rng)


def _violation(target: ImageTarget, limits: Sequence[Constraint]) -> Callable[..., float]:
    return lambda config: total_violation(limits, target.cheap(config))


def results(
    pool: ProcessPool, jobs: Sequence[Job], journal: Journal, seed: int
) -> Iterator[Trial]:
    """The trials of the jobs that the journal does not hold, as they come."""
    futures: dict[Future, Job] = {}
    for job in jobs:
        found = journal.find(job)
        if found is None:
            seed_of_job = evaluation_seed(seed, job.config)
            futures[pool.submit(evaluate, job, seed_of_job, None, None)] = job
    for future in as_completed(futures):
        outcome = future.result()
        outcome.pop("traceback", None)
        yield Trial(**vars(futures[future]), **outcome)


if __name__ == "__main__":
    sys.exit(main())
