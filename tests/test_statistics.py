"""Tests and intervals against other implementations, explicit resamples and enumeration."""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evaluation.statistics import (
    METRICS,
    Outcomes,
    bootstrap,
    holm,
    interval,
    mcnemar,
    permutation,
    weighted_metrics,
)
from vision import metrics

CLASSES = 5


def outcomes_of(scores, labels, fold=None):
    """Outcomes of logits (S, N, K), by the program's own metrics of single images."""
    ranks = np.stack([metrics.label_ranks(one, labels) for one in scores])
    return Outcomes(
        num_classes=scores.shape[2],
        labels=labels,
        fold=np.zeros(len(labels), int) if fold is None else fold,
        predicted=scores.argmax(axis=2),
        top3=ranks < 3,
        top1=ranks < 1,
        loss=np.stack([metrics.losses(one, labels) for one in scores]),
        finite=np.isfinite(scores).all(axis=(1, 2)),
        confidence=np.stack([np.exp(-metrics.losses(one, one.argmax(axis=1))) for one in scores]),
    )


def drawn(seed, seeds=3, images=60, classes=CLASSES, skill=1.5):
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, classes, images)
    return rng.normal(size=(seeds, images, classes)) + skill * np.eye(classes)[labels], labels


def pair(b, c, both=7, neither=4):
    """Two bool arrays with that many discordant images."""
    first = np.repeat([True, False, True, False], [b, c, both, neither])
    second = np.repeat([False, True, True, False], [b, c, both, neither])
    return first, second


# ------------------------------------------------------------------------------------------ tests


def test_mcnemar_equals_the_formulas_on_random_tables():
    """Sums of binomial coefficients; the tail of chi-square with one degree of freedom by erfc."""
    rng = np.random.default_rng(1)
    for b, c in rng.integers(0, rng.integers(2, 60, 1000)[:, None], (1000, 2)).tolist():
        result = mcnemar(*pair(b, c, *rng.integers(0, 50, 2)))
        assert (result.b, result.c, result.exact) == (b, c, b + c <= 25)
        if b + c:
            rarer = sum(math.comb(b + c, k) for k in range(min(b, c) + 1))
            exact = min(1.0, 2 * rarer / 2 ** (b + c))
            tail = math.erfc(abs(abs(b - c) - 1) / math.sqrt(2 * (b + c)))
            expected = exact if b + c <= 25 else tail
            assert result.p == pytest.approx(expected, rel=1e-12)


def test_mcnemar_of_networks_that_nothing_tells_apart():
    result = mcnemar(*pair(0, 0))
    assert (result.p, result.exact) == (1.0, True)


def enumerated(first, second):
    """The share of all ways to flip images whose difference is as large as the observed one."""
    difference = first.mean(axis=0) - second.mean(axis=0)
    sums = [np.dot(s, difference) for s in itertools.product((1, -1), repeat=len(difference))]
    return np.mean(np.abs(sums) >= abs(difference.sum()) - 1e-12)


@given(st.integers(0, 10**6), st.integers(1, 4), st.integers(1, 4), st.integers(1, 9))
def test_the_permutation_test_is_exact(seed, s, t, images):
    rng = np.random.default_rng(seed)
    first, second = rng.random((s, images)) < 0.7, rng.random((t, images)) < 0.3
    p = permutation(first, second)
    assert p == pytest.approx(enumerated(first, second), rel=1e-12)
    assert p == permutation(second, first)


def test_a_permutation_by_hand():
    """Differences 1, 1, 1/2: of 8 sums, +-5/2 are as far as what was seen."""
    first = np.array([[True, True, True], [True, True, False]])
    second = np.zeros((2, 3), bool)
    assert permutation(first, second) == 2 / 8
    assert permutation(second, second) == 1.0


@given(st.integers(0, 12), st.integers(0, 12))
def test_with_one_seed_the_permutation_test_is_mcnemars_exact_one(b, c):
    first, second = pair(b, c)
    expected = mcnemar(first, second).p
    assert permutation(first[None], second[None]) == pytest.approx(expected, rel=1e-12)


def test_under_no_difference_the_permutation_test_rejects_as_often_as_it_says():
    """p <= 0.05 in no more than 5 % of 1000 experiments without a difference (and a spread)."""
    rng = np.random.default_rng(2)
    hard = rng.random((1000, 1, 80))
    p = [permutation(*(rng.random((2, 3, 80)) < images)) for images in hard]
    assert 0.02 < np.mean(np.array(p) <= 0.05) < 0.065


