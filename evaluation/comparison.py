"""Compares evaluated configurations: a table with intervals, verdicts, and tests of all pairs.

Formats the numbers of evaluation/statistics.py.
"""

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from engine import wording
from evaluation import classes, thresholds
from evaluation.evidence import evidence, in_words
from evaluation.metrics import STATIC
from evaluation.results import Predictions
from evaluation.statistics import (
    METRICS,
    Outcomes,
    bootstrap,
    holm,
    interval,
    outcomes_of,
    permutation,
)
from search.constraints import Constraint
from utils import without_nan

COMPARED = {"top3": "top-3", "top1": "top-1"}
SIGNIFICANT = 0.05


@dataclass(frozen=True, eq=False)
class Measured:
    """An evaluated configuration: its name, the content of its result file, its outcomes."""

    name: str
    result: Mapping[str, Any]
    outcomes: Outcomes

    @cached_property
    def resamples(self) -> dict[str, np.ndarray]:
        """See `statistics.bootstrap`."""
        return bootstrap(self.outcomes)

    @cached_property
    def intervals(self) -> dict[str, tuple[float, float]]:
        """The 95 % interval of each metric that has resamples."""
        return {name: interval(values) for name, values in self.resamples.items()}

    @cached_property
    def by_class(self) -> list[dict[str, Any]]:
        """See `classes.by_class`."""
        return classes.by_class(self.outcomes, self.result["dataset"]["class_names"])

    @cached_property
    def known(self) -> dict[str, Any]:
        """All metrics, also the static ones; None if not finite."""
        static_metrics = {name: self.result[name] for name in STATIC if name in self.result}
        return without_nan({**self.result["metrics"], **static_metrics})


def outcomes(stored: Sequence[Predictions]) -> Outcomes:
    """The outcomes of several seeds on the same images."""
    scores = np.stack([part["scores"] for part in stored])
    return outcomes_of(scores, stored[0]["labels"], stored[0]["fold"])


def judged(
    name: str, result: dict[str, Any], stored: Sequence[Predictions], limits: Sequence[str]
) -> Measured:
    """Adds intervals and the verdict on each limit to the result; returns it with outcomes."""
    measured = Measured(name, result, outcomes(stored))
    result |= {"intervals": measured.intervals, "by_class": measured.by_class}
    result["constraints"] = [verdict(text, measured) for text in limits]
    return measured


def verdict(text: str, measured: Measured) -> dict[str, Any]:
    """The verdict on a limit, for the result file: text, value, and `evidence`."""
    limit = Constraint.parse(text)
    value, values = measured.known.get(limit.metric), measured.resamples.get(limit.metric)
    found = evidence(limit, value, values, len(measured.outcomes.labels))
    return {"text": text, "value": value, **found}


def report(
    done: Sequence[Measured],
    notes: Sequence[str],
    files: Sequence[Path] = (),
    by_class: bool = False,
) -> str:
    """The printed report of evaluations, whose results are in `files`."""
    lines = [table(done)]
    for one in done if by_class else ():
        lines += ["", f"{one.name}, by class:", *wording.aligned(classes.cells(one.by_class))]
    lines += [*(f"result in {file}" for file in files)]
    lines += [pairs(done)] if len(done) > 1 else []
    note = done[0].result["dataset"]["note"]
    return "\n".join([*lines, *notes, *([f"NOTE: {note}"] if note else [])])


def table(done: Sequence[Measured]) -> str:
    """One row per configuration with intervals below it, then the verdict on each limit."""
    first = done[0].result
    shown = [name for name in METRICS if any(name in one.result["metrics"] for one in done)]
    rows = [["configuration", "epochs", "seeds", *shown, "parameters", "multiply-adds"]]
    for one in done:
        seeds = " ".join(map(str, one.result["seeds"]))
        values = [_number(one.known.get(name)) for name in shown]
        sizes = [f"{one.result[name]:,}" for name in ("num_params", "macs")]
        rows.append([one.name, str(one.result["epochs"]), seeds, *values, *sizes])
        bounds = [one.intervals.get(name) for name in shown]
        cells = [f"{_number(b[0], 3)}..{_number(b[1], 3)}" if b else "" for b in bounds]
        rows.append(["  95 % interval", "", "", *cells, "", ""])
    chances = wording.chance(len(first["dataset"]["class_names"]))
    guessed = [_number(chances[name], 3) if name in chances else "" for name in shown]
    rows.append(["chance", "", "", *guessed, "", ""])
    where = "the test split" if first["split"] == "test" else "the folds (means)"
    lines = ["", f"{first['dataset']['name']}, measured on {where}:", *wording.aligned(rows)]
    few = min(len(one.outcomes.predicted) for one in done) == 1
    lines.append(
        "Intervals: bootstrap over images"
        + (" (one seed: they do not include the variation between seeds)" if few else " and seeds")
    )
    for one in done:
        words = [
            f"{limit['text']} {in_words(limit, wording.number_words(limit['value']))}"
            for limit in one.result["constraints"]
        ]
        lines += [f"{one.name}:", *(f"    {line}" for line in words)]
        lines += [f"    {line}" for line in thresholds.words(one.result)]
    return "\n".join(lines)


def _number(value: float | None, digits: int = 4) -> str:
    return "nan" if value is None or math.isnan(value) else f"{value:.{digits}f}"


def pairs(done: Sequence[Measured]) -> str:
    """The tests of all pairs, in words."""
    both = list(itertools.combinations(done, 2))
    images = len(done[0].outcomes.labels)
    p_values = {
        metric: [
            permutation(getattr(one.outcomes, metric), getattr(other.outcomes, metric))
            for one, other in both
        ]
        for metric in COMPARED
    }
    corrected = {metric: holm(values) for metric, values in p_values.items()}
    many = len(both) > 1
    lines = [
        "",
        f"Pairs, on the same {images} images: difference of the means over seeds, with p of the",
        "paired permutation test over images"
        + (f", corrected for {len(both)} pairs (Holm)." if many else "."),
    ]
    for number, (one, other) in enumerate(both):
        lines.append(f"{one.name} and {other.name}:")
        for metric, title in COMPARED.items():
            first, second = getattr(one.outcomes, metric), getattr(other.outcomes, metric)
            difference, p = first.mean() - second.mean(), corrected[metric][number]
            better = one.name if difference > 0 else other.name
            sentence = f"{better} is better" if p < SIGNIFICANT else "no significant difference"
            shown = _p(p_values[metric][number]) + f", corrected {_p(p)}" * many
            lines.append(f"    {title} {difference:+.4f}, p {shown}: {sentence}")
    return "\n".join(lines)


def _p(value: float) -> str:
    return f"{value:.4f}" if value >= 1e-4 else "< 0.0001"
