"""Tests and intervals compared with other implementations, explicit resamples, enumeration."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evaluation import statistics
from evaluation.statistics import METRICS, bootstrap, holm, interval, permutation, weighted_metrics
from vision import metrics

CLASSES = 5


def outcomes_of(scores, labels, fold=None):
    fold = np.zeros(len(labels), int) if fold is None else fold
    return statistics.outcomes_of(scores, labels, fold)


def drawn(seed, seeds=3, images=60, classes=CLASSES, skill=1.5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    return rng.normal(size=(seeds, images, classes)) + skill * np.eye(classes)[labels], labels


def pair(b, c, both=7, neither=4):
    """Two bool arrays with that many discordant images."""
    first = np.repeat([True, False, True, False], [b, c, both, neither])
    second = np.repeat([False, True, True, False], [b, c, both, neither])
    return first, second


def test_with_one_seed_the_permutation_test_is_the_exact_test_of_mcnemar():
    """Twice a sum of binomial coefficients."""
    rng = np.random.default_rng(1)
    for b, c in rng.integers(0, rng.integers(2, 60, 200)[:, None], (200, 2)).tolist():
        rarer = sum(math.comb(b + c, k) for k in range(min(b, c) + 1))
        expected = min(1.0, 2 * rarer / 2 ** (b + c))
        first, second = pair(b, c, *rng.integers(0, 50, 2))
        assert permutation(first[None], second[None]) == pytest.approx(expected, rel=1e-9)


def enumerated(first, second):
    """The share of all sign flips whose difference is at least as large as the observed one."""
    difference = first.mean(axis=0) - second.mean(axis=0)
    sums = [np.dot(s, difference) for s in itertools.product((1, -1), repeat=len(difference))]
    return np.mean(np.abs(sums) >= abs(difference.sum()) - 1e-12)


@settings(max_examples=40)
@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 4), st.integers(1, 9))
def test_the_permutation_test_is_exact(seed, s, t, images):
    rng = np.random.default_rng(seed)
    first, second = rng.random((s, images)) < 0.7, rng.random((t, images)) < 0.3
    p = permutation(first, second)
    assert p == pytest.approx(enumerated(first, second), rel=1e-12)
    assert p == permutation(second, first) and permutation(first, first) == 1.0


@settings(max_examples=40)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_is_the_closed_test_by_bonferroni(p_values):
    """p of a hypothesis is the largest p of a set that contains it (Holm 1979)."""
    expected = np.zeros(len(p_values))
    for members in itertools.product((False, True), repeat=len(p_values)):
        chosen = np.array(members)
        if any(members):
            together = min(1.0, chosen.sum() * np.min(np.array(p_values)[chosen]))
            expected[chosen] = np.maximum(expected[chosen], together)
    assert holm(p_values) == pytest.approx(expected, abs=1e-15)


@settings(max_examples=10)
@given(st.integers(0, 10**6))
def test_weighted_metrics_are_those_of_explicit_resamples(seed):
    scores, labels = drawn(seed, seeds=2, images=30)
    rng = np.random.default_rng(seed)
    draws = rng.integers(0, 30, (3, 20))
    weights = np.stack([np.bincount(draw, minlength=30) for draw in draws]).astype(float)
    found = weighted_metrics(outcomes_of(scores, labels), np.arange(30), weights)
    for r, draw in enumerate(draws):
        for s, logits in enumerate(scores[:, draw]):
            guess, true = logits.argmax(axis=1), labels[draw]
            expected = {
                "top3": metrics.top_k_accuracy(logits, true, 3),
                "top1": metrics.top_k_accuracy(logits, true, 1),
                "precision": metrics.macro_precision(guess, true, CLASSES),
                "recall": metrics.macro_recall(guess, true, CLASSES),
                "loss": metrics.cross_entropy(logits, true),
            }
            assert {name: found[name][r, s] for name in METRICS} == pytest.approx(expected)


def test_one_seed_gives_the_spread_of_images_alone(monkeypatch):
    """It is centred on the metric, with the standard error of a share, sqrt(p (1 - p) / n)."""
    scores, labels = drawn(4, seeds=1, images=300)
    outcomes = outcomes_of(scores, labels)
    values = bootstrap(outcomes, 5000)
    monkeypatch.setattr(statistics, "BLOCK", 300 * 2000)  # blocks of 2,000, 2,000 and 1,000
    assert np.array_equal(values["top1"], bootstrap(outcomes, 5000)["top1"])
    share = metrics.top_k_accuracy(scores[0], labels, 1)
    assert values["top1"].mean() == pytest.approx(share, abs=0.003)
    assert values["top1"].std() == pytest.approx(np.sqrt(share * (1 - share) / 300), rel=0.03)
    assert interval(values["top1"]) == pytest.approx(np.quantile(values["top1"], [0.025, 0.975]))


def test_seeds_that_differ_widen_the_interval():
    scores, labels = drawn(5, seeds=1, images=300)
    alike = bootstrap(outcomes_of(np.repeat(scores, 3, axis=0), labels), 2000)["top1"]
    one = bootstrap(outcomes_of(scores, labels), 2000)["top1"]
    assert alike.std() == pytest.approx(one.std(), rel=0.08)  # equal seeds add no information
    # Seeds with all or no images right: the spread is that of drawing 3 of them.
    labels = np.zeros(50, int)
    other = np.stack(
        [np.eye(CLASSES)[labels], np.eye(CLASSES)[labels], np.eye(CLASSES)[labels + 1]]
    )
    values = bootstrap(outcomes_of(other, labels), 5000)["top1"]
    assert values.std() == pytest.approx(np.sqrt(2 / 3 * 1 / 3 / 3), rel=0.03)


def test_folds_count_alike_and_are_resampled_apart():
    """The mean over folds of means: a constant fold does not add to the spread."""
    scores, labels = drawn(6, seeds=1, images=90)
    fold = np.repeat([0, 1], [60, 30])
    outcomes = outcomes_of(scores, labels, fold)
    sure = replace(outcomes, top1=outcomes.top1 | (fold == 0))
    values = bootstrap(sure, 5000)["top1"]
    share = outcomes.top1[0, fold == 1].mean()
    assert values.mean() == pytest.approx((1 + share) / 2, abs=0.002)
    assert values.std() == pytest.approx(np.sqrt(share * (1 - share) / 30) / 2, rel=0.03)
