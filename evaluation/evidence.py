"""Whether the images decide if a limit is met, and if not, how many images would."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from engine.wording import met_or_missed
from evaluation.statistics import interval
from search.constraints import Constraint

MOST = 1_000_000  # images; larger needs are not reported
POWER = ((1.645 + 0.842) / 1.645) ** 2  # normal quantiles of the bound, 95 %, and of 80 %


def evidence(
    limit: Constraint, value: float | None, resamples: np.ndarray | None, images: int
) -> dict[str, Any]:
    """Compares a measured metric with its limit, for a result file.

    bound: the one-sided 95 % bootstrap bound (percentile) of `value` in the direction of the
    limit; None without resamples. decided: whether value and bound are on the same side of the
    limit. images_needed: if not, an estimate of the test images with which a test would decide it
    with a probability (power) of 80 %, if `value` is the true one and its distance to the bound
    scales as 1 / sqrt(images); None above MOST or if decided.
    """
    met = value is not None and math.isfinite(value) and limit.residual({limit.metric: value}) <= 0
    found: dict[str, Any] = {"met": met, "side": None, "bound": None, "decided": None}
    found["images_needed"] = None
    if value is None or resamples is None or not np.isfinite(resamples).all():
        return found
    low, high = interval(resamples, 0.90)
    below = met == (limit.sense == ">=")  # the value is above the limit: take its lower bound
    bound = low if below else high
    decided = bound >= limit.bound if below else bound <= limit.bound
    gap = abs(value - limit.bound)
    if not decided and gap > 0:
        needed = images * POWER * (abs(value - bound) / gap) ** 2
        found["images_needed"] = _rounded(needed) if needed <= MOST else None
    side = "at least" if below else "at most"
    return found | {"side": side, "bound": bound, "decided": decided}


def in_words(found: Mapping[str, Any], value: str = "") -> str:
    """'met (0.7797); ...': the verdict, the value if it is given, and the evidence."""
    return met_or_missed(found["met"], value) + told(found)


def told(found: Mapping[str, Any]) -> str:
    """The evidence as the end of a verdict; '' without a bound."""
    if found.get("bound") is None:
        return ""
    line = f"; {found['side']} {found['bound']:.4f} (95 % bootstrap bound)"
    if found["decided"]:
        return line
    needed = found["images_needed"]
    count = f"about {needed:,}" if needed is not None else f"over {MOST:,}"
    return f"{line}: not decided; that needs {count} images"


def _rounded(count: float) -> int:
    """Rounds up, to two digits."""
    unit = 10 ** max(0, math.floor(math.log10(count)) - 1)
    return math.ceil(count / unit) * unit
