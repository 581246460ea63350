"""The table of promotion: ranks of promoted trials, by hand and in a search."""

import pytest

from benchmarks import promotion
from benchmarks.problems.literature import PROBLEMS
from tests.problems import Crossing
from tests.stubs import make_trial


def test_the_mean_rank_of_the_promoted_by_hand():
    problem, best = Crossing(), {"rate": 1e-4, "batch": 16, "decay": 1e-4, "smoothing": 0.06}
    best |= {"warmup": 10, "schedule": "cosine"}
    worse, infeasible = {**best, "schedule": "step"}, {**best, "smoothing": 0.3}
    trials = [make_trial(i, config=c) for i, c in enumerate((best, worse, infeasible, infeasible))]
    assert promotion.mean_rank(trials, problem) == pytest.approx((0 + 1 / 3) / 2)
    assert promotion.mean_rank(trials[::-1], problem) > 0.8


def test_a_line_a_problem(capsys, monkeypatch, few_candidates):
    monkeypatch.setattr(promotion, "TRAININGS", 8)
    monkeypatch.setitem(PROBLEMS, "crossing", Crossing)
    assert promotion.main(["--problems", "crossing", "--seeds", "1"]) == 0
    line = capsys.readouterr().out.splitlines()[-1]
    assert line.startswith("| crossing |")
    assert all(0 <= float(cell) <= 1 for cell in line.split("|")[3:5])
