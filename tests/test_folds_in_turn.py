"""Folds trained one after the other: as many epochs, another order, the same full training."""

import math
import warnings

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.trainings import CONFIG, bits, make_target, same_logits, without_curve
from utils import fold_epochs
from vision.training import Learner

FULL, FOLDS = 12, 3
RUNGS = (2, 3, 6, 12)
LENGTHS = {2: [6], 3: [9], 6: [12, 6], 12: [12, 12, 12]}


def in_turn(**options):
    return make_target(folds=FOLDS, in_turn=FULL, curve_epochs=RUNGS, **options)


@given(st.integers(1, 300), st.integers(2, 10), st.integers(1, 300))
def test_as_many_epochs_whatever_the_order(full, folds, epochs):
    lengths = fold_epochs(epochs, folds, full)
    assert fold_epochs(epochs, folds, None) == [epochs] * folds
    assert sum(lengths) == epochs * folds
    if epochs < full:
        assert all(length == full for length in lengths[:-1]) and 0 < lengths[-1] <= full
        assert len(lengths) < folds or lengths[-1] < full
    else:
        assert lengths == [epochs] * folds


@pytest.mark.parametrize("epochs", RUNGS)
def test_a_rung_is_the_mean_of_the_folds_begun_each_as_long_as_it_is_trained(epochs):
    result = in_turn().evaluate(CONFIG, epochs, 4)
    lengths = LENGTHS[epochs]
    assert len(result["folds"]) == len(lengths)
    for number, (fold, length) in enumerate(zip(result["folds"], lengths, strict=True)):
        alone = make_target(folds=FOLDS).evaluate(CONFIG, length, 4)["folds"][number]
        assert {**fold, "curve": None} == {**alone, "curve": None}
    mean = sum(fold["top3"] for fold in result["folds"]) / len(lengths)
    assert result["top3"] == pytest.approx(mean, abs=1e-12)


def test_trained_in_full_it_is_the_same_network_as_side_by_side():
    one, other = in_turn(), make_target(folds=FOLDS)
    results = [target.evaluate(CONFIG, FULL, 4) for target in (one, other)]
    assert bits(without_curve(results[0])) == bits(without_curve(results[1]))


def test_the_curve_is_measured_where_rungs_stand_on_each_fold():
    folds = in_turn().evaluate(CONFIG, FULL, 4)["folds"]
    points = [[point["epochs"] for point in fold["curve"]] for fold in folds]
    assert points == [[6, 9, 12], [6, 12], [12]]


def test_continuing_from_rung_to_rung_equals_one_go(tmp_path, monkeypatch):
    trained, train_epoch = [], Learner.train_epoch

    def counted(learner, *args):
        trained.append(learner.epochs)
        train_epoch(learner, *args)

    monkeypatch.setattr(Learner, "train_epoch", counted)
    path, logits, costs = tmp_path / "a.pt", {}, []
    for epochs in RUNGS:
        target = in_turn()
        result = target.evaluate(CONFIG, epochs, 4, path)
        logits |= target.logits
        costs.append(len(trained))
    assert costs == [FOLDS * epochs for epochs in RUNGS], "an epoch of a rung is one of each fold"
    whole = in_turn()
    assert bits(result) == bits(whole.evaluate(CONFIG, FULL, 4))
    assert same_logits(logits, whole.logits)


def test_a_state_of_folds_side_by_side_is_not_taken_for_one_in_turn(tmp_path):
    path = tmp_path / "a.pt"
    make_target(folds=FOLDS, curve_epochs=RUNGS).evaluate(CONFIG, 3, 4, path)
    assert bits(in_turn().evaluate(CONFIG, 6, 4, path)) == bits(in_turn().evaluate(CONFIG, 6, 4))


def test_a_diverged_fold_makes_the_rung_diverge(tmp_path):
    config = {**CONFIG, "learning_rate_init": 1e30}
    path = tmp_path / "a.pt"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for epochs in (3, 6):
            assert math.isnan(in_turn().evaluate(config, epochs, 4, path)["top3"])
