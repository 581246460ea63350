"""Compares promotion by the model's prediction with promotion by measured results.

    python -m benchmarks.promotion --problems claim --seeds 3

Whenever `guided` promotes at a rung, its trials are ordered both ways. For the first half of each
order, the table has the mean rank by true final result (0 is the best of the rung, 1 the worst,
0.5 chance), over all rungs of all seeds. Feasible results rank before infeasible ones.
"""

import argparse
import sys
from collections.abc import Sequence
from unittest import mock

import numpy as np

import baselines
from benchmarks.problems.base import Problem
from benchmarks.problems.literature import PROBLEMS, named
from engine.cli.command import command
from search.guided import GuidedSampler
from search.offspring import OffspringSampler
from search.trial import Trial

TRAININGS = 100  # budget of each search, in full trainings


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", nargs="+", default=["claim"], help="names, tune, claim")
    parser.add_argument(
        "--seeds", type=int, default=3, help="number of seeds, from 0 [%(default)s]"
    )
    given = parser.parse_args(argv)
    return command("promotion.py", lambda: run(named(given.problems), given.seeds))


def run(names: Sequence[str], seeds: int) -> None:
    """Prints a line for each problem with more than one rung."""
    print("| problem | rungs | predicted | measured |\n| --- | --- | --- | --- |", flush=True)
    for name in names:
        problem = PROBLEMS[name]()
        if problem.epochs > problem.min_epochs:
            ranks = np.array([row for seed in range(seeds) for row in promoted(problem, seed)])
            predicted, measured = ranks.mean(axis=0)
            print(f"| {name} | {len(ranks)} | {predicted:.3f} | {measured:.3f} |", flush=True)


def promoted(problem: Problem, seed: int) -> list[tuple[float, float]]:
    """The mean final rank of promoted trials at each rung of a search: (predicted, measured)."""
    rows = []
    predict = GuidedSampler.rank_for_promotion

    def watched(
        self: GuidedSampler, rung: Sequence[Trial], bracket: Sequence[Trial]
    ) -> list[Trial]:
        by_model = predict(self, rung, bracket)
        if self.model and len(rung) > 1:
            measured = OffspringSampler.rank_for_promotion(self, rung, bracket)
            rows.append((mean_rank(by_model, problem), mean_rank(measured, problem)))
        return by_model

    with mock.patch.object(GuidedSampler, "rank_for_promotion", watched):
        baselines.run("guided", problem, seed, TRAININGS * problem.epochs)
    return rows


def mean_rank(ordered: Sequence[Trial], problem: Problem) -> float:
    """The mean rank of the first half by true final result, 0 to 1."""
    by_end = sorted(ordered, key=lambda trial: problem.end(trial.config))
    truly = {trial.trial: place for place, trial in enumerate(by_end)}
    first = ordered[: max(1, len(ordered) // 2)]
    return float(np.mean([truly[trial.trial] for trial in first]) / (len(ordered) - 1))


if __name__ == "__main__":
    sys.exit(main())
