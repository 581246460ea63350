"""Problems of the literature: what is frozen of them holds on the surrogate, if it is at hand."""

import os
from pathlib import Path

import pytest

from benchmarks.problems import by_name, lcbench
from utils import InputError, derive_rng

HERE = Path(os.environ.get("THIRD_PARTY_DIR", "nowhere")) / "yahpo" / "lcbench" / "model.onnx"
needs_data = pytest.mark.skipif(not HERE.is_file(), reason="THIRD_PARTY_DIR has no yahpo/lcbench")


def test_the_halves_are_apart_and_nothing_excluded_is_in_them():
    assert len(lcbench.TUNE) == len(lcbench.CLAIM) == 5
    assert {*lcbench.TUNE, *lcbench.CLAIM} == set(lcbench.PROBLEMS)
    assert not {f"lcbench-{task}" for task in lcbench.EXCLUDED} & set(lcbench.PROBLEMS)


def test_without_the_surrogate_a_sentence_says_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("THIRD_PARTY_DIR", str(tmp_path))
    lcbench.surrogate.cache_clear()
    problem = by_name(lcbench.TUNE[0])
    with pytest.raises(InputError, match="yahpo_data"):
        problem.metrics(problem.space.default(), 3)


@needs_data
def test_the_optimum_is_feasible_and_no_random_configuration_is_better():
    rng = derive_rng("test", "lcbench")
    space = by_name(lcbench.TUNE[0]).space  # that of all
    configs = [space.sample(rng) for _ in range(300)]
    for name in lcbench.PROBLEMS:
        problem = by_name(name)
        assert problem.violation(problem.best) == 0
        assert problem.regret(problem.best) == pytest.approx(0, abs=1e-3)
        outputs = lcbench.predict(problem.task, configs, problem.epochs)
        measured = [dict(zip(lcbench.OUTPUTS, row.tolist(), strict=False)) for row in outputs]
        limits = problem.ranking.constraints
        within = [one for one in measured if all(li.residual(one) <= 0 for li in limits)]
        assert len(within) < 60, "limits that all keep are none"
        assert max((one["accuracy"] for one in within), default=0.0) <= problem.optimum
