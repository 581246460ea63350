"""Do the images decide whether a limit is met, and if not, how many would?"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from evaluation.statistics import interval
from search.constraints import Constraint

MOST = 1_000_000  # images; nobody measures more


def evidence(
    limit: Constraint, value: float | None, resamples: np.ndarray | None, images: int
) -> dict[str, Any]:
    """How a measured metric stands to its limit, for a result file.

    bound: the one-sided 95 % bound of the bootstrap (percentile) on the side of the limit that
    `value` is on; None without resamples. decided: whether the bound is on that side, too.
    images_needed: where it is not, about how many images would take it there, if the value stays
    and the bound comes nearer as 1 / sqrt(images); None beyond MOST, or if the limit is decided.
    """
    met = value is not None and math.isfinite(value) and limit.residual({limit.metric: value}) <= 0
    found: dict[str, Any] = {"met": met, "side": None, "bound": None, "decided": None}
    found["images_needed"] = None
    if value is None or resamples is None or not np.isfinite(resamples).all():
        return found
    low, high = interval(resamples, 0.90)
    below = met == (limit.sense == ">=")  # the value is above the limit: how far down might it be
    bound = low if below else high
    decided = bound >= limit.bound if below else bound <= limit.bound
    gap = abs(value - limit.bound)
    if not decided and gap > 0:
        needed = images * (abs(value - bound) / gap) ** 2
        found["images_needed"] = _rounded(needed) if needed <= MOST else None
    side = "at least" if below else "at most"
    return found | {"side": side, "bound": bound, "decided": decided}


def told(found: Mapping[str, Any]) -> str:
    """The evidence as the end of a verdict; '' where it has no bound."""
    if found.get("bound") is None:
        return ""
    line = f"; {found['side']} {found['bound']:.4f} with 95 % confidence"
    if found["decided"]:
        return line
    needed = found["images_needed"]
    count = f"about {needed:,}" if needed is not None else f"over {MOST:,}"
    return f"{line}: not decided, which takes {count} images"


def _rounded(count: float) -> int:
    """Up to two digits."""
    unit = 10 ** max(0, math.floor(math.log10(count)) - 1)
    return math.ceil(count / unit) * unit
