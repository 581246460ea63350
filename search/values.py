"""Values of a hyperparameter: native, on the unit scale, and as a user writes them."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from ConfigSpace import CategoricalHyperparameter, Constant, OrdinalHyperparameter
from ConfigSpace.hyperparameters import FloatHyperparameter, Hyperparameter, IntegerHyperparameter

from utils import InputError, canonical_json

INACTIVE = 0.5  # position of an inactive number: nearest to all values
MAX_REAL = 1e300  # larger integers have no float
MAX_WHOLE = 2**62  # ConfigSpace's checks hold integers in 64 bits


class Scale:
    """A hyperparameter on [0, 1], logarithmic if the space is; the last choice is 1.

    ConfigSpace takes 5 to 20 microseconds a value, and a search converts very many.
    """

    def __init__(self, hyperparameter: Hyperparameter):
        self.ordered = not isinstance(hyperparameter, CategoricalHyperparameter)
        self.whole = isinstance(hyperparameter, IntegerHyperparameter)
        self.log, self.choices = False, choices(hyperparameter)
        self.least, self.most = 0.0, len(self.choices) - 1.0
        if isinstance(hyperparameter, IntegerHyperparameter | FloatHyperparameter):
            self.log = hyperparameter.log
            self.least, self.most = native(hyperparameter.lower), native(hyperparameter.upper)
        self._low = self._scaled(self.least)
        self._width = (self._scaled(self.most) - self._low) or 1.0

    def position(self, value: Any) -> float:
        """The position of a value, 0 to 1. ValueError if it is not one of the choices."""
        number = self.choices.index(value) if self.choices else value
        return (self._scaled(number) - self._low) / self._width

    def value(self, position: float) -> Any:
        """The native value nearest to a position."""
        number = self._low + position * self._width
        if self.log:
            number = math.exp(number)
        if self.whole or self.choices:
            number = round(number)
        number = min(max(number, self.least), self.most)
        return self.choices[int(number)] if self.choices else number

    def encoded(self, value: Any) -> list[float]:
        """Input columns of a model: the position, or one-hot categories. None is inactive."""
        if not self.ordered:
            return [float(choice == value) for choice in self.choices]
        return [INACTIVE if value is None else self.position(value)]

    def _scaled(self, number: float) -> float:
        return math.log(number) if self.log else float(number)


def choices(hyperparameter: Hyperparameter) -> list[Any]:
    """The native values of a categorical, ordinal or constant; empty for a number."""
    values: list[Any] = []
    if isinstance(hyperparameter, CategoricalHyperparameter):
        values = list(hyperparameter.choices)
    elif isinstance(hyperparameter, OrdinalHyperparameter):
        values = list(hyperparameter.sequence)
    elif not isinstance(hyperparameter, IntegerHyperparameter | FloatHyperparameter):
        values = [hyperparameter.default_value]
    return [native(value) for value in values]


def choice_at(values: list[Any], place: float) -> Any:
    """A choice by ConfigSpace's number for it, which is 1 for a constant.

    ConfigSpace converts its values to one numpy type: [1, 1.5] gives 1.0, [True, 2] gives 1.
    """
    return values[int(place)] if len(values) > 1 else values[0]


def native(value: Any) -> Any:
    """Converts ConfigSpace's numpy scalars, which are neither JSON nor equal in a hash."""
    return value.item() if isinstance(value, np.generic) else value


def declared(values: Sequence[Any], value: Any) -> Any:
    """The declared value that equals `value`, or `value` itself if there is none.

    JSON turns (3, 3) into a list, and users write 1.0 for 1.
    """
    for one in values:
        if isinstance(one, bool) == isinstance(value, bool) and one == value:
            return one
        if isinstance(one, list | tuple | dict) and _same_json(one, value):
            return one
    return value


def _same_json(one: Any, other: Any) -> bool:
    try:
        return canonical_json(one) == canonical_json(other)
    except (TypeError, ValueError):  # not JSON, or not finite
        return False


def check_choices(hyperparameter: Hyperparameter) -> None:
    """InputError for a choice that a journal cannot store."""
    for choice in choices(hyperparameter):
        if not _same_json(choice, choice):
            raise InputError(
                f"hyperparameter {hyperparameter.name!r} has the choice {choice!r}; allowed are "
                "texts, finite numbers, True, False, None, and lists and dictionaries of these"
            )


def cast(hyperparameter: Hyperparameter, value: Any) -> Any:
    """The value in the declared type of its hyperparameter; InputError if it has another type."""
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if isinstance(hyperparameter, FloatHyperparameter) and number:
        if abs(value) <= MAX_REAL:
            return float(value)
    if isinstance(hyperparameter, IntegerHyperparameter) and number:
        if abs(value) <= MAX_WHOLE and value == int(value):
            return int(value)
    if isinstance(hyperparameter, CategoricalHyperparameter | OrdinalHyperparameter | Constant):
        values = choices(hyperparameter)
        value = declared(values, value)
        if any(type(choice) is type(value) for choice in values):
            return value
    raise InputError(
        f"hyperparameter {hyperparameter.name!r} cannot be {value!r}; "
        f"allowed is {allowed(hyperparameter)}"
    )


def allowed(hyperparameter: Hyperparameter) -> str:
    """The allowed values, as text for messages."""
    if isinstance(hyperparameter, IntegerHyperparameter | FloatHyperparameter):
        whole = isinstance(hyperparameter, IntegerHyperparameter)
        kind = "a whole number" if whole else "a number"
        return f"{kind} from {hyperparameter.lower} to {hyperparameter.upper}"
    return " or ".join(repr(choice) for choice in choices(hyperparameter))
