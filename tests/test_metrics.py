"""Metrics compared with scikit-learn, or with hand-computed values."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision.metrics import cross_entropy, macro_precision, macro_recall, top_k_accuracy

oracle = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the oracle of the metrics")


@st.composite
def scored(draw):
    """(float32 scores without ties, labels, number of classes); most classes may be absent."""
    classes, count = draw(st.integers(3, 17)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = rng.permuted(np.tile(np.arange(classes), (count, 1)), axis=1)
    scores = (scores - rng.normal()) * draw(st.sampled_from([1e-3, 0.3, 1.0, 20.0]))
    labels = rng.integers(0, draw(st.integers(1, classes)), count)
    return scores.astype(np.float32), labels, classes


@settings(max_examples=40, deadline=None)
@given(scored(), st.integers(1, 5))
def test_metrics_are_those_of_scikit_learn(case, k):
    scores, labels, classes = case
    predicted, every = scores.argmax(axis=1), range(classes)
    options = {"labels": np.unique(labels), "average": "macro", "zero_division": 0}
    for ours, theirs in (
        (macro_precision, oracle.precision_score),
        (macro_recall, oracle.recall_score),
    ):
        value = ours(predicted, labels, classes)
        assert type(value) is float and 0 <= value <= 1
        assert value == pytest.approx(theirs(labels, predicted, **options), abs=1e-12)
    expected = 1.0
    if k < classes:
        expected = oracle.top_k_accuracy_score(labels, scores, k=k, labels=every)
    assert top_k_accuracy(scores, labels, k) == pytest.approx(expected, abs=1e-12)
    wide = scores.astype(np.float64)
    wide /= max(1.0, np.abs(wide).max() / 10)  # scikit-learn clips tiny probabilities
    shares = np.exp(wide - wide.max(axis=1, keepdims=True))
    shares /= shares.sum(axis=1, keepdims=True)
    expected = oracle.log_loss(labels, shares, labels=every)
    assert cross_entropy(wide, labels) == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_cross_entropy_of_large_logits_does_not_overflow():
    scores = np.array([[1e4, 0.0, -1e4], [0.0, 5e3, 0.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cross_entropy(scores, np.array([0, 1])) == 0.0
        assert cross_entropy(scores, np.array([2, 0])) == pytest.approx((2e4 + 5e3) / 2)


def test_classes_that_are_never_predicted_or_not_among_the_labels():
    """A test split may lack classes; perfect predictions must still give 1."""
    labels = np.array([0, 0, 1, 1])
    assert macro_precision(np.zeros(4, int), labels, 2) == 0.25  # half right for 0, nothing for 1
    assert macro_precision(np.array([3, 3, 3, 3]), labels, 4) == 0.0
    labels = np.array([0, 0, 3, 3])
    assert macro_precision(labels, labels, 5) == macro_recall(labels, labels, 5) == 1.0
    guess = np.array([0, 2, 3, 3])  # a wrong guess reduces the recall
    assert macro_recall(guess, labels, 5) == 0.75 and macro_precision(guess, labels, 5) == 1.0


def test_ties_count_the_lower_class_first():
    rng = np.random.default_rng(0)
    scores, labels = rng.integers(0, 3, (300, 5)).astype(np.float32), rng.integers(0, 5, 300)
    best = np.argsort(-scores, axis=1, kind="stable")
    for k in (1, 2, 3):
        expected = (best[:, :k] == labels[:, None]).any(axis=1).mean()
        assert top_k_accuracy(scores, labels, k) == expected
    assert top_k_accuracy(scores, labels, 1) == (scores.argmax(axis=1) == labels).mean()
