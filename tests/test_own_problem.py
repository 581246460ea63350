"""The search on any space and target: kinds of hyperparameters, sizes, budgets, directions."""

import ast
import re
import runpy
import sys
from pathlib import Path

import pytest
from ConfigSpace import Categorical, Configuration, Constant, Float, Integer, OrdinalHyperparameter

from benchmarks.problems.base import made_of
from engine.cli.settings import Settings, resolve
from optimizer import search
from search.constraints import Constraint
from search.space import Space
from search.trial import canonical
from tests.stubs import ROOT, rich_space
from utils import derive_seed


class Any:
    """Metrics from the configuration's hash: defined on every space, better with epochs.

    `size` is a static metric if `knows_size`, else a trained one.
    """

    def __init__(self, knows_size=True):
        self.knows_size = knows_size

    def static_metrics(self, config):
        size = {"size": derive_seed("size", canonical(config)) / 2**63}
        return size if self.knows_size else {}

    def evaluate(self, config, epochs, seed, state=None):
        quality = derive_seed("quality", canonical(config)) / 2**63
        score = quality * epochs / (epochs + 5)
        known = Any().static_metrics(config)
        return {"score": score, "loss": 1 - score, "recall": 1 - quality / 2, **known}


def settings(**given) -> Settings:
    small = {"workers": "0", "pop_size": 8, "num_children": 5, "epochs": 8, "min_epochs": 1}
    small |= {"objective": "maximize score", "constraints": [], "max_generations": 3}
    return resolve({**small, **given})


KINDS = [
    lambda name: Float(name, (-1.0, 1.0)),
    lambda name: Integer(name, (1, 4096), log=True),
    lambda name: Categorical(name, ["a", "b", "c"]),
    lambda name: OrdinalHyperparameter(name, [1, 2, 4]),
]
SIXTY = [KINDS[i % 4](f"h{i}") for i in range(60)]


def assert_legal(space: Space, trials) -> None:
    for trial in trials:
        assert Configuration(space.configspace, values=trial.config)  # also forbidden clauses
        assert list(trial.config) == [name for name in space.names if name in trial.config]
        assert all(type(value) in (int, float, str, bool) for value in trial.config.values())


@pytest.mark.parametrize(("sampler", "hyperband"), [("evolution", True), ("random", False)])
def test_every_kind_of_hyperparameter(sampler, hyperband):
    space = rich_space()
    given = {"sampler": sampler, "hyperband": hyperband, "constraints": ["size <= 0.5"]}
    given |= {"pop_size": 40, "num_children": 30}
    result = search(space, Any(), settings(**given))
    assert result.reason == "generation limit" and result.feasible
    assert_legal(space, result.trials)
    assert {name for trial in result.trials for name in trial.config} == set(space.names)
    kinds = {(trial.config["z_kind"], trial.config["switch"]) for trial in result.trials}
    assert ("x", True) in kinds and ("x", False) not in kinds


@pytest.mark.parametrize(
    ("one", "count"),
    [
        (SIXTY, None),
        ([Float("x", (1e-5, 1.0), log=True)], None),
        ([Integer("x", (1, 1000000), log=True)], None),
        ([Integer("x", (-2, 1))], 4),
        ([Categorical("x", [True, False])], 2),
        ([OrdinalHyperparameter("x", ["low", "middle", "high"])], 3),
        ([Constant("x", 7)], 1),
    ],
)
def test_one_hyperparameter_and_sixty(one, count):
    space = Space(made_of(*one))
    result = search(space, Any(), settings(constraints=["recall >= 0"]))
    found = {canonical(trial.config) for trial in result.trials}
    assert_legal(space, result.trials)
    if count is None:
        assert result.reason == "generation limit"
    else:
        assert result.reason == "space exhausted" and len(found) == count
        assert result.best is not None and result.best.epochs == 8


@pytest.mark.parametrize(
    ("objective", "knows_size", "limits"),
    [
        ("maximize score", True, ("size <= 0.4", "recall >= 0.7")),
        ("minimize loss", False, ("size <= 0.4", "recall >= 0.7")),
        ("maximize loss", True, ("size >= 0.6",)),
        ("maximize score", False, ("size >= 0.6",)),
    ],
)
def test_objective_and_limits_in_either_direction(objective, knows_size, limits):
    options = settings(objective=objective, constraints=list(limits))
    result = search(rich_space(), Any(knows_size), options)
    sense, metric = objective.split()
    feasible = [t for t in result.trials if t.epochs == 8 and options.ranking().feasible(t)]
    assert feasible and result.feasible, "a quarter or more of the configurations are"
    choose = max if sense == "maximize" else min
    assert result.best.metrics[metric] == choose(t.metrics[metric] for t in feasible)
    # Only static metrics exclude a configuration from training.
    first = Constraint.parse(limits[0])
    assert any(first.violation(t.metrics) for t in result.trials) == (not knows_size)


def test_the_example_runs_and_finds_a_spring_within_its_limits(
    monkeypatch, capsys, few_candidates
):
    elsewhere = [folder for folder in sys.path if Path(folder or ".").resolve() != ROOT]
    monkeypatch.setattr(sys, "path", elsewhere)
    runpy.run_path(str(ROOT / "examples" / "own_problem.py"), run_name="__main__")
    assert str(ROOT) in sys.path, "it may be started from anywhere"
    out = capsys.readouterr().out
    assert "feasible: True" in out
    assert float(re.search(r"'weight': ([0-9.]+)", out)[1]) < 9  # 30,000 random draws: 9.5


def test_the_code_of_the_page_runs(capsys):
    page = (ROOT / "docs" / "own_problem.md").read_text()
    code = "\n".join(line[4:] for line in page.splitlines() if line.startswith("    "))
    exec(code, {})
    config = ast.literal_eval(capsys.readouterr().out)
    assert 0.99 < config["x"] < 1.2 and config["y"] < 0.01
