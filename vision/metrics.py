"""Classification metrics: pure functions of scores and labels over a whole fold or split.

Arguments throughout: `scores` float (N, K), larger is more likely; `labels` and `predicted` int
(N,) in 0..K-1. All results are Python floats in [0, 1], except the loss.
"""

import numpy as np
from scipy.special import log_softmax

METRICS = ("top3", "top1", "precision", "recall", "loss")  # of every trial on images


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of images whose label is among the k largest scores.

    Among equal scores, the lower class number ranks first.
    """
    return float((label_ranks(scores, labels) < k).mean())


def label_ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The number of classes that rank before the label of each image: int (N,) in 0..K-1."""
    own = scores[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(scores.shape[1])[None, :] < labels[:, None]
    return ((scores > own) | ((scores == own) & earlier)).sum(axis=1)


def macro_precision(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> float:
    """Mean of (correct / predicted) over the classes in `labels`.

    A class that is never predicted counts 0.
    """
    ratios = _ratios(predicted, predicted, labels, num_classes)
    return float(ratios.sum() / len(np.unique(labels)))


def macro_recall(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> float:
    """Mean of (correct / present) over the classes in `labels`."""
    ratios = _ratios(labels, predicted, labels, num_classes)
    return float(ratios.sum() / len(np.unique(labels)))


def _ratios(
    counted: np.ndarray, predicted: np.ndarray, labels: np.ndarray, num_classes: int
) -> np.ndarray:
    """Correct / counted of each class; 0 for a class that is not in `labels`."""
    right = np.bincount(labels[predicted == labels], minlength=num_classes)
    return right / np.maximum(np.bincount(counted, minlength=num_classes), 1)


def cross_entropy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log likelihood (natural logarithm) of the labels under softmax(scores)."""
    return float(losses(scores, labels).mean())


def losses(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The negative log likelihood of each image's label: float (N,)."""
    return -log_softmax(scores, axis=1)[np.arange(len(labels)), labels]
