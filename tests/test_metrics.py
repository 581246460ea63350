"""Metrics against scikit-learn, and against loops that say plainly what is meant."""

import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vision.metrics import (
    cross_entropy,
    macro_precision,
    macro_recall,
    top_k_accuracy,
)

oracle = pytest.importorskip("sklearn.metrics", reason="scikit-learn is the oracle of the metrics")


@st.composite
def guesses(draw):
    """(predicted, labels, number of classes); most classes may be absent."""
    classes = draw(st.integers(2, 17))
    present = st.integers(0, draw(st.integers(1, classes)) - 1)
    count = draw(st.integers(1, 60))
    predicted, labels = (draw(st.lists(present, min_size=count, max_size=count)) for _ in "ab")
    return np.array(predicted), np.array(labels), classes


@st.composite
def scored(draw):
    """(float32 scores without ties, labels, number of classes)."""
    classes, count = draw(st.integers(3, 17)), draw(st.integers(1, 40))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    scores = rng.permuted(np.tile(np.arange(classes), (count, 1)), axis=1)
    scores = (scores - rng.normal()) * draw(st.sampled_from([1e-3, 0.3, 1.0, 20.0]))
    return scores.astype(np.float32), rng.integers(0, classes, count), classes


@settings(max_examples=150, deadline=None)
@given(guesses())
def test_macro_precision_and_recall_are_those_of_scikit_learn(case):
    predicted, labels, classes = case
    options = {"labels": np.unique(labels), "average": "macro", "zero_division": 0}
    for ours, theirs in (
        (macro_precision, oracle.precision_score),
        (macro_recall, oracle.recall_score),
    ):
        value = ours(predicted, labels, classes)
        assert type(value) is float and 0 <= value <= 1
        assert value == pytest.approx(theirs(labels, predicted, **options), abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(scored(), st.integers(1, 5))
def test_top_k_is_that_of_scikit_learn(case, k):
    scores, labels, classes = case
    value = top_k_accuracy(scores, labels, k)
    assert type(value) is float
    if k >= classes:
        assert value == 1.0
        return
    theirs = oracle.top_k_accuracy_score(labels, scores, k=k, labels=range(classes))
    assert value == pytest.approx(theirs, abs=1e-12)


@settings(max_examples=100, deadline=None)
@given(scored())
def test_cross_entropy_is_that_of_scikit_learn(case):
    scores, labels, classes = case
    scores = scores.astype(np.float64)
    scores /= max(1.0, np.abs(scores).max() / 10)  # scikit-learn clips tiny probabilities
    exponent = np.exp(scores - scores.max(axis=1, keepdims=True))
    theirs = oracle.log_loss(
        labels, exponent / exponent.sum(axis=1, keepdims=True), labels=range(classes)
    )
    assert cross_entropy(scores, labels) == pytest.approx(theirs, rel=1e-9, abs=1e-12)


def test_cross_entropy_of_large_logits_does_not_overflow():
    scores = np.array([[1e4, 0.0, -1e4], [0.0, 5e3, 0.0]])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert cross_entropy(scores, np.array([0, 1])) == 0.0
        assert cross_entropy(scores, np.array([2, 0])) == pytest.approx((2e4 + 5e3) / 2)
    assert cross_entropy(np.zeros((7, 17)), np.arange(7)) == pytest.approx(np.log(17))


def test_a_class_that_is_never_predicted_counts_zero():
    labels = np.array([0, 0, 1, 1])
    assert macro_precision(labels, labels, 2) == 1.0
    assert macro_precision(np.zeros(4, int), labels, 2) == 0.25  # half right for 0, nothing for 1
    assert macro_precision(np.array([3, 3, 3, 3]), labels, 4) == 0.0
    assert macro_precision(np.array([0, 0, 1, 0]), labels, 2) == pytest.approx((2 / 3 + 1) / 2)


def test_a_class_that_the_labels_do_not_have_is_left_out():
    """A test part may hold some of the classes only: what is perfect has to be 1 there, too."""
    labels = np.array([0, 0, 3, 3])
    assert macro_precision(labels, labels, 5) == macro_recall(labels, labels, 5) == 1.0
    guess = np.array([0, 2, 3, 3])  # a wrong guess is a loss of recall
    assert macro_recall(guess, labels, 5) == 0.75 and macro_precision(guess, labels, 5) == 1.0


def test_precision_and_recall_are_not_mixed_up():
    predicted, labels = np.array([0, 0, 0, 1]), np.array([0, 1, 1, 1])
    assert macro_precision(predicted, labels, 2) == pytest.approx((1 / 3 + 1) / 2)
    assert macro_recall(predicted, labels, 2) == pytest.approx((1 + 1 / 3) / 2)


def test_ties_count_the_lower_class_first():
    scores = np.zeros((4, 4))
    labels = np.arange(4)
    assert [top_k_accuracy(scores, labels, k) for k in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]
    scores = np.array([[1.0, 2.0, 2.0, 2.0]] * 4)
    assert [top_k_accuracy(scores, labels, k) for k in (1, 2, 3, 4)] == [0.25, 0.5, 0.75, 1.0]
    assert top_k_accuracy(scores[1:2], labels[1:2], 1) == 1.0
    assert top_k_accuracy(scores[3:4], labels[3:4], 2) == 0.0


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 2**32 - 1))
def test_top_1_is_the_share_of_right_predictions_also_with_ties(seed):
    rng = np.random.default_rng(seed)
    scores, labels = rng.integers(0, 3, (30, 5)).astype(np.float32), rng.integers(0, 5, 30)
    assert top_k_accuracy(scores, labels, 1) == (scores.argmax(axis=1) == labels).mean()
    best = np.argsort(-scores, axis=1, kind="stable")[:, :3]
    assert top_k_accuracy(scores, labels, 3) == (best == labels[:, None]).any(axis=1).mean()


@settings(max_examples=50, deadline=None)
@given(scored(), st.randoms(use_true_random=False))
def test_metrics_do_not_depend_on_the_order_of_images(case, random):
    scores, labels, classes = case
    order = list(range(len(labels)))
    random.shuffle(order)
    predicted = scores.argmax(axis=1)
    for metric in (macro_precision, macro_recall):
        assert metric(predicted[order], labels[order], classes) == metric(
            predicted, labels, classes
        )
    assert top_k_accuracy(scores[order], labels[order], 2) == pytest.approx(
        top_k_accuracy(scores, labels, 2)
    )
