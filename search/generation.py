"""A generation: its brackets, its children, and how the children go through the brackets."""

import itertools
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from search.constraints import Constraint, Ranking, total_violation
from search.evolution import draw_child, propose
from search.hyperband import Bracket, Child, hyperband_brackets, plain_bracket, successive_halving
from search.space import Config, Space
from search.trial import Job, Trial, canonical
from utils import derive_rng


def plan(
    generation: int,
    *,
    hyperband: bool,
    pop_size: int,
    num_children: int,
    epochs: int,
    min_epochs: int,
    eta: int,
) -> list[Bracket]:
    """The brackets of a generation; generation 0 is the initial population, trained in full."""
    if generation == 0:
        return [plain_bracket(pop_size, epochs)]
    return (
        hyperband_brackets(epochs, min_epochs, eta)
        if hyperband
        else [plain_bracket(num_children, epochs)]
    )


def size(brackets: Sequence[Bracket]) -> int:
    """How many children the brackets take in."""
    return sum(bracket.rungs[0].size for bracket in brackets)


@dataclass
class Nursery:
    """Draws children: new in this run, and within the limits that are known before training.

    `seen` holds the canonical configuration of every child ever drawn, also of those that were
    dropped; the next child's trial id is their number, and its generator derives from the run's
    seed and that id alone.
    """

    space: Space
    ranking: Ranking
    cheap: Callable[[Config], Mapping[str, Any]]
    run_seed: int
    tournament_size: int = 2
    mutation_rate: float = 0.5
    limits: tuple[Constraint, ...] = ()
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.limits = self.ranking.cheap(self.cheap(self.space.default()))

    def draw(self, population: Sequence[Trial], count: int) -> list[Child]:
        """Children of the population as it stands, or samples if there is none.

        Fewer if no new ones are to be found.

        LimitsUnreachable if no configuration is within the cheap limits.
        """
        children: list[Child] = []
        while len(children) < count:
            number = len(self.seen)
            drawn = draw_child(
                self.space,
                lambda rng: propose(
                    self.space,
                    population,
                    self.ranking.key,
                    self.tournament_size,
                    self.mutation_rate,
                    rng,
                ),
                self.violation,
                self.seen,
                derive_rng(self.run_seed, "child", number),
            )
            if drawn is None:
                break
            self.seen.add(canonical(drawn[0]))
            children.append(Child(number, *drawn))
        return children

    def violation(self, config: Config) -> float:
        """Of the limits that are known before training."""
        return total_violation(self.limits, self.cheap(config))


def halvings(
    brackets: Sequence[Bracket], children: Sequence[Child], generation: int, ranking: Ranking
) -> list[Generator[list[Job], list[Trial], None]]:
    """Hands the children to the brackets in order; each bracket then goes its own way."""
    sizes = [bracket.rungs[0].size for bracket in brackets]
    starts = itertools.accumulate(sizes, initial=0)
    return [
        successive_halving(bracket, children[start : start + count], generation, ranking.key)
        for bracket, start, count in zip(brackets, starts, sizes, strict=False)
    ]


def incumbent(trials: Sequence[Trial], ranking: Ranking) -> Trial | None:
    """The best fully trained trial of a journal.

    Before there is one, the best of those trained the longest.
    """
    succeeded = [trial for trial in trials if trial.status == "ok"]
    most = max((trial.epochs for trial in succeeded), default=0)
    return min(
        (trial for trial in succeeded if trial.epochs == most), key=ranking.key, default=None
    )
