"""Objective and constraints: parsing, violations, and the ranking key."""

import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from search.constraints import Constraint, Ranking, total_violation
from tests.stubs import make_trial
from utils import InputError


@pytest.mark.parametrize(
    ("text", "metric", "sense", "bound"),
    [
        ("num_params <= 2e7", "num_params", "<=", 2e7),
        ("  loss<=-1 ", "loss", "<=", -1.0),
        ("recall@k=5 >= 0.2", "recall@k=5", ">=", 0.2),
        (" macro F1 (%)  <= 7", "macro F1 (%)", "<=", 7.0),
        ("x>=.3", "x", ">=", 0.3),
    ],
)
def test_parse_reads_metric_sense_and_bound(text, metric, sense, bound):
    assert Constraint.parse(text) == Constraint(metric, sense, bound)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "num_params < 3",
        "num_params <= ",
        "num_params <= nan",
        "num_params <= 1e400",
        "3 <= num_params",
        "a <= b <= 3",
        "<= 3",
        "num_params <= 3 or 4",
        "num_params <= 3\nx",
    ],
)
def test_parse_refuses_other_forms_and_names_them(text):
    with pytest.raises(InputError) as caught:
        Constraint.parse(text)
    assert repr(text) in str(caught.value) and "\n" not in str(caught.value)


@settings(max_examples=50)
@given(st.sampled_from(["<=", ">="]), st.floats(allow_nan=False, allow_infinity=False))
def test_a_constraint_in_words_is_read_back_to_the_same(sense, bound):
    constraint = Constraint("num_params", sense, bound)
    assert Constraint.parse(str(constraint)) == constraint
    assert str(Constraint.parse("num_params <= 2e7")) == "num_params <= 20000000"


def test_violations_are_shares_of_the_bound_and_add_up():
    limits = [Constraint.parse(text) for text in ("a <= 10", "b >= 4", "c <= 1")]
    assert total_violation(limits, {"a": 15, "b": 3, "c": 0}) == 0.5 + 0.25
    assert total_violation([], {}) == 0
    assert Constraint.parse("m <= 0.1").violation({"m": 0.1}) == 0
    assert Constraint.parse("m >= 0.1").violation({"m": 0.1}) == 0
    assert Constraint.parse("m >= 0").violation({"m": -0.5}) == 0.5
    assert Constraint.parse("m <= -2").violation({"m": -1}) == 0.5


@pytest.mark.parametrize("metrics", [{}, {"m": None}, {"m": math.nan}, {"m": math.inf}])
def test_a_metric_that_is_not_there_violates_without_bound(metrics):
    for text in ("m <= 3", "m >= 3"):
        assert Constraint.parse(text).violation(metrics) == math.inf


@pytest.mark.parametrize("objective", ["", "top3", "maximise top3", "minimize ", "Maximize m"])
def test_an_objective_of_another_form_is_refused(objective):
    with pytest.raises(InputError, match="maximize METRIC"):
        Ranking.parse(objective)


@pytest.mark.parametrize("name", ["val/acc", "mAP@0.5", "macro recall", "Güte"])
def test_an_objective_may_have_any_name_and_either_sense(name):
    ranking = Ranking.parse(f"minimize {name}", [f"{name} <= 3"])
    assert (ranking.metric, ranking.constraints[0].metric) == (name, name)
    trials = [make_trial(i, metrics={name: value}) for i, value in enumerate((0.5, -1.0, 2.0))]
    assert [trial.trial for trial in sorted(trials, key=ranking.key)] == [1, 0, 2]
    ranking = Ranking.parse(f"maximize {name}")
    assert [trial.trial for trial in sorted(trials, key=ranking.key)] == [2, 0, 1]


def test_feasible_before_infeasible_before_failed():
    ranking = Ranking.parse("maximize top3", ["num_params <= 100", "precision >= 0.5"])
    good = {"top3": 0.5, "num_params": 100, "precision": 0.5}
    worst_to_best = [
        make_trial(10, metrics={**good, "top3": math.inf}),
        make_trial(9, status="failed", metrics=good),
        make_trial(8, metrics={**good, "top3": math.nan}),
        make_trial(7, status="diverged", metrics={**good, "top3": None}),
        make_trial(6, metrics={}),
        make_trial(5, metrics={"top3": 0.99, "num_params": 1}),
        make_trial(4, metrics={**good, "top3": 0.99, "num_params": 200}),
        make_trial(3, metrics={**good, "num_params": 150}),
        make_trial(2, metrics={**good, "top3": 0.7, "num_params": 150}),
        make_trial(1, metrics=good),
        make_trial(0, metrics={**good, "top3": 0.6}),
    ]
    ranked = sorted(worst_to_best, key=ranking.key)
    assert [trial.trial for trial in ranked] == list(range(11))
    assert sorted(reversed(worst_to_best), key=ranking.key) == ranked
    assert [trial.trial for trial in ranked if ranking.feasible(trial)] == [0, 1]


def test_static_constraints_are_those_on_known_metrics():
    ranking = Ranking.parse("maximize top3", ["num_params <= 1", "precision >= 1", "macs <= 2"])
    known = [limit.metric for limit in ranking.static({"macs": 1, "num_params": 2})]
    assert known == ["num_params", "macs"] and ranking.static([]) == ()
