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
TRIES = 200  # proposals for one child without repair, and as many with it
SAMPLES = 50  # random samples tried for a child if the operators find nothing new
UNREPAIRED_TRIES = 10  # failed repairs after which the constraints count as unreachable


class LimitsUnreachable(ValueError):
    """No configuration that meets the static constraints was found.

    nearest: the configuration with the least violation.
    """

    def __init__(self, nearest: dict[str, Any]):
        super().__init__("no configuration meets the static constraints")
        self.nearest = nearest


def tournament(
    population: Sequence[Trial], key: Key, size: int, rng: np.random.Generator
) -> Trial:
    """The best of `size` different members drawn at random (of all, if there are fewer)."""
    drawn = rng.choice(len(population), size=min(size, len(population)), replace=False)
    return min((population[i] for i in drawn), key=key)


@dataclass(frozen=True)
class Variation:
    """Creates a child by mutation of one parent or recombination of two.

    Tournaments of `tournament_size` select the parents. A share `local` of the mutations are steps
    to near values. A share `random` of the children are samples of the space; without a population
    all are.
    """

    tournament_size: int = 2
    mutation_rate: float = 0.5
    local: float = 0.0
    random: float = 0.0

    def offspring(
        self, space: Space, population: Sequence[Trial], key: Key, rng: np.random.Generator
    ) -> Proposal:
        """A child, which may violate the static constraints."""
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
    """The best `size` of parents and children together, best first."""
    return sorted([*population, *children], key=key)[:size]


def draw_child(
    space: Space,
    propose_one: Callable[[np.random.Generator], Proposal],
    violation: Callable[[dict[str, Any]], float],
    seen: Container[str],
    rng: np.random.Generator,
) -> Proposal | None:
    """The first proposal, fitted to the static constraints, that is new in this run.

    After `TRIES` proposals the structure of the next ones is repaired, too. If these find nothing
    new, samples of the space are tried, then the remaining configurations of a finite space. None
    if nothing new is found: the space then counts as exhausted. LimitsUnreachable if no proposal
    could be made to meet the constraints.
    """
    nearest: dict[str, Any] = {}
    within_limits, least = bool(seen), math.inf
    for attempt in range(2 * TRIES):
        if attempt == TRIES and not nearest:
            break  # all met the constraints, but none was new
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
    """A new sample, or a remaining configuration of a finite space; None if there is none."""

    def is_new(config: dict[str, Any]) -> bool:
        return canonical(config) not in seen and violation(config) <= 0

    for _ in range(SAMPLES):
        config = fit(space, space.sample(rng), violation, rng)
        if is_new(config):
            return config, (), "sample"
    left = [config for config in configurations(space) if is_new(config)]
    return (left[rng.integers(len(left))], (), "sample") if left else None
