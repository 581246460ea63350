"""Classification metrics: pure functions of scores and labels over a whole fold or split.

Arguments throughout: `scores` float (N, K), larger is more likely; `labels` and `predicted` int
(N,) in 0..K-1. All results are Python floats in [0, 1], but for the loss.
"""

import numpy as np


def top_k_accuracy(scores: np.ndarray, labels: np.ndarray, k: int) -> float:
    """Share of images whose label is among the k largest scores.

    Ties count the lower class number first.
    """
    return float((label_ranks(scores, labels) < k).mean())


def label_ranks(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """How many classes stand before the label of each image: int (N,) in 0..K-1."""
    own = scores[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(scores.shape[1])[None, :] < labels[:, None]
    return ((scores > own) | ((scores == own) & earlier)).sum(axis=1)


def macro_precision(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> float:
    """Mean over all classes of (right / predicted); a class that is never predicted counts 0."""
    return _macro_ratio(predicted, predicted, labels, num_classes)


def macro_recall(predicted: np.ndarray, labels: np.ndarray, num_classes: int) -> float:
    """Mean over all classes of (right / present); a class that is absent counts 0."""
    return _macro_ratio(labels, predicted, labels, num_classes)


def _macro_ratio(
    counted: np.ndarray, predicted: np.ndarray, labels: np.ndarray, num_classes: int
) -> float:
    right = np.bincount(labels[predicted == labels], minlength=num_classes)
    total = np.bincount(counted, minlength=num_classes)
    return float((right / np.maximum(total, 1)).mean())


def precision_per_batch(
    predicted: np.ndarray, labels: np.ndarray, num_classes: int, batch_size: int
) -> float:
    """Macro precision of each batch of consecutive images, averaged by size of batch.

    The figure that the first version of this program published. It falls with the batch size, as
    most classes are absent from a small batch and count 0: use it only to compare with published
    tables.
    """
    starts = range(0, len(labels), batch_size)
    total = sum(
        macro_precision(predicted[i : i + batch_size], labels[i : i + batch_size], num_classes)
        * len(labels[i : i + batch_size])
        for i in starts
    )
    return float(total / len(labels))


def cross_entropy(scores: np.ndarray, labels: np.ndarray) -> float:
    """Mean negative log likelihood (natural logarithm) of the labels under softmax(scores)."""
    return float(losses(scores, labels).mean())


def losses(scores: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """The negative log likelihood of each image's label: float (N,)."""
    shifted = scores - scores.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    return log_sum - shifted[np.arange(len(labels)), labels]
