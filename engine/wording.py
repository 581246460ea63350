"""Trials, limits, durations and counts in words, for messages and reports."""

from collections.abc import Mapping, Sequence
from typing import Any

from search.constraints import Ranking
from search.trial import Trial


def describe(trial: Trial, ranking: Ranking) -> str:
    """A trial's objective and limits in one line."""
    trained = counted(trial.epochs, "epoch")
    value = f"{ranking.metric} {trial.metrics[ranking.metric]:.4f} after {trained}"
    return ", ".join([value, *verdicts(trial.metrics, ranking)])


def verdicts(metrics: Mapping[str, Any], ranking: Ranking) -> list[str]:
    """'precision >= 0.39 met (0.5123)' for each constraint."""
    words = []
    for limit in ranking.constraints:
        shown = number_words(metrics.get(limit.metric))
        words.append(f"{limit} {met_or_missed(limit.residual(metrics) <= 0, shown)}")
    return words


def met_or_missed(met: bool, value: str = "") -> str:
    """'met (0.5123)': the verdict on a limit, with the value if it is given."""
    return ("met" if met else "MISSED") + (f" ({value})" if value else "")


def number_words(value: Any) -> str:
    """Four decimals of a measured value, all digits of a count."""
    if value is None:
        return "not measured"
    return f"{value:,}" if isinstance(value, int) else f"{value:.4f}"


def chance(num_classes: int) -> dict[str, float]:
    """The expected metrics of random guessing with balanced classes."""
    one = 1 / num_classes
    return {"top3": min(1.0, 3 * one), "top1": one, "precision": one, "recall": one}


def in_words(seconds: float) -> str:
    """A duration in words."""
    for unit, length in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:.1f} {unit}"
    return counted(round(seconds), "second")


def resume_words(run: Any, peer: str | None) -> str:
    """The arguments of `python` that resume a run. peer: see `RunFolder`."""
    program = f"-m baselines {peer}" if peer else "optimizer.py"
    return f"{program} --resume {run}"


def counted(count: int, noun: str) -> str:
    """1 epoch, 2 epochs, 12,000 epochs."""
    return f"{count:,} {noun}{'s' * (count != 1)}"


def aligned(rows: Sequence[Sequence[str]]) -> list[str]:
    """One line per row; the first column is left-aligned, the others are right-aligned."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join([name.ljust(widths[0]), *map(str.rjust, others, widths[1:])]).rstrip()
        for name, *others in rows
    ]
