"""The metrics of networks on images, and checks of objective and limits against them."""

from collections.abc import Sequence

from search.constraints import Ranking
from utils import InputError, nearest

# Static metrics (cnn.py); the last three are in units of 1024 bytes.
STATIC = ("num_params", "macs", "flash_kb", "flash_float_kb", "ram_kb")
SHARES = ("top3", "top1", "precision", "recall")  # from 0 to 1


def check_bounds(ranking: Ranking) -> None:
    """InputError for a limit on a share that is not between 0 and 1."""
    for limit in ranking.constraints:
        bound = limit.bound
        if limit.metric in SHARES and not 0 <= bound <= 1:
            percent = 2 <= bound <= 100
            hint = (
                f"{bound:g} % is {bound / 100:g}" if percent else f"the nearest is {bound > 1:d}"
            )
            raise InputError(
                f"constraint '{limit}' is impossible: {limit.metric} is a share; allowed is a "
                f"number from 0 to 1; {hint}"
            )


def check_metrics(ranking: Ranking, known: Sequence[str]) -> None:
    """InputError for an objective or a limit on something that is not measured."""
    for name in ranking.metrics:
        if name not in known:
            raise InputError(
                f"objective or constraint on {name!r}: there is no such metric, but "
                f"{', '.join(known)}{nearest(name, known)}"
            )
