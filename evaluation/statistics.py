"""Intervals and tests for evaluations: the uncertainty of metrics and of differences.

All functions are pure functions of the predictions for the held-out images. An evaluation has two
sources of randomness: the images of the test split, and the seed of the training.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binom

from utils import derive_rng
from vision.metrics import METRICS, label_ranks, losses

RESAMPLES = 10_000
BLOCK = 2**22  # weights (images x resamples) in memory at a time


@dataclass(frozen=True, eq=False)
class Outcomes:
    """Predictions for N held-out images by a configuration trained once with each of S seeds.

    labels, fold: int (N,). predicted: int (S, N), the likeliest class. top3, top1: bool (S, N),
    whether it was right. loss: float (S, N), nats. finite: bool (S,), whether all logits are
    finite. confidence: float (S, N), the probability of the likeliest class. A metric is the mean
    over the folds (one, for the test split).
    """

    num_classes: int
    labels: np.ndarray
    fold: np.ndarray
    predicted: np.ndarray
    top3: np.ndarray
    top1: np.ndarray
    loss: np.ndarray
    finite: np.ndarray
    confidence: np.ndarray


def outcomes_of(scores: np.ndarray, labels: np.ndarray, fold: np.ndarray) -> Outcomes:
    """The outcomes of logits (S, N, K); a diverged training gets nothing right."""
    scores = scores.astype(np.float64)
    finite = np.asarray(np.isfinite(scores).all(axis=(1, 2)))
    scores[~finite] = 0.0
    ranks = np.stack([label_ranks(one, labels) for one in scores])
    return Outcomes(
        num_classes=scores.shape[2],
        labels=labels,
        fold=fold,
        predicted=scores.argmax(axis=2),
        top3=(ranks < 3) & finite[:, None],
        top1=(ranks < 1) & finite[:, None],
        loss=np.stack([losses(one, labels) for one in scores]),
        finite=finite,
        confidence=np.stack([np.exp(-losses(one, one.argmax(axis=1))) for one in scores]),
    )


def bootstrap(outcomes: Outcomes, resamples: int = RESAMPLES) -> dict[str, np.ndarray]:
    """Each of METRICS over resamples of images and seeds: float (resamples,).

    Images are drawn with replacement within each fold, seeds with replacement, independently of
    each other (Efron & Tibshirani 1993, chapters 6 and 13; for crossed factors Owen 2007, "The
    pigeonhole bootstrap"). With one seed the spread is that of the images alone; few seeds show
    too little of theirs, by a factor of (S - 1) / S in variance. The generator depends on the
    shapes only, so that configurations measured on the same images share their resamples. NaN
    where a training diverged.
    """
    count, images = outcomes.predicted.shape
    rng = derive_rng("bootstrap", count, images)
    seeds = rng.multinomial(count, np.full(count, 1 / count), size=resamples) / count
    folds, block = np.unique(outcomes.fold), max(1, BLOCK // images)
    values: dict[str, list[np.ndarray]] = {name: [] for name in METRICS}
    for start in range(0, resamples, block):
        share = seeds[start : start + block]  # of each seed in each resample, (block, S)
        parts: dict[str, list[np.ndarray]] = {name: [] for name in METRICS}
        for fold in folds:
            part = np.flatnonzero(outcomes.fold == fold)
            even = np.full(len(part), 1 / len(part))
            weights = rng.multinomial(len(part), even, size=len(share)).astype(float)
            for name, by_seed in weighted_metrics(outcomes, part, weights).items():
                parts[name].append(by_seed)
        for name in METRICS:
            values[name].append((np.mean(parts[name], axis=0) * share).sum(axis=1))
    return {name: np.concatenate(blocks) for name, blocks in values.items()}


def weighted_metrics(
    outcomes: Outcomes, part: np.ndarray, weights: np.ndarray
) -> dict[str, np.ndarray]:
    """METRICS of each seed over some images, each with its weight: float (R, S).

    part: int (n,), the images. weights: float (R, n), with a positive sum.
    """
    labels, predicted = outcomes.labels[part], outcomes.predicted[:, part]
    classes = np.arange(outcomes.num_classes)
    true = labels[:, None] == classes
    present = weights @ true  # images of each class, (R, K)
    total = weights.sum(axis=1, keepdims=True)
    values = {
        "top3": weights @ outcomes.top3[:, part].T / total,
        "top1": weights @ outcomes.top1[:, part].T / total,
        "loss": weights @ outcomes.loss[:, part].T / total,
    }
    ratios: dict[str, list[np.ndarray]] = {"precision": [], "recall": []}
    for guess in predicted:
        guessed = guess[:, None] == classes
        right = weights @ (guessed & true)
        for name, among in (("precision", weights @ guessed), ("recall", present)):
            # Mean over the classes of the labels, as in vision/metrics.py; right is 0 elsewhere.
            ratios[name].append((right / np.maximum(among, 1)).sum(axis=1) / (present > 0).sum(1))
    values |= {name: np.stack(columns, axis=1) for name, columns in ratios.items()}
    return {name: np.where(outcomes.finite, value, np.nan) for name, value in values.items()}


def interval(values: np.ndarray, level: float = 0.95) -> tuple[float, float]:
    """The percentile interval (Efron & Tibshirani 1993, section 13.3); NaN if a value is NaN."""
    low, high = np.quantile(values, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def permutation(first: np.ndarray, second: np.ndarray) -> float:
    """p, two-sided, of the paired permutation test on mean correctness over seeds.

    first: bool (S, N); second: bool (T, N), whether each image was classified correctly with each
    seed. Under the null hypothesis each image's difference has a random sign (Fisher 1935,
    section 21). The differences are whole multiples of 1 / lcm(S, T), so that the distribution
    over all 2^N signs is a convolution of binomials: p is exact, without sampling. For one seed
    each it is McNemar's exact test (1947). It generalises over images, for the networks of these
    seeds.
    """
    parts = int(np.lcm(len(first), len(second)))
    difference = first.sum(axis=0) * (parts // len(first))
    difference = difference - second.sum(axis=0) * (parts // len(second))
    sizes, counts = np.unique(np.abs(difference[difference != 0]), return_counts=True)
    chances = np.ones(1)  # of the sums -reach..reach
    for size, count in zip(sizes, counts, strict=True):
        steps = np.zeros(2 * size * count + 1)
        steps[:: 2 * size] = binom.pmf(np.arange(count + 1), count, 0.5)
        chances = np.convolve(chances, steps)
    reach = len(chances) // 2
    extreme = np.abs(np.arange(-reach, reach + 1)) >= abs(difference.sum())
    return min(1.0, float(chances[extreme].sum()))


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p values that hold for all tests together (Holm 1979), in the order given."""
    count = len(p_values)
    adjusted, largest = [0.0] * count, 0.0
    for rank, i in enumerate(sorted(range(count), key=lambda i: p_values[i])):
        largest = max(largest, min(1.0, (count - rank) * p_values[i]))
        adjusted[i] = largest
    return adjusted
