"""A generation: its children in brackets; the incumbent, the baseline and the total cost."""

import itertools
from collections.abc import Generator, Sequence

from search.constraints import Ranking
from search.hyperband import Bracket, Child, Promotion, successive_halving
from search.trial import Job, Trial


def size(brackets: Sequence[Bracket]) -> int:
    """The number of children in the first rungs of the brackets."""
    return sum(bracket.rungs[0].size for bracket in brackets)


def halvings(
    brackets: Sequence[Bracket], children: Sequence[Child], generation: int, rank: Promotion
) -> list[Generator[list[Job], list[Trial], None]]:
    """Assigns the children to the brackets in order; one generator per bracket."""
    ready = iter(children)
    sizes = [bracket.rungs[0].size for bracket in brackets]
    return [
        successive_halving(bracket, [*itertools.islice(ready, count)], generation, rank)
        for bracket, count in zip(brackets, sizes, strict=True)
    ]


def incumbent(trials: Sequence[Trial], ranking: Ranking) -> Trial | None:
    """The best fully trained trial of a journal.

    If there is none, the best of those trained longest.
    """
    succeeded = [trial for trial in trials if trial.status == "ok"]
    most = max((trial.epochs for trial in succeeded), default=0)
    return min(
        (trial for trial in succeeded if trial.epochs == most), key=ranking.key, default=None
    )


def baseline(trials: Sequence[Trial], epochs: int) -> Trial | None:
    """The space's default configuration, fully trained, if the search began with it."""
    done = (trial for trial in trials if trial.fully_trained(epochs))
    return next((trial for trial in done if trial.operator == "default"), None)


def total_cost_epochs(trials: Sequence[Trial]) -> int:
    """Epochs charged for the trials: per configuration, not per fold."""
    return sum(trial.cost_epochs for trial in trials)
