"""A threshold on the confidence, below which a network answers "not sure".

The confidence of an answer is the largest softmax probability. Below the threshold there is no
answer (selective classification, El-Yaniv & Wiener 2010; Geifman & El-Yaniv 2017). Coverage is the
share of images that are answered. Precision counts the answers only; it is the mean over all
classes that the labels have, and one that is never answered counts 0, as in vision/metrics.py.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from evaluation.evidence import evidence, in_words
from evaluation.statistics import Outcomes, bootstrap, weighted_metrics
from search.constraints import Constraint
from utils import InputError, first_few

THRESHOLDS = np.round(np.arange(0, 1, 0.01), 2)


def precision_limit(constraints: Sequence[Constraint]) -> Constraint:
    """The lower limit on precision; InputError without one."""
    for limit in constraints:
        if (limit.metric, limit.sense) == ("precision", ">="):
            return limit
    raise InputError(
        "--thresholds needs a lower limit on (macro) precision; allowed is one such as -p 0.9"
    )


def answered(outcomes: Outcomes, threshold: float) -> Outcomes:
    """The outcomes with a threshold: class -1, no answer, if the confidence is below it."""
    sure = outcomes.confidence >= threshold
    right = {name: getattr(outcomes, name) & sure for name in ("top3", "top1")}
    return replace(outcomes, predicted=np.where(sure, outcomes.predicted, -1), **right)


def precision(outcomes: Outcomes) -> float:
    """Macro precision of the answers, mean over seeds; 0 if a training diverged."""
    every = np.arange(len(outcomes.labels))
    values = weighted_metrics(outcomes, every, np.ones((1, len(every))))["precision"]
    return float(np.nan_to_num(values.mean(), nan=0.0))


def find(
    limit: Constraint, folds: Outcomes, test: Outcomes | None, names: Sequence[str]
) -> dict[str, Any]:
    """The smallest threshold at which the limit holds on the folds, for a result file.

    The held-out images of all folds count together: a fold alone has too few answers of a class.
    "threshold": None if it holds at none; "at_threshold" then describes the most precise one.
    test: is only measured, at that threshold.
    """
    folds = replace(folds, fold=np.zeros_like(folds.fold))
    values = [precision(answered(folds, threshold)) for threshold in THRESHOLDS]
    holds = [i for i, value in enumerate(values) if value >= limit.bound]
    chosen = float(THRESHOLDS[holds[0] if holds else int(np.argmax(values))])
    parts = {"folds": folds} | ({"test": test} if test is not None else {})
    measured = {name: _measured(limit, part, chosen, names) for name, part in parts.items()}
    return {
        "threshold": chosen if holds else None,
        "at_threshold": {"limit": str(limit), "threshold": chosen, **measured},
    }


def again(result: Mapping[str, Any], outcomes: Outcomes) -> dict[str, Any]:
    """Measures another form of the network, with these outcomes, at the threshold of a result.

    For its own result file; {} if no threshold was searched for.
    """
    at = result.get("at_threshold")
    if at is None:
        return {}
    limit, names = Constraint.parse(at["limit"]), result["dataset"]["class_names"]
    test = _measured(limit, outcomes, at["threshold"], names)
    return {"at_threshold": {"limit": str(limit), "threshold": at["threshold"], "test": test}}


def _measured(
    limit: Constraint, outcomes: Outcomes, threshold: float, names: Sequence[str]
) -> dict[str, Any]:
    kept = answered(outcomes, threshold)
    images, value = len(kept.labels), precision(kept)
    answers = np.bincount(kept.predicted[kept.predicted >= 0], minlength=kept.num_classes)
    present = np.bincount(kept.labels, minlength=kept.num_classes) > 0
    return {
        "images": images,
        "coverage": float((kept.predicted >= 0).mean()),
        "precision": value,
        **evidence(limit, value, bootstrap(kept)["precision"], images),
        "never_answered": [names[i] for i in np.flatnonzero(present & (answers == 0)).tolist()],
    }


def words(result: Mapping[str, Any]) -> Iterator[str]:
    """The threshold of a result file in words; nothing if none was searched for."""
    at = result.get("at_threshold")
    if at is None:
        return
    if result["threshold"] is None:
        said = f"no threshold on the confidence makes {at['limit']} hold on the folds"
        yield f"{said}; the most precise is {at['threshold']:.2f}:"
    elif result["threshold"] == 0:
        yield f"{at['limit']} holds on the folds without a threshold on the confidence:"
    else:
        yield f"answers only with a confidence of at least {at['threshold']:.2f}:"
    for where, title in (("folds", "on the folds"), ("test", "on the test split")):
        if where in at:
            one = at[where]
            share = f"{100 * one['coverage']:.1f} % of {one['images']:,} images"
            yield f"    {title}: answers {share}, precision {one['precision']:.4f}"
            if where == "test":
                yield f"    {at['limit']} {in_words(one)}"
            if one["never_answered"]:
                yield f"    never answers {first_few(one['never_answered'])}"
