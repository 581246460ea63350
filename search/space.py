"""The search space: load, sample, mutate, recombine, validate, repair.

ConfigSpace objects define what is legal. Outside this module a configuration is a plain dict of
native Python values. It holds the active hyperparameters only, in the order of the space.
"""

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from ConfigSpace import (
    Configuration,
    ConfigurationSpace,
    Constant,
    ForbiddenAndConjunction,
    ForbiddenOrConjunction,
)
from ConfigSpace.forbidden import ForbiddenRelation
from ConfigSpace.types import NotSet

from search.values import Scale, allowed, cast, check_choices, choice_at, choices, declared, native
from utils import InputError, nearest

Config = dict[str, Any]
FORBIDDEN_TRIES = 100  # forbidden draws of an operator before it returns a parent
REPAIR_STEPS = 500
FINEST, WIDEST = 0.01, 0.3  # standard deviation of the steps of `perturb`, as shares of a range
EXTRA_CHANGES = 1.5  # average number of hyperparameters that `perturb` changes besides the first


class Space:
    """A ConfigSpace space whose draws depend only on the generator given to them."""

    def __init__(self, configspace: ConfigurationSpace):
        self.configspace = configspace
        self.names = list(configspace)  # parents of conditions come before their children
        self._conditions = {name: configspace.parent_conditions_of[name] for name in self.names}
        parents = configspace.parents_of
        self._parents = {name: [one.name for one in parents[name]] for name in self.names}
        self.parents = {parent for names in self._parents.values() for parent in names}
        self._choices = {name: choices(configspace[name]) for name in self.names}
        for name in self.names:
            check_choices(configspace[name])
        known = {name: configspace[name] for name in self.names}
        self.scales = {n: Scale(one) for n, one in known.items() if not isinstance(one, Constant)}
        # For ConfigSpace's draws: reseeding it is much faster than creating another one.
        self._stream = np.random.RandomState(0)

    @classmethod
    def load(cls, path: str | Path) -> "Space":
        """Reads a file in ConfigSpace's JSON format. InputError if that fails."""
        try:
            known = json.loads(Path(path).read_bytes())  # UTF-8 or UTF-16, detected
            space = cls(ConfigurationSpace.from_serialized_dict(known))
        except OSError as error:
            raise InputError(f"search space {path} cannot be read: {error.strerror}") from None
        except Exception as error:  # ConfigSpace raises nearly any type on other files
            words = f"search space {path} is not in ConfigSpace's JSON format: {error}"
            raise InputError(words) from None
        if not space.names:
            raise InputError(f"search space {path} has no hyperparameters")
        return space

    def default(self) -> Config:
        """The default configuration of the space."""
        return self._native(self.configspace.get_default_configuration())

    def sample(self, rng: np.random.Generator) -> Config:
        """Draws every active hyperparameter from its distribution."""
        self.configspace.random.seed(int(rng.integers(2**31)))
        sampled = self._native(self.configspace.sample_configuration())
        # ConfigSpace 1.2 keeps inactive values under an OrConjunction over inactive parents.
        return self.complete(sampled, rng) or sampled

    def mutate(self, config: Mapping[str, Any], rng: np.random.Generator) -> Config:
        """Redraws one active hyperparameter.

        Hyperparameters that become active are drawn, those that become inactive are removed.
        """
        names = [name for name in config if name in self.scales]
        for _ in range(FORBIDDEN_TRIES if names else 0):
            name = names[rng.integers(len(names))]
            child = self.complete({**config, name: self._draw(name, rng)}, rng)
            if child is not None:
                return child
        return dict(config)

    def perturb(self, config: Mapping[str, Any], rng: np.random.Generator) -> Config:
        """Moves one or more active hyperparameters to near values.

        Numbers take a normal step on the scale of the space. Its standard deviation is the same
        for all of them and log-uniform from `FINEST` to `WIDEST`. Categories take another value.
        """
        names = [name for name in config if name in self.scales]
        for _ in range(FORBIDDEN_TRIES if names else 0):
            width = FINEST * (WIDEST / FINEST) ** rng.random()
            chosen = rng.random(len(names)) < EXTRA_CHANGES / len(names)
            chosen[rng.integers(len(names))] = True
            near = {
                name: self._near(name, config[name], width * rng.normal(), rng)
                for name, changes in zip(names, chosen.tolist(), strict=True)
                if changes
            }
            # Each value is legal by itself, so ConfigSpace's slow check is not needed.
            child = self._with_active({**config, **near}, rng)
            if not self.forbids(child):
                return child
        return dict(config)

    def forbids(self, config: Mapping[str, Any]) -> bool:
        """Whether a forbidden clause of the space rules out the configuration."""
        return any(_forbids(clause, config) for clause in self.configspace.forbidden_clauses)

    def recombine(
        self, first: Mapping[str, Any], second: Mapping[str, Any], rng: np.random.Generator
    ) -> Config:
        """Takes each hyperparameter from either parent (uniform crossover, Syswerda 1989).

        If one parent lacks an active hyperparameter of the child, the other one provides it; if
        both lack it, it is drawn.
        """
        for _ in range(FORBIDDEN_TRIES):
            values = {}
            for name in self.names:
                either, other = (first, second) if rng.random() < 0.5 else (second, first)
                if name in either or name in other:
                    values[name] = either.get(name, other.get(name))
            child = self.complete(values, rng)
            if child is not None:
                return child
        return dict(first)

    def complete(self, values: Mapping[str, Any], rng: np.random.Generator) -> Config | None:
        """Removes inactive hyperparameters and draws active ones that have no value.

        Returns None if a forbidden clause rules out the result.
        """
        config = self._with_active(values, rng)
        try:
            return self._native(Configuration(self.configspace, values=config))
        except ValueError:
            return None

    def _with_active(self, values: Mapping[str, Any], rng: np.random.Generator) -> Config:
        config: Config = {}
        for name in self.names:
            if self.active(name, config):
                config[name] = values[name] if name in values else self._draw(name, rng)
        return config

    def repair(
        self,
        config: Mapping[str, Any],
        violation: Callable[[Config], float],
        rng: np.random.Generator,
    ) -> Config:
        """Reduces `violation` by greedy steps of single hyperparameters.

        A step halves a number's distance to either end of its range (on the scale of the space) or
        takes another category. The steps end when nothing is violated or no step helps: the
        result may still violate constraints.
        """
        current, value = dict(config), violation(dict(config))
        for _ in range(REPAIR_STEPS):
            if value <= 0:
                break
            changed = (
                {**current, name: step}
                for name in current
                for step in self._steps(name, current[name])
            )
            children = [
                child
                for child in (self.complete(values, rng) for values in changed)
                if child is not None
            ]
            scored = [(violation(child), i) for i, child in enumerate(children)]
            if not scored or min(scored)[0] >= value:
                break
            value, best = min(scored)
            current = children[best]
        return current

    def values(self, name: str) -> list[Any]:
        """All values of a discrete hyperparameter, in order."""
        known: Any = self.configspace[name]
        return self._choices[name] or list(range(int(known.lower), int(known.upper) + 1))

    def adopt(self, values: Mapping[str, Any]) -> tuple[Config, list[str]]:
        """A configuration that a user wrote -> (configuration, warnings).

        Inactive hyperparameters are removed and values outside the space are kept, both with a
        warning. InputError for an unknown hyperparameter, an active one that is missing or null,
        or a value of another type.
        """
        for name in values:
            if name not in self.configspace:
                raise InputError(
                    f"{name!r} is not a hyperparameter of the space{nearest(name, self.names)}"
                )
        config: Config = {}
        warnings, outside = [], False
        for name in self.names:
            value, active, own = values.get(name), self.active(name, config), self._choices[name]
            if active and value is None and (name not in values or None not in own):
                raise InputError(
                    f"hyperparameter {name!r} is active here but has no value; "
                    f"allowed is {allowed(self.configspace[name])}"
                )
            if active:
                config[name] = cast(self.configspace[name], value)
                if not self.configspace[name].legal_value(config[name]):
                    outside = True
                    kept = allowed(self.configspace[name])
                    warnings.append(f"{name} = {value!r} is outside the space ({kept})")
            elif name in values:
                warnings.append(
                    f"{name} = {value!r} is inactive in this configuration and was removed"
                )
        if not outside:
            try:
                Configuration(self.configspace, values=config)
            except ValueError as error:
                warnings.append(f"the configuration is outside the space: {error}")
        return config, warnings

    def active(self, name: str, config: Mapping[str, Any]) -> bool:
        """Whether the hyperparameter is active, given the values of those before it."""
        if not self._conditions[name]:
            return True
        values = {parent: config.get(parent, NotSet) for parent in self._parents[name]}
        try:
            return all(one.satisfied_by_value(values) for one in self._conditions[name])
        except KeyError:  # the value of an ordinal parent is outside the space, without an order
            return False

    def _draw(self, name: str, rng: np.random.Generator) -> Any:
        self._stream.seed(int(rng.integers(2**31)))
        one, values = self.configspace[name], self._choices[name]
        drawn = one.sample_vector(seed=self._stream)
        return choice_at(values, drawn) if values else native(one.to_value(drawn))

    def declared(self, config: Mapping[str, Any]) -> Config:
        """A configuration read from JSON, with its choices as they are declared."""
        return {name: declared(self._choices.get(name, ()), config[name]) for name in config}

    def _native(self, configuration: Configuration) -> Config:
        config: Config = {}
        vector, index_of = configuration.get_array(), self.configspace.index_of
        for name, values in self._choices.items():
            place = vector[index_of[name]]
            if place == place:  # NaN where it is inactive
                config[name] = choice_at(values, place) if values else native(configuration[name])
        return config

    def _steps(self, name: str, value: Any) -> list[Any]:
        """Values near the given one, in a fixed order: see `repair`."""
        if name not in self.scales:
            return []
        if self.scales[name].choices:
            return [choice for choice in self.scales[name].choices if choice != value]
        hyperparameter = self.configspace[name]
        position, steps = float(hyperparameter.to_vector(value)), []
        for end in (0.0, 1.0):
            halfway = native(hyperparameter.to_value((position + end) / 2))
            # In a coarse range the midpoint may round back to `value`.
            steps.append(halfway if halfway != value else native(hyperparameter.to_value(end)))
        return [step for step in steps if step != value]

    def _near(self, name: str, value: Any, step: float, rng: np.random.Generator) -> Any:
        """The value `step` away on the unit scale; a number is reflected at its range's ends."""
        scale = self.scales[name]
        if not scale.ordered:
            others = self._steps(name, value)
            return others[rng.integers(len(others))] if others else value
        least = 1 if step > 0 else -1
        if scale.choices:
            count = len(scale.choices)
            moved = scale.choices.index(value) + (round(step * count) or least)
            return scale.choices[min(max(moved, 0), count - 1)]
        position = abs(scale.position(value) + step) % 2
        near = scale.value(min(position, 2 - position))
        if near == value and scale.whole:
            near = min(max(value + least, scale.least), scale.most)
        return near


def _forbids(clause: Any, config: Mapping[str, Any]) -> bool:
    """Whether a forbidden clause holds; an inactive hyperparameter cannot be forbidden.

    ConfigSpace's `is_forbidden_value` takes an inactive ordinal for the bound of a >= or <=.
    """
    if isinstance(clause, ForbiddenAndConjunction):
        return all(_forbids(part, config) for part in clause.components)
    if isinstance(clause, ForbiddenOrConjunction):
        return any(_forbids(part, config) for part in clause.components)
    related = isinstance(clause, ForbiddenRelation)
    about = (clause.left, clause.right) if related else (clause.hyperparameter,)
    active = all(one.name in config for one in about)
    return active and bool(clause.is_forbidden_value(config))
