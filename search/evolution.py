"""Parents -> children -> survivors: tournaments, two operators, and (mu + lambda) survival."""

import math
from collections.abc import Callable, Container, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from search.enumeration import configurations
from search.fitting import fit
from search.space import Space
from search.trial import Trial, canonical

Key = Callable[[Trial], Any]
Proposal = tuple[dict[str, Any], tuple[int, ...], str]  # configuration, parents' trials, operator
TRIES = 200  # proposals of each kind for one child
SAMPLES = 50  # tried for a child where operators find nothing new
UNREPAIRED_TRIES = 10  # repairs that may fail before the limits count as unreachable


class LimitsUnreachable(ValueError):
    """No configuration within the static constraints was found.

    `nearest` is the one that violates them least.
    """

    def __init__(self, nearest: dict[str, Any]):
        super().__init__("no configuration is within the static constraints")
        self.nearest = nearest


def tournament(
    population: Sequence[Trial], key: Key, size: int, rng: np.random.Generator
) -> Trial:
    """The best of `size` different members drawn at random (of all, if there are fewer)."""
    drawn = rng.choice(len(population), size=min(size, len(population)), replace=False)
    return min((population[i] for i in drawn), key=key)


@dataclass(frozen=True)
class Variation:
    """Makes a child of a population, by mutation of one parent or recombination of two.

    Parents win tournaments of `tournament_size`. A share `local` of the mutations are steps to
    near values. A share `random` of the children are samples of the space, as are all without a
    population.
    """

    tournament_size: int = 2
    mutation_rate: float = 0.5
    local: float = 0.0
    random: float = 0.0

    def offspring(
        self, space: Space, population: Sequence[Trial], key: Key, rng: np.random.Generator
    ) -> Proposal:
        """A child, not yet within the static constraints."""
        if not population or (self.random > 0 and rng.random() < self.random):
            return space.sample(rng), (), "sample"
        first = tournament(population, key, self.tournament_size, rng)
        if rng.random() < self.mutation_rate:
            if self.local > 0 and rng.random() < self.local:
                return space.perturb(first.config, rng), (first.trial,), "perturb"
            return space.mutate(first.config, rng), (first.trial,), "mutate"
        second = tournament(population, key, self.tournament_size, rng)
        config = space.recombine(first.config, second.config, rng)
        return config, (first.trial, second.trial), "recombine"


def survivors(
    population: Sequence[Trial], children: Sequence[Trial], key: Key, size: int
) -> list[Trial]:
    """The best `size` of parents and children together, the best first."""
    return sorted([*population, *children], key=key)[:size]


def draw_child(
    space: Space,
    propose_one: Callable[[np.random.Generator], Proposal],
    violation: Callable[[dict[str, Any]], float],
    seen: Container[str],
    rng: np.random.Generator,
) -> Proposal | None:
    """The first proposal, fitted to the static constraints, that is new in this run.

    After `TRIES` proposals the structure of the next ones is repaired, too. Where these find
    nothing new, samples of the space do, or what is left of a finite one. None: every
    configuration was drawn, as far as bounded tries can tell of an infinite space.
    LimitsUnreachable: no proposal could be brought within the limits.
    """
    nearest: dict[str, Any] = {}
    within_limits, least = bool(seen), math.inf
    for attempt in range(2 * TRIES):
        if attempt == TRIES and not nearest:
            break  # all were within the limits, but none was new
        config, parents, operator = propose_one(rng)
        config = fit(space, config, violation, rng)
        if attempt >= TRIES:
            config = space.repair(config, violation, rng)
        violated = violation(config)
        if violated > 0:
            if not nearest or violated < least:
                nearest, least = config, violated
            if attempt >= TRIES + UNREPAIRED_TRIES and not within_limits:
                raise LimitsUnreachable(nearest)
            continue
        within_limits = True
        if canonical(config) not in seen:
            return config, parents, operator
    return _anything_new(space, violation, seen, rng)


def _anything_new(
    space: Space,
    violation: Callable[[dict[str, Any]], float],
    seen: Container[str],
    rng: np.random.Generator,
) -> Proposal | None:
    """A sample that is new, or one of what is left of a finite space; None if nothing is."""

    def is_new(config: dict[str, Any]) -> bool:
        return canonical(config) not in seen and violation(config) <= 0

    for _ in range(SAMPLES):
        config = fit(space, space.sample(rng), violation, rng)
        if is_new(config):
            return config, (), "sample"
    left = [config for config in configurations(space) if is_new(config)]
    return (left[rng.integers(len(left))], (), "sample") if left else None
