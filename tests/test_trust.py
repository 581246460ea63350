"""Evidence on limits, precision of each class, and thresholds on the confidence."""

from dataclasses import replace

import numpy as np
import pytest

from evaluation import classes, thresholds
from evaluation.evidence import evidence, told
from evaluation.statistics import bootstrap, interval
from search.constraints import Constraint
from tests.test_statistics import drawn, outcomes_of
from vision.metrics import macro_precision

LIMIT = Constraint("precision", ">=", 0.9)
NAMES = ("ash", "elm", "oak", "fir", "yew")


@pytest.mark.parametrize(
    "sense, bound, met, side, decided",
    [
        (">=", 0.70, True, "at least", True),
        (">=", 0.78, True, "at least", False),
        (">=", 0.90, False, "at most", True),
        ("<=", 0.82, True, "at most", False),
        ("<=", 0.70, False, "at least", True),
    ],
)
def test_a_limit_is_decided_if_the_bound_is_on_its_side(sense, bound, met, side, decided):
    resamples = np.random.default_rng(0).normal(0.8, 0.03, 10_000)
    found = evidence(Constraint("precision", sense, bound), 0.8, resamples, 100)
    assert (found["met"], found["side"], found["decided"]) == (met, side, decided)
    wanted = 0.8 - 1.645 * 0.03 * (1 if side == "at least" else -1)
    assert found["bound"] == pytest.approx(wanted, abs=0.003)
    # 0.8 is 0.02 from the limit and has a standard error of 0.03. With 80 % power the limit is
    # 1.645 + 0.842 standard errors away.
    needed = 100 * (2.487 * 0.03 / 0.02) ** 2
    assert found["images_needed"] == (None if decided else pytest.approx(needed, rel=0.1))
    assert ("not decided; that needs about" in told(found)) == (not decided)


def test_what_is_at_the_limit_or_was_counted_or_diverged_is_told_apart():
    resamples = np.random.default_rng(0).normal(0.9, 0.03, 1000)
    undecided = told(evidence(LIMIT, 0.9, resamples, 100))
    assert undecided.endswith("; that needs over 1,000,000 images")
    size = evidence(Constraint("num_params", "<=", 5), 7, None, 100)
    assert (size["met"], size["bound"], told(size)) == (False, None, "")
    lost = evidence(LIMIT, None, np.full(10, np.nan), 100)
    assert (lost["met"], lost["bound"], told(lost)) == (False, None, "")


@pytest.mark.slow
def test_the_bound_holds_nearly_as_often_as_it_says():
    """In 300 test sets of 17 classes with 20 images each, the lower bound is below the truth."""
    rng = np.random.default_rng(0)
    truth = rng.dirichlet(np.full(17, 0.3), 17) * 0.25 + 0.75 * np.eye(17)
    wanted = np.mean(truth.diagonal() / truth.sum(axis=0))
    labels, holds = np.repeat(np.arange(17), 20), []
    for _ in range(300):
        guess = (rng.random((340, 1)) > truth[labels].cumsum(axis=1)).sum(axis=1).clip(0, 16)
        outcomes = outcomes_of(np.eye(17)[None, guess], labels)
        holds.append(interval(bootstrap(outcomes, 1000)["precision"], 0.9)[0] <= wanted)
    assert 0.88 <= np.mean(holds) <= 0.97


def test_counts_of_each_class_by_hand():
    labels = np.array([0, 0, 0, 1, 1, 2])
    guess = np.array([0, 0, 1, 1, 0, 0])
    rows = classes.by_class(outcomes_of(np.eye(5)[None, guess], labels), NAMES)
    assert [(row["support"], row["predicted"], row["correct"]) for row in rows] == [
        *((3, 4, 2), (2, 2, 1), (1, 0, 0), (0, 0, 0), (0, 0, 0))
    ]
    assert [row["precision"] for row in rows] == [0.5, 0.5, None, None, None]
    assert rows[0]["recall"] == 2 / 3 and rows[3]["recall"] is None
    # By the definition of Clopper and Pearson: P(at least 1 of 2 right) at the bound is 0.05.
    assert 1 - (1 - rows[1]["precision_bound"]) ** 2 == pytest.approx(0.05)
    cells = classes.cells(rows)
    assert len(cells) == 6 and "0.500" in cells[-1] and cells[1][0] == "fir"


