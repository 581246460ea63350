"""Precision and recall of each class, with the counts behind them."""

from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import beta

from engine.wording import aligned
from evaluation.statistics import Outcomes

COLUMNS = ("class", "images", "answers", "right", "precision", "at least", "recall")


def by_class(outcomes: Outcomes, names: Sequence[str]) -> list[dict[str, Any]]:
    """One row per class: its images, answers, right answers (means over seeds), and ratios.

    precision_bound: one-sided 95 % lower bound (Clopper & Pearson 1934) for one network. Ratios
    without a denominator are None. A diverged training answers class 0.
    """
    rows = []
    for label, name in enumerate(names):
        own, guessed = outcomes.labels == label, outcomes.predicted == label
        images = int(own.sum())
        answers, right = (float(part.sum(axis=1).mean()) for part in (guessed, guessed & own))
        low = float(beta.ppf(0.05, right, answers - right + 1)) if right else 0.0
        rows.append(
            {
                "class": name,
                "images": images,
                "answers": answers,
                "right": right,
                "precision": right / answers if answers else None,
                "precision_bound": low if answers else None,
                "recall": right / images if images else None,
            }
        )
    return rows


def table(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The lines of the table, the least precise class first."""
    cells = [[*COLUMNS]]
    for row in sorted(rows, key=lambda row: (row["precision"] or 0, row["class"])):
        counts = [f"{row[name]:g}" for name in ("images", "answers", "right")]
        ratios = [row[name] for name in ("precision", "precision_bound", "recall")]
        cells.append([row["class"], *counts, *("-" if r is None else f"{r:.3f}" for r in ratios)])
    return aligned(cells)
