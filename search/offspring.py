"""The published sampler: children by evolution, and promotion by measured results."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from search.constraints import Ranking
from search.evolution import LimitsUnreachable, Proposal, Variation, draw_child
from search.fitting import fitted
from search.hyperband import Child
from search.known import StaticLimits
from search.space import Config, Space
from search.trial import Trial, canonical
from utils import derive_rng

STEPS_FROM_DEFAULT = 3  # to a child near it


class OffspringSampler:
    """Draws children that are new in this run and meet the static constraints.

    `seen` holds the canonical configuration of every child ever drawn, including dropped ones. The
    next child's trial id is the size of `seen`, and its generator derives from the run's seed and
    that id alone.
    """

    near_default = 0.5

    def __init__(
        self,
        space: Space,
        ranking: Ranking,
        static_metrics: Callable[[Config], Mapping[str, Any]],
        run_seed: int,
        variation: Variation,
        default_first: bool = False,
    ):
        """default_first: child 0 is the space's default, fitted to the static constraints.

        A share `near_default` of the rest of the first population is then a few steps from it.
        """
        self.space, self.ranking, self.run_seed = space, ranking, run_seed
        self.variation, self.default_first = variation, default_first
        self.default: Config | None = None  # the fitted default, once it is drawn
        self.known = StaticLimits(space, ranking, static_metrics, run_seed)
        self.seen: set[str] = set()
        # Of earlier sessions: children by trial id, which are not drawn anew, and the epochs that
        # they reached, by (trial id, generation).
        self.recorded: dict[int, Child] = {}
        self.reached: dict[tuple[int, int], int] = {}

    def learn(self, trials: Sequence[Trial]) -> None:
        """Prepares a generation, given all trials; evolution does not use them."""

    def draw(self, population: Sequence[Trial], count: int) -> list[Child]:
        """Children of the population, or samples of the space if it is empty.

        Fewer than `count` if no more new ones are found. InputError if no configuration meets
        the static constraints.
        """
        children: list[Child] = []
        while len(children) < count:
            number = len(self.seen)
            child = self.recorded.pop(number, None) or self._new(number, population)
            if child is None:
                break
            self._drawn(child)
            children.append(child)
        return children

    def _drawn(self, child: Child) -> None:
        """Takes note of a child before the next one is drawn."""
        self.seen.add(canonical(child.config))

    def _new(self, number: int, population: Sequence[Trial]) -> Child | None:
        rng = derive_rng(self.run_seed, "child", number)
        try:
            default = self._default(rng) if self.default_first and number == 0 else None
            proposal = default or self._propose(population, rng)
        except LimitsUnreachable as error:
            raise self.known.unreachable(error.nearest) from None
        return Child(number, *proposal) if proposal else None

    def promote(self, rung: Sequence[Trial], bracket: Sequence[Trial]) -> list[Trial]:
        """The trials of a rung: first those that earlier sessions promoted, then as they rank."""
        ranked = self.rank_for_promotion(rung, bracket)
        at = self.reached
        return sorted(ranked, key=lambda one: at.get((one.trial, one.generation), 0) <= one.epochs)

    def rank_for_promotion(self, rung: Sequence[Trial], bracket: Sequence[Trial]) -> list[Trial]:
        """The trials of a rung, best first; `bracket` has all trials of their bracket so far."""
        return sorted(rung, key=self.ranking.key)

    def _default(self, rng: np.random.Generator) -> Proposal | None:
        """The default configuration fitted to the static constraints; None if it cannot be."""
        self.default = fitted(self.space, self.space.default(), self.known.violation, rng)
        return (self.default, (), "default") if self.default is not None else None

    def _propose(self, population: Sequence[Trial], rng: np.random.Generator) -> Proposal | None:
        """A new child that meets the static constraints; None if none is found."""

        def vary(rng: np.random.Generator) -> Proposal:
            if self.default and not population and rng.random() < self.near_default:
                return self._near(self.default, rng), (0,), "perturb"
            return self.variation.offspring(self.space, population, self.ranking.key, rng)

        return draw_child(self.space, vary, self.known.violation, self.seen, rng)

    def _near(self, config: Config, rng: np.random.Generator) -> Config:
        for _ in range(STEPS_FROM_DEFAULT):
            config = self.space.perturb(config, rng)
        return config


class RandomSampler(OffspringSampler):
    """Draws random samples of the space; the population is not used."""

    near_default = 0.0

    def draw(self, population: Sequence[Trial], count: int) -> list[Child]:
        """`OffspringSampler.draw` without a population."""
        return super().draw([], count)
