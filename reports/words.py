"""Formats of numbers and names in a report."""

import re
from collections.abc import Callable, Sequence
from typing import Any

NONE = "–"
PLAIN = {"num_params": "parameters", "macs": "multiply-adds"}


def plain(metric: str) -> str:
    """A metric's name for readers."""
    return PLAIN.get(metric, metric.replace("_", " "))


def number(value: float | None) -> str:
    """0.812, or 268,897 for a count; a dash for None."""
    if value is None:
        return NONE
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}"


def share(value: float | None) -> str:
    """83 %; a dash for None."""
    return NONE if value is None else f"{100 * value:.0f} %"


def spread(values: Sequence[Any], write: Callable[[Any], str] = number) -> str:
    """The mean of the values that are not None, and in brackets their range if they differ."""
    known = [value for value in values if value is not None]
    if not known:
        return NONE
    low, high, mean = min(known), max(known), sum(known) / len(known)
    whole = all(isinstance(value, int) for value in known)
    shown = write(round(mean) if whole else mean)
    return shown if write(low) == write(high) else f"{shown} ({write(low)} to {write(high)})"


def setting(value: Any) -> str:
    """A setting or hyperparameter."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def limit(text: str) -> str:
    """'num_params ≤ 100,000' for 'num_params <= 100000'."""
    signs = text.replace("<=", "≤").replace(">=", "≥")
    return re.sub(r"(?<=[≤≥] )\d{5,}", lambda found: f"{int(found[0]):,}", signs)