@given(st.lists(st.floats(0, 1), min_size=1, max_size=7))
def test_holm_is_the_closed_test_by_bonferroni(p_values):
    """A hypothesis is as likely as the likeliest set that has it (Holm 1979)."""
    expected = np.zeros(len(p_values))
    for members in itertools.product((False, True), repeat=len(p_values)):
        chosen = np.array(members)
        if any(members):
            together = min(1.0, chosen.sum() * np.min(np.array(p_values)[chosen]))
            expected[chosen] = np.maximum(expected[chosen], together)
    assert holm(p_values) == pytest.approx(expected, abs=1e-15)


# -------------------------------------------------------------------------------------- intervals


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


def test_resamples_lie_around_the_metrics_and_are_the_same_each_time():
    scores, labels = drawn(3, images=400)
    outcomes = outcomes_of(scores, labels)
    values = bootstrap(outcomes, 2000)
    for name, again in bootstrap(outcomes, 2000).items():
        assert np.array_equal(values[name], again) and values[name].shape == (2000,)
    for name, k in (("top3", 3), ("top1", 1)):
        mean = np.mean([metrics.top_k_accuracy(one, labels, k) for one in scores])
        assert values[name].mean() == pytest.approx(mean, abs=0.003)


def test_one_seed_gives_the_spread_of_images_alone():
    """The standard error of a share is sqrt(p (1 - p) / n)."""
    scores, labels = drawn(4, seeds=1, images=300)
    values = bootstrap(outcomes_of(scores, labels), 20_000)["top1"]
    share = metrics.top_k_accuracy(scores[0], labels, 1)
    assert values.std() == pytest.approx(np.sqrt(share * (1 - share) / 300), rel=0.03)


def test_seeds_that_differ_widen_the_interval():
    scores, labels = drawn(5, seeds=1, images=300)
    alike = bootstrap(outcomes_of(np.repeat(scores, 3, axis=0), labels), 4000)["top1"]
    one = bootstrap(outcomes_of(scores, labels), 4000)["top1"]
    assert alike.std() == pytest.approx(one.std(), rel=0.08)  # no more is known
    other = np.stack([scores[0], scores[0], drawn(5, 1, 300, skill=0)[0][0]])
    assert bootstrap(outcomes_of(other, labels), 4000)["top1"].std() > 2 * one.std()


def test_folds_count_alike_and_are_resampled_apart():
    """A mean over folds of means: a fold in which nothing varies adds nothing to the spread."""
    scores, labels = drawn(6, seeds=1, images=90)
    fold = np.repeat([0, 1], [60, 30])
    outcomes = outcomes_of(scores, labels, fold)
    sure = replace(outcomes, top1=outcomes.top1 | (fold == 0))
    values = bootstrap(sure, 20_000)["top1"]
    share = outcomes.top1[0, fold == 1].mean()
    assert values.mean() == pytest.approx((1 + share) / 2, abs=0.002)
    assert values.std() == pytest.approx(np.sqrt(share * (1 - share) / 30) / 2, rel=0.03)


def test_the_interval_covers_what_is_true_about_as_often_as_it_says():
    """Images and seeds both random: a network's seed shifts its chance of being right.

    With as many seeds as here the bootstrap covers slightly less than 95 %.
    """
    rng, hits = np.random.default_rng(7), []
    for _ in range(100):
        skill = rng.normal(0.7, 0.04, (10, 1))
        right = rng.random((10, 200)) < skill
        labels = np.zeros(200, int)
        guess = np.where(right, 0, 1)
        loss, finite = np.zeros((10, 200)), np.ones(10, bool)
        outcomes = Outcomes(2, labels, labels, guess, right, right, loss, finite, loss)
        low, high = interval(bootstrap(outcomes, 300)["top1"])
        hits.append(low <= 0.7 <= high)
    assert 0.88 <= np.mean(hits) <= 0.99


def test_a_training_without_numbers_has_no_interval():
    scores, labels = drawn(8)
    scores[1, 3, 2] = np.nan
    values = bootstrap(outcomes_of(scores, labels), 100)
    for name in METRICS:
        assert np.isnan(interval(values[name])).all()
        assert not (values[name] >= 0).any()
