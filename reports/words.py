"""Numbers as a report writes them."""

import re
from collections.abc import Sequence
from typing import Any

from engine.console import in_words

NONE = "–"
SIZES = {"num_params": "parameters", "macs": "multiply-adds"}  # of a network, before training


def number(value: float | None, digits: int = 3) -> str:
    """0.812; a dash for nothing."""
    return NONE if value is None else f"{value:.{digits}f}"


def count(value: float | None) -> str:
    """268,897; a dash for nothing."""
    return NONE if value is None else f"{value:,.0f}"


def share(value: float | None) -> str:
    """83 %; a dash for nothing."""
    return NONE if value is None else f"{100 * value:.0f} %"


def spread(values: Sequence[float | None], write: Any = number) -> str:
    """The mean, and in brackets the lowest and the highest if they differ, of those there are."""
    known = [value for value in values if value is not None]
    if not known:
        return NONE
    low, high = write(min(known)), write(max(known))
    return low if low == high else f"{write(sum(known) / len(known))} ({low} to {high})"


def setting(value: Any) -> str:
    """A hyperparameter's value; a dash if it is not active."""
    if value is None:
        return NONE
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def limit(text: str) -> str:
    """num_params ≤ 100,000 for 'num_params <= 100000'."""
    signs = text.replace("<=", "≤").replace(">=", "≥")
    return re.sub(r"(?<=[≤≥] )\d{5,}", lambda found: f"{int(found[0]):,}", signs)


def duration(seconds: float) -> str:
    """A duration as people say it."""
    return in_words(seconds)
