"""A generation: its children, how they go through its brackets, and the best of all."""

import functools
import itertools
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from search.constraints import Ranking
from search.evolution import LimitsUnreachable, Proposal, draw_child, propose
from search.fitting import fit
from search.hyperband import Bracket, Child, successive_halving
from search.known import Known
from search.space import Config, Space
from search.surrogate import Model
from search.trial import Job, Trial, canonical
from utils import derive_rng

Breed = Callable[[np.random.Generator], Proposal]
STARTS, ROUNDS = 4, 5  # of steps from the best proposals


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
    local_mutation: float = 0.0
    immigrants: float = 0.0
    proposals: int = 1
    default_first: bool = False  # child 0 is the space's default configuration
    seen: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.known = Known(self.space, self.ranking, self.cheap, self.run_seed)

    def draw(
        self, population: Sequence[Trial], count: int, model: Model | None = None
    ) -> list[Child]:
        """Children of the population as it stands, or samples of the space if there is none.

        Fewer than `count` if no new ones are to be found. InputError if no configuration is
        within the limits.
        """

        def breed(rng: np.random.Generator) -> Proposal:
            breeding = (self.ranking.key, self.tournament_size, self.mutation_rate, rng)
            more = (self.local_mutation, self.immigrants)
            return propose(self.space, population, *breeding, *more)

        children: list[Child] = []
        while len(children) < count:
            number = len(self.seen)
            rng = derive_rng(self.run_seed, "child", number)
            try:
                drawn = self._default(rng) if number == 0 else None
                drawn = drawn or self._draw(breed, rng)
                if model and drawn:
                    drawn = self._screened(drawn, breed, model, rng)
                    model = model.believing(drawn[0])
            except LimitsUnreachable as error:
                raise self.known.unreachable(error.nearest) from None
            if drawn is None:
                break
            self.seen.add(canonical(drawn[0]))
            children.append(Child(number, *drawn))
        return children

    def _default(self, rng: np.random.Generator) -> Proposal | None:
        """The default configuration, fitted to the limits, if it is asked for and can be."""
        if not self.default_first:
            return None
        violation = self.known.violation
        config = fit(self.space, self.space.default(), violation, rng)
        return (config, (), "default") if violation(config) <= 0 else None

    def _draw(self, breed: Breed, rng: np.random.Generator) -> Proposal | None:
        return draw_child(self.space, breed, self.known.violation, self.seen, rng)

    def _screened(
        self, first: Proposal, breed: Breed, model: Model, rng: np.random.Generator
    ) -> Proposal:
        """The best of `proposals` by the model: a sixth is bred, the rest are steps from the best.

        From several of these, for what they are worth has many local optima. Steps keep the
        parents and the operator of the proposal from which they began.
        """
        count = max(1, self.proposals // (1 + ROUNDS))
        bred = [first, *(self._draw(breed, rng) for _ in range(count - 1))]
        drawn = [proposal for proposal in bred if proposal]
        worth = model.worth([config for config, _, _ in drawn])
        places = np.argsort(-worth, kind="stable")[:STARTS]
        best = [drawn[place] for place in places]
        most = [worth[place] for place in places]
        ends = [(self.proposals - count) * i // ROUNDS for i in range(ROUNDS + 1)]
        for begin, end in itertools.pairwise(ends):
            climbers = [i % len(best) for i in range(end - begin)]
            steps = [self._draw(functools.partial(self._step, best[i]), rng) for i in climbers]
            taken = [(i, step) for i, step in zip(climbers, steps, strict=True) if step]
            values = model.worth([step[0] for _, step in taken]) if taken else np.array([])
            for (i, step), value in zip(taken, values, strict=True):
                if value > most[i]:
                    best[i], most[i] = step, value
        return best[int(np.argmax(most))]

    def _step(self, start: Proposal, rng: np.random.Generator) -> Proposal:
        return self.space.perturb(start[0], rng), start[1], start[2]


def halvings(
    brackets: Sequence[Bracket],
    children: Sequence[Child],
    generation: int,
    ranking: Ranking,
    model: Model | None = None,
) -> list[Generator[list[Job], list[Trial], None]]:
    """Hands the children to the brackets in order; each bracket then goes its own way.

    With a model, what it expects decides who goes on.
    """
    promising = model.promising if model else None
    sizes = [bracket.rungs[0].size for bracket in brackets]
    starts = itertools.accumulate(sizes, initial=0)
    return [
        successive_halving(
            bracket, children[start : start + count], generation, ranking.key, promising
        )
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


def baseline(trials: Sequence[Trial], epochs: int) -> Trial | None:
    """The space's default configuration, fully trained, if the search began with it."""
    done = (trial for trial in trials if trial.status == "ok" and trial.epochs == epochs)
    return next((trial for trial in done if trial.operator == "default"), None)


def total_charged(trials: Sequence[Trial]) -> int:
    """Epochs charged for the trials: per configuration, not per fold."""
    return sum(trial.charged for trial in trials)
