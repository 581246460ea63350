"""Hyperband's brackets and rungs in integers, and successive halving within one bracket.

Li, Jamieson, DeSalvo, Rostamizadeh and Talwalkar, "Hyperband: A Novel Bandit-Based Approach to
Hyperparameter Optimization", JMLR 18 (2018), algorithm 1. R is `epochs`, the smallest budget
`min_epochs`, eta an integer.
"""

from collections.abc import Callable, Generator, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from search.trial import Job, Trial

# (successful trials of a rung, all trials of its bracket so far) -> the former, best first
Promotion = Callable[[Sequence[Trial], Sequence[Trial]], list[Trial]]


class Rung(NamedTuple):
    """A rung of a bracket."""

    size: int  # children
    epochs: int  # that they reach in total
    run: int  # how many of them the remaining epochs allow: the first, later the best


@dataclass(frozen=True)
class Bracket:
    """A series of rungs; the last one of a full bracket trains in full.

    s: the number of halvings.
    """

    s: int
    rungs: tuple[Rung, ...]


@dataclass(frozen=True)
class Child:
    """A configuration on its way through a bracket."""

    trial: int
    config: dict[str, Any]
    parents: tuple[int, ...] = ()
    operator: str = "sample"


def plain_bracket(size: int, epochs: int) -> Bracket:
    """No halving: `size` children, trained in full at once."""
    return Bracket(0, (Rung(size, epochs, size),))


def hyperband_brackets(epochs: int, min_epochs: int, eta: int) -> list[Bracket]:
    """All brackets of one round, the one with most halvings first.

    s_max is the largest s with eta^s * min_epochs <= epochs, computed in integers: in floats,
    floor(log(243) / log(3)) is 4. Bracket s starts with ceil((s_max + 1) / (s + 1) * eta^s)
    children at epochs // eta^s. Rung i keeps a share of 1 / eta^i of them, at least one, at
    epochs // eta^(s - i).
    """
    s_max = 0
    while eta ** (s_max + 1) * min_epochs <= epochs:
        s_max += 1
    brackets = []
    for s in range(s_max, -1, -1):
        children = -(-(s_max + 1) * eta**s // (s + 1))
        sizes = [max(1, children // eta**i) for i in range(s + 1)]
        brackets.append(
            Bracket(s, tuple(Rung(n, epochs // eta ** (s - i), n) for i, n in enumerate(sizes)))
        )
    return brackets


def budget_levels(epochs: int, min_epochs: int, eta: int) -> list[int]:
    """The epochs of the rungs, ascending: 50, 3, 2 -> 3, 6, 12, 25, 50."""
    return [rung.epochs for rung in hyperband_brackets(epochs, min_epochs, eta)[0].rungs]


def total_epochs(brackets: Sequence[Bracket]) -> int:
    """Epochs charged for all rungs of the brackets, as far as they run."""
    return sum(
        rung.run * (rung.epochs - before)
        for bracket in brackets
        for rung, before in zip(
            bracket.rungs, [0, *(rung.epochs for rung in bracket.rungs)], strict=False
        )
    )


def shrink(brackets: Sequence[Bracket], children: int) -> list[Bracket]:
    """The brackets for this number of children, which fill the brackets in order."""
    shrunk = []
    for bracket in brackets:
        available = min(bracket.rungs[0].size, children)
        children -= available
        if available:
            sizes = [min(rung.size, available) for rung in bracket.rungs]
            rungs = (Rung(n, r.epochs, n) for n, r in zip(sizes, bracket.rungs, strict=True))
            shrunk.append(Bracket(bracket.s, tuple(rungs)))
    return shrunk


def cut(brackets: Sequence[Bracket], epochs_left: int) -> tuple[list[Bracket], bool]:
    """Cuts the order of jobs (rung, bracket, trial id or rank) at the remaining epochs.

    Sizes of rungs do not depend on results, so the cut is known before the first job of a
    generation. Returns the brackets with `Rung.run` reduced, and whether anything was cut.
    """
    rungs = [[rung._replace(run=0) for rung in bracket.rungs] for bracket in brackets]
    for level in range(max(map(len, rungs), default=0)):
        for row in rungs:
            if level >= len(row):
                continue
            charge = row[level].epochs - (row[level - 1].epochs if level else 0)
            run = min(row[level].size, epochs_left // charge)
            row[level], epochs_left = row[level]._replace(run=run), epochs_left - run * charge
            if run < row[level].size:
                pairs = zip(brackets, rungs, strict=True)
                return [Bracket(bracket.s, tuple(row)) for bracket, row in pairs], True
    return list(brackets), False


def continuation(
    trials: Sequence[Trial], epochs: int, budget: int, generation: int, key: Callable[[Trial], Any]
) -> Generator[list[Job], list[Trial], None]:
    """Fully trains trials that were not promoted: those trained longest first, then by `key`.

    As many as `budget` epochs allow.
    """
    last = {trial.trial: trial for trial in sorted(trials, key=lambda trial: trial.epochs)}
    dropped = [one for one in last.values() if one.status == "ok" and one.epochs < epochs]
    jobs = []
    for one in sorted(dropped, key=lambda trial: (-trial.epochs, key(trial))):
        cost_epochs = epochs - one.epochs
        if cost_epochs <= budget:
            budget -= cost_epochs
            place = one.trial, generation, 0, 0, epochs, cost_epochs
            jobs.append(Job(*place, one.config, one.parents, one.operator))
    if jobs:
        yield sorted(jobs, key=lambda job: job.trial)


def successive_halving(
    bracket: Bracket, children: Sequence[Child], generation: int, rank: Promotion
) -> Generator[list[Job], list[Trial], None]:
    """Yields the jobs of each rung, by trial id, and receives their trials.

    The first trials of `rank(rung, bracket)` are promoted. rung: its successful trials. bracket:
    all trials of the bracket so far.

    Failed and diverged children are never promoted; the next best take their places.
    """
    alive, done = {child.trial: child for child in children}, 0  # best first
    so_far: list[Trial] = []
    for position, rung in enumerate(bracket.rungs):
        runnable = [alive[number] for number in sorted([*alive][: rung.run])]
        if not runnable:
            return
        place = generation, bracket.s, position, rung.epochs, rung.epochs - done
        trials = yield [Job(c.trial, *place, c.config, c.parents, c.operator) for c in runnable]
        if position + 1 < len(bracket.rungs):
            so_far += trials
            ranked = rank([trial for trial in trials if trial.status == "ok"], so_far)
            promoted = ranked[: bracket.rungs[position + 1].size]
            alive = {trial.trial: alive[trial.trial] for trial in promoted}
            done = rung.epochs
