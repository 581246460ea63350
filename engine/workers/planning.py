"""Plans from the settings alone: the sampler, the brackets of a generation, the epochs."""

from collections.abc import Sequence
from typing import Any

from engine.cli.settings import Settings
from engine.contract import Target
from search.evolution import Variation
from search.guided import GuidedSampler
from search.hyperband import Bracket, Child, hyperband_brackets, plain_bracket, total_epochs
from search.offspring import OffspringSampler, RandomSampler
from search.space import Space
from search.surrogate import MODEL_VERSION
from search.trial import Trial

MANY = 10_000  # generations: no search reaches that many


def sampler(
    settings: Settings, space: Space, target: Target, recorded: Sequence[Trial] = ()
) -> OffspringSampler:
    """The sampler, which draws the children and decides which trials are promoted.

    It repeats the decisions of earlier sessions as recorded. Only the children of the first
    generations are drawn anew, which shows whether space and target are the same.
    """
    ranking, static_metrics, seed = settings.ranking(), target.static_metrics, settings.seed
    default_first = settings.default_first
    made: OffspringSampler
    if settings.sampler == "guided":
        epochs = settings.epochs
        made = GuidedSampler(space, ranking, static_metrics, seed, epochs, default_first)
    else:
        variation = Variation(settings.tournament_size, settings.mutation_rate)
        kind = RandomSampler if settings.sampler == "random" else OffspringSampler
        made = kind(space, ranking, static_metrics, seed, variation, default_first)
    made.recorded = {
        one.trial: Child(one.trial, one.config, tuple(one.parents), one.operator)
        for one in recorded
        if one.generation > 1
    }
    for one in recorded:
        key = one.trial, one.generation
        made.reached[key] = max(one.epochs, made.reached.get(key, 0))
    return made


def first_generation(settings: Settings) -> int:
    """0 if there is an initial population that is trained in full, else 1."""
    return 0 if settings.sampler == "evolution" else 1


def plan(settings: Settings, generation: int) -> list[Bracket]:
    """The brackets of a generation; generation 0 is the initial population, trained in full.

    The guided sampler learns after each bracket, so its generation is one bracket.
    """
    if generation == 0:
        return [plain_bracket(settings.pop_size, settings.epochs)]
    if settings.hyperband:
        brackets = hyperband_brackets(settings.epochs, settings.min_epochs, settings.eta)
        if settings.sampler == "guided":
            brackets = [brackets[(generation - 1) % len(brackets)]]
    else:
        brackets = [plain_bracket(settings.num_children, settings.epochs)]
    if settings.default_first and generation == first_generation(settings):
        return [plain_bracket(1, settings.epochs), *brackets]  # the baseline is trained in full
    return brackets


def epoch_limit(settings: Settings) -> int | None:
    """Total epochs charged when the search reaches its limits, if they determine it."""
    limits = [settings.max_total_epochs] if settings.max_total_epochs is not None else []
    if settings.max_generations is not None and settings.max_generations <= MANY:
        generations = range(first_generation(settings), settings.max_generations + 1)
        limits.append(sum(total_epochs(plan(settings, number)) for number in generations))
    return min(limits, default=None)


def model_facts(settings: Settings) -> dict[str, Any]:
    """The entries of run.json about the surrogate model."""
    return {"model_version": MODEL_VERSION} if settings.sampler == "guided" else {}
