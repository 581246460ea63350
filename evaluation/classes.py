"""Precision and recall of each class, with the counts behind them."""

from collections.abc import Mapping, Sequence
from typing import Any

from scipy.stats import beta

from evaluation.statistics import Outcomes

COUNTS = ("support", "predicted", "correct")
COLUMNS = ("class", *COUNTS, "precision", "at least", "recall")


def by_class(outcomes: Outcomes, names: Sequence[str]) -> list[dict[str, Any]]:
    """One row per class: counts of images, and ratios.

    support: images of the class. predicted, correct: images predicted as this class, and the
    correct ones of these (means over seeds). precision_bound: one-sided 95 % lower bound (Clopper
    & Pearson 1934) for one network. Ratios without a denominator are None. A diverged training
    predicts class 0.
    """
    rows = []
    for label, name in enumerate(names):
        own, guessed = outcomes.labels == label, outcomes.predicted == label
        support = int(own.sum())
        predicted, correct = (float(part.sum(axis=1).mean()) for part in (guessed, guessed & own))
        low = float(beta.ppf(0.05, correct, predicted - correct + 1)) if correct else 0.0
        rows.append(
            {
                "class": name,
                "support": support,
                "predicted": predicted,
                "correct": correct,
                "precision": correct / predicted if predicted else None,
                "precision_bound": low if predicted else None,
                "recall": correct / support if support else None,
            }
        )
    return rows


def cells(rows: Sequence[Mapping[str, Any]]) -> list[list[str]]:
    """The cells of the table: the names of its columns, then the least precise class first."""
    table = [[*COLUMNS]]
    for row in sorted(rows, key=lambda row: (row["precision"] or 0, row["class"])):
        counts = [f"{row[name]:g}" for name in COUNTS]
        ratios = [row[name] for name in ("precision", "precision_bound", "recall")]
        table.append([row["class"], *counts, *("-" if r is None else f"{r:.3f}" for r in ratios)])
    return table