def sure_outcomes(seed=0, images=200):
    """Outcomes of a network that is right more often if it is more confident; 2 folds."""
    scores, labels = drawn(seed, seeds=1, images=images, skill=2.0)
    return outcomes_of(scores, labels, np.arange(images) % 2), scores[0], labels


def test_the_threshold_is_the_smallest_at_which_the_limit_holds_on_the_folds():
    outcomes, scores, labels = sure_outcomes()
    found = thresholds.find(LIMIT, outcomes, None, NAMES)
    confidence = np.exp(scores).max(axis=1) / np.exp(scores).sum(axis=1)

    def precision(threshold):
        """Precision by its definition, over the images of both folds."""
        ratios = []
        for label in range(5):
            kept = (confidence >= threshold) & (scores.argmax(axis=1) == label)
            ratios.append((labels[kept] == label).mean() if kept.any() else 0.0)
        return np.mean(ratios)

    assert 0 < found["threshold"] < 0.99
    assert precision(found["threshold"]) >= 0.9
    assert max(precision(t) for t in np.arange(0, found["threshold"] - 0.005, 0.01)) < 0.9
    at = found["at_threshold"]["folds"]
    assert at["precision"] == pytest.approx(precision(found["threshold"]))
    assert at["coverage"] == (confidence >= found["threshold"]).mean()


def test_the_test_split_is_measured_and_decides_nothing():
    on_folds, *_ = sure_outcomes()
    found = [thresholds.find(LIMIT, on_folds, sure_outcomes(seed)[0], NAMES) for seed in (1, 2)]
    assert found[0]["threshold"] == found[1]["threshold"]
    one, other = (each["at_threshold"]["test"] for each in found)
    assert one["coverage"] != other["coverage"]
    assert set(one) >= {"precision", "bound", "met", "decided", "images_needed"}
    result = {**found[0], "dataset": {"class_names": NAMES}}
    quantised = thresholds.again(result, sure_outcomes(2)[0])  # other answers, the same threshold
    assert quantised["at_threshold"]["test"] == other and thresholds.again({}, on_folds) == {}
    text = " ".join(thresholds.words(found[0]))
    assert f"at least {found[0]['threshold']:.2f}" in text
    assert f"on the test split: answers {100 * one['coverage']:.1f} % of 200 images" in text
    assert list(thresholds.words({})) == []


def test_without_a_threshold_precision_is_that_of_the_search():
    outcomes, scores, labels = sure_outcomes()
    wanted = macro_precision(scores.argmax(axis=1), labels, 5)
    assert thresholds.precision(outcomes) == pytest.approx(wanted)
    easy = thresholds.find(Constraint("precision", ">=", 0.2), outcomes, None, NAMES)
    assert easy["threshold"] == 0 and easy["at_threshold"]["folds"]["coverage"] == 1
    assert "without a threshold" in next(thresholds.words(easy))
    diverged = replace(outcomes, finite=np.array([False]))
    assert thresholds.find(LIMIT, diverged, None, NAMES)["threshold"] is None


def test_a_class_that_is_never_answered_counts_0():
    labels = np.repeat(np.arange(5), 4)
    scores = 9.0 * np.eye(5)[labels]
    all_right = outcomes_of(scores[None], labels)
    assert thresholds.find(LIMIT, all_right, None, NAMES)["threshold"] == 0
    scores[labels == 2] = 0.1 * np.eye(5)[2]  # not confident
    scores[0] = 9.0 * np.eye(5)[1]  # wrong and confident: class 1 has 4 right of 5
    scores[4:7] = 9.0 * np.eye(5)[3]  # class 1 has 1 of 2, class 3 has 4 of 7
    outcomes = outcomes_of(scores[None], labels)
    hard = thresholds.find(LIMIT, outcomes, None, NAMES)
    assert hard["threshold"] is None
    first, *others = thresholds.words(hard)
    assert first.startswith("no threshold") and "the most precise is 0." in first
    assert all("answers only" not in line for line in others)
    high = thresholds.answered(outcomes, 0.5)
    assert thresholds.precision(high) == pytest.approx(np.mean([1, 0.5, 0, 4 / 7, 1]))
    scores[labels == 2] = 9.0 * np.eye(5)[3]
    silent = thresholds.find(LIMIT, all_right, outcomes_of(scores[None], labels), NAMES)
    assert [*thresholds.words(silent)][-1] == f"    never answers {NAMES[2]}"
    silent["at_threshold"]["test"]["never_answered"] = [f"species {i}" for i in range(120)]
    assert [*thresholds.words(silent)][-1].endswith("species 3, species 4 and 115 more")
