"""The guided sampler: a surrogate model chooses the children and the trials to promote.

Evolution and local search propose candidates; the acquisition value of `surrogate` selects one.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from search.constraints import Ranking
from search.evolution import Proposal, Variation, draw_child
from search.hyperband import Child
from search.offspring import OffspringSampler
from search.space import Config, Space
from search.surrogate import Model, Surrogate
from search.trial import Trial

VARIATION = Variation(local=0.7, random=0.2)
CANDIDATES = 32  # proposed by evolution for each child
STARTS, ROUNDS = 4, 5  # of the local search from the best candidates
NEIGHBOURS = 32  # tried per round


class GuidedSampler(OffspringSampler):
    """An `OffspringSampler` with a model of all trials as soon as there are enough."""

    def __init__(
        self,
        space: Space,
        ranking: Ranking,
        static_metrics: Callable[[Config], Mapping[str, Any]],
        run_seed: int,
        epochs: int,
        default_first: bool = False,
    ):
        """epochs: of a full training."""
        super().__init__(space, ranking, static_metrics, run_seed, VARIATION, default_first)
        self.surrogate = Surrogate(space, ranking, self.known.limits, epochs)
        self.model: Model | None = None  # of all trials
        self.fantasy: Model | None = None  # also conditioned on the children drawn so far

    def learn(self, trials: Sequence[Trial]) -> None:
        """Fits the model to the trials."""
        self.model = self.fantasy = self.surrogate.learn(trials)

    def rank_for_promotion(self, rung: Sequence[Trial], bracket: Sequence[Trial]) -> list[Trial]:
        """Ranks by the model's prediction of each trial's final result."""
        if self.model is None or not rung:
            return super().rank_for_promotion(rung, bracket)
        return self.model.rank_for_promotion(rung, bracket)

    def _propose(self, population: Sequence[Trial], rng: np.random.Generator) -> Proposal | None:
        """The candidate with the best acquisition value, by evolution and then by local search.

        Local search has several starts, as the acquisition function has many local optima. Its
        steps keep the parents and the operator of the candidate from which they start.
        """
        propose, model = super()._propose, self.fantasy
        first = propose(population, rng)
        if model is None or first is None:
            return first
        more = (propose(population, rng) for _ in range(CANDIDATES - 1))
        drawn = [first, *filter(None, more)]
        values = model.acquisition([config for config, _, _ in drawn])
        places = np.argsort(-values, kind="stable")[:STARTS]
        best, most = [drawn[i] for i in places], [values[i] for i in places]
        for _ in range(ROUNDS):
            starts = (i % len(best) for i in range(NEIGHBOURS))
            taken = [(i, step) for i in starts if (step := self._step(best[i], rng))]
            if not taken:
                break
            values = model.acquisition([step[0] for _, step in taken])
            for (i, step), value in zip(taken, values, strict=True):
                if value > most[i]:
                    best[i], most[i] = step, value
        return best[int(np.argmax(most))]

    def _drawn(self, child: Child) -> None:
        super()._drawn(child)
        if self.fantasy is not None:
            self.fantasy = self.fantasy.fantasize(child.config)

    def _step(self, start: Proposal, rng: np.random.Generator) -> Proposal | None:
        def near(rng: np.random.Generator) -> Proposal:
            return self.space.perturb(start[0], rng), start[1], start[2]

        return draw_child(self.space, near, self.known.violation, self.seen, rng)
