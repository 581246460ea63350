"""Hyperband's guarantee, where early ranks mislead.

    python -m benchmarks.guarantee --seeds 20 --trainings 20

The last of Hyperband's s_max + 1 brackets, s = 0, trains each of its configurations in full: it is
random search (Li et al., JMLR 18(185), 2018, section 3). No bracket is given more epochs than it.
So with s_max + 1 times the epochs of a random search, that bracket alone trains as many random
configurations in full (to the round, which is s_max + 1 of them), and however wrong early ranks
are, Hyperband is no worse: what they cost is a factor of s_max + 1 at most. This holds for
distributions, not for each pair of runs.

Both methods run on each problem with each seed. The table has the correlation of the ranks at the
first rung with those of full trainings, for random configurations; the regret (see
benchmarks/compare.py; a dash where nothing was feasible) of random search with the epochs of
`--trainings` full ones, of plain Hyperband with s_max + 1 times as many, and of its bracket s = 0
alone; and in which brackets the winners of Hyperband were. The exit code is 1 if Hyperband's
median is worse.
"""

import argparse
import math
import sys
from collections import Counter
from collections.abc import Sequence

import numpy as np

import baselines
from benchmarks.compare_tables import cell, quartiles, regret_path
from benchmarks.problems import Problem, by_name
from engine.command import command
from search.generation import Nursery, incumbent
from search.hyperband import Bracket, hyperband_brackets
from search.trial import Trial
from utils import InputError

# Configurations that win late learn slowly (crossing), are further from feasible at first than
# those that will never be (late), or are large and both (widths).
MISLEADING = ("crossing", "late", "widths")
SAMPLES = 1000  # configurations behind a correlation
HEAD = """\
| problem | early ranks | random search | brackets | Hyperband | its bracket s = 0 alone | \
winners, by bracket | no worse |
| --- | --- | --- | --- | --- | --- | --- | --- |"""


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    given = arguments(argv)
    return command("guarantee.py", lambda: run(given))


def run(given: argparse.Namespace) -> int:
    """Prints a row for each problem as it is done; 1 if the guarantee fails on one."""
    if given.seeds < 1 or given.trainings < 1:
        raise InputError("--seeds and --trainings are whole numbers from 1")
    problems = [by_name(name) for name in dict.fromkeys(given.problems)]
    print(f"Regret, median [quartiles] of {given.seeds} seeds; epochs of random search: those of")
    print(f"{given.trainings} full trainings; of Hyperband: as many for each bracket.\n\n{HEAD}")
    held = [holds(problem, given.seeds, given.trainings) for problem in problems]
    return 0 if all(held) else 1


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """What was given on the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--problems", nargs="+", default=MISLEADING, help=" ".join(MISLEADING))
    parser.add_argument("--seeds", type=int, default=20, help="0 to one less [%(default)s]")
    parser.add_argument(
        "--trainings", type=int, default=20, help="in full, by random search [%(default)s]"
    )
    return parser.parse_args(argv)


def holds(problem: Problem, seeds: int, trainings: int) -> bool:
    """Runs both methods and prints the row; whether Hyperband's median is no worse."""
    eta = baselines.settings_of("hyperband", problem, 0, 1).eta
    brackets = hyperband_brackets(problem.epochs, problem.min_epochs, eta)
    budget = trainings * problem.epochs
    random, banded, alone = [], [], []
    winners: Counter[int] = Counter()
    for seed in range(seeds):
        random.append(regret(baselines.run("random", problem, seed, budget).trials, problem))
        trials = baselines.run("hyperband", problem, seed, len(brackets) * budget).trials
        banded.append(regret(trials, problem))
        alone.append(regret([trial for trial in trials if trial.bracket == 0], problem))
        if not math.isinf(banded[-1]):
            winners[incumbent(trials, problem.ranking).bracket] += 1
    no_worse = quartiles(banded)[1] <= quartiles(random)[1]
    where = ", ".join(f"{told(b)}: {winners[b.s]}" for b in brackets[::-1] if winners[b.s])
    cells = [problem.name, f"{early_ranks(problem, brackets[0].rungs[0].epochs):.2f}"]
    cells += [cell(random), str(len(brackets)), cell(banded), cell(alone)]
    print(f"| {' | '.join([*cells, where or '-', 'yes' if no_worse else 'NO'])} |", flush=True)
    return no_worse


def told(bracket: Bracket) -> str:
    """How a bracket begins: 's = 0 (5 from 50 epochs)'."""
    first = bracket.rungs[0]
    return f"s = {bracket.s} ({first.size} from {first.epochs} epochs)"


def regret(trials: Sequence[Trial], problem: Problem) -> float:
    """At the end, as benchmarks/compare.py has it; infinite if nothing was feasible."""
    path = regret_path(trials, problem)
    return path[-1][1] if path else math.inf


def early_ranks(problem: Problem, epochs: int) -> float:
    """Spearman's correlation of the ranks after so many epochs with those of full trainings.

    Of random configurations within the limits that are known before training.
    """
    children = Nursery(problem.space, problem.ranking, problem.cheap, 0).draw([], SAMPLES)

    def ranks(reached: int) -> np.ndarray:
        measured = (
            Trial(
                i, 0, 0, 0, reached, reached, config, metrics=problem.evaluate(config, reached, i)
            )
            for i, config in enumerate(child.config for child in children)
        )
        return np.argsort([trial.trial for trial in sorted(measured, key=problem.ranking.key)])

    return float(np.corrcoef(ranks(epochs), ranks(problem.epochs))[0, 1])


if __name__ == "__main__":
    sys.exit(main())
