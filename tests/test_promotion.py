"""The table of promotion: ranks of what goes on, by hand and in a search."""

import pytest

from benchmarks import promotion
from benchmarks.problems import by_name
from tests.stubs import make_trial


def test_the_mean_rank_of_the_promoted_by_hand():
    problem = by_name("deceptive")
    best, worse = dict(problem.best), {**problem.best, "kind": "a"}
    infeasible = {**problem.best, "mode": 1}
    trials = [make_trial(i, config=c) for i, c in enumerate((best, worse, infeasible, infeasible))]
    assert promotion.mean_rank(trials, problem) == pytest.approx((0 + 1 / 3) / 2)
    assert promotion.mean_rank(trials[::-1], problem) > 0.8


def test_a_line_a_problem(capsys, monkeypatch):
    monkeypatch.setattr(promotion, "TRAININGS", 8)
    assert promotion.main(["--problems", "deceptive", "--seeds", "1"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("| deceptive |")
    assert all(0 <= float(cell) <= 1 for cell in line.split("|")[3:5])
