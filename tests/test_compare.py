"""Accounts, regrets and ranks on hand-made data; a small comparison; peers if installed."""

import json
import math
import os
import signal
from dataclasses import replace
from types import SimpleNamespace

import pytest

import baselines
from baselines.recorder import MAX_UNEVALUATED, Recorder
from benchmarks import compare
from benchmarks.compare_tables import pairwise_wins, ranks, regret_path, tables
from benchmarks.problems.literature import PROBLEMS
from engine.callbacks import CallbackHandler
from engine.cli.stopping import Stop, StopSignals
from reports.reading import read_run
from search.constraints import Ranking
from search.trial import canonical
from tests.problems import Crossing, Nested
from tests.stub_target import StubTarget
from tests.stubs import make_trial, on_disk, small_space
from utils import InputError

OURS = ["ea-hyperband", "random", "guided", "one-epoch-first"]


def line(problem="p", method="m", seed=0, path=(), full=50):
    return {"problem": problem, "method": method, "seed": seed, "full_epochs": full, "path": path}


def trial(number, epochs, top3, precision=1.0, cost_epochs=None):
    metrics = {"top3": top3, "precision": precision}
    cost_epochs = epochs if cost_epochs is None else cost_epochs
    return make_trial(number, epochs=epochs, cost_epochs=cost_epochs, metrics=metrics)


class Tiny(StubTarget):
    """Six configurations with the static metric `x`."""

    objective, constraints = "maximize top3", ("x <= 4", "precision >= 0.1")
    objective_range = (0.0, 1.0)
    epochs, min_epochs = 9, 1

    def __init__(self):
        super().__init__(static_metrics=lambda config: {"x": config["x"]})
        self.space = small_space()


def needs(method):
    """Skips the test if the package of the method is not installed."""
    package = baselines.PEERS[method][2]
    if package and not baselines.installed(package):
        pytest.skip(f"{package} is not installed: requirements-peers.txt")
    if method == "ctpe" and "OPTUNAHUB_DIR" not in os.environ:
        pytest.skip("there is no OPTUNAHUB_DIR")


def decided(one):
    """The part of the journal in memory that is equal in identical runs."""
    return replace(one, meta={}, folds=[])


def recorder(limit=100):
    problem = Tiny()
    settings = baselines.settings_of("dehb", problem, 1, limit)
    rest = problem.objective_range, None, StopSignals(), CallbackHandler()
    return Recorder(problem.space, problem, settings, *rest)


def test_the_regret_of_the_incumbent_by_hand():
    problem = SimpleNamespace(
        epochs=50,
        ranking=Ranking.parse("maximize top3", ["precision >= 0.5"]),
        regret=lambda config: {1: 0.4, 3: 0.5, 5: 0.1}[config["x"]],
    )
    trials = [
        trial(0, 3, 0.9),  # not trained in full
        trial(1, 50, 0.5),
        trial(2, 50, 0.8, precision=0.4),  # not feasible
        trial(3, 50, 0.6),  # better as measured, not in truth
        trial(4, 50, 0.55),
        trial(5, 50, 0.7, cost_epochs=25),  # resumed from 25
    ]
    path = regret_path(trials, problem)
    assert path == [(53, 0.4), (153, 0.5), (228, 0.1)]
    assert regret_path(trials[:1], problem) == []


def test_the_tables_by_hand():
    """Regrets at a budget, their quartiles, and ranks where all methods are done: ties share a
    rank, infeasible results are last.
    """
    lines = [
        line(method="a", path=[[450, None], [600, 0.3], [1250, 0.1]]),
        line(method="a", seed=1),
        line(method="a", seed=2, path=[[50, 0.1]]),  # the others are missing
        *(line(method=name, path=[[500, 0.2]]) for name in "bc"),
        *(line(method=name, seed=1, path=[[500, 0.4]]) for name in "bc"),
    ]
    rows = tables(lines).splitlines()
    later = " 0.100 [0.100, -] |" * 3
    assert f"| a (3) | - [-, -] |{later}" in rows
    assert "| b (2) |" + " 0.300 [0.250, 0.350] |" * 4 in rows
    ranked = rows[: rows.index("| first feasible | a | b | c |") - 1]
    assert "average rank of 3 (2 problems x seeds)" in ranked[-5]
    assert "| a | 3.00 |" + " 2.00 |" * 3 in ranked[-3:]
    assert "| c | 1.50 |" + " 2.00 |" * 3 in ranked[-3:]
    assert ranks({"a": math.inf, "b": 1.0, "c": math.inf}) == {"a": 2.5, "b": 1.0, "c": 2.5}
    assert rows[-1] == "| p | 9 | 10 | 10 |"


def test_pairwise_wins_by_median_regret():
    lines = [
        line(problem, method, seed, path=[[50, regret]])
        for seed in (0, 1, 2)
        for problem, method, regret in (
            *(("p", "a", 0.1), ("p", "b", 0.2), ("p", "c", 0.1)),
            *(("q", "a", 0.3 if seed else math.inf), ("q", "b", 0.5)),
        )
    ]
    lines.append(line("r", "a"))  # nothing feasible, and no other method
    rows = pairwise_wins(lines, "a").splitlines()
    assert rows[2:] == [
        "| b |" + " 2 (1) of 2, p 1.000 |" * 4,
        "| c |" + " 0 (0) of 1, p 1.000 |" * 4,
    ]
    none = pairwise_wins([line(method="a"), line(method="b")], "a").splitlines()
    assert none[2:] == ["| b |" + " 0 (0) of 1, p 1.000 |" * 4]


def test_training_goes_on_and_only_the_difference_is_charged_within_the_budget():
    account = recorder(limit=20)
    first = account.train({"x": 1}, 3)
    again = account.train({"x": 1}, 9)
    assert [(one.trial, one.cost_epochs) for one in (first, again)] == [(0, 3), (0, 6)]
    assert account.train({"x": 1}, 9) is again and account.spent == 9, "in the journal: free"
    shorter = account.train({"x": 1}, 5)  # the longer training is not reused
    assert shorter.cost_epochs == 5 and account.spent == 14
    assert account.train({"x": 2}, 3).trial == 1
    with pytest.raises(Stop):
        account.train({"x": 3}, 4)
    assert account.spent == 17 and len(account.journal.trials) == 4


def test_what_costs_nothing_cannot_go_on_for_ever():
    account = recorder()
    for _ in range(MAX_UNEVALUATED - 1):
        assert account.static_violation({"x": 6}) == 0.5
    assert account.static_violation({"x": 1}) == 0, "within the limits: not counted"
    with pytest.raises(Stop):
        account.static_violation({"x": 6})


@pytest.mark.parametrize("objective", ["maximize top3", "minimize loss"])
def test_the_penalty_keeps_the_order_of_the_search(objective):
    account = recorder()
    account.ranking = Ranking.parse(objective, ["precision >= 0.5"])
    values = [(0.9, 0.6), (0.0, 0.7), (1.0, 0.49), (0.5, 0.3), (0.2, 0.5), (0.3, 0.0)]
    trials = [
        make_trial(i, metrics={"top3": value, "loss": value, "precision": precision})
        for i, (value, precision) in enumerate(values)
    ]
    trials.append(make_trial(9, status="failed", metrics={}))
    by_loss = sorted(trials, key=account.loss)
    assert by_loss == sorted(trials, key=account.ranking.key)
    assert max(map(account.loss, trials)) <= 2


@pytest.mark.parametrize("method", OURS)
def test_our_methods_behind_the_seam(method, tmp_path):
    problem = Tiny()
    trials = baselines.run(method, problem, 3, 90).trials
    assert 9 <= sum(trial.cost_epochs for trial in trials) <= 90
    assert all(trial.config["x"] <= 4 for trial in trials), "within the static constraints only"
    assert any(trial.epochs == 9 for trial in trials)
    again = baselines.run(method, Tiny(), 3, 90, tmp_path / "run").trials
    assert [one.key for one in again] == [one.key for one in trials]
    assert [one.key for one in on_disk(tmp_path / "run")] == [one.key for one in trials]
    assert (tmp_path / "run" / "opt_cfg.json").exists()


def test_the_last_bracket_of_hyperband_is_as_much_random_search():
    """Its guarantee (Li et al. 2018, section 3), with as many times the epochs."""
    problem, trainings, brackets = Crossing(), 4, 5
    budget = trainings * problem.epochs
    trials = baselines.run("hyperband", problem, 1, brackets * budget).trials
    full = [one for one in trials if one.epochs == problem.epochs and one.bracket == 0]
    random = baselines.run("random", problem, 1, budget).trials
    assert len(full) >= trainings == len(random)


def assert_legal_and_charged(problem, trials):
    limits = problem.ranking.static(problem.static_metrics(problem.space.default()))
    longest: dict[str, int] = {}
    for one in trials:
        assert problem.space.adopt(one.config) == (one.config, []), "a legal configuration"
        assert all(limit.violation(problem.static_metrics(one.config)) == 0 for limit in limits)
        key = canonical(one.config)
        assert one.cost_epochs in (one.epochs, one.epochs - longest.get(key, 0))
        longest[key] = max(one.epochs, longest.get(key, 0))


@pytest.mark.parametrize("method", baselines.PEERS)
def test_a_run_of_a_peer_goes_on_by_replay(method, tmp_path):
    """Cut within a line, and run again with more epochs if the method's plan does not use them:
    the journal equals that of an uninterrupted run, and only missing trials are trained.
    """
    needs(method)
    problem = Crossing()
    before, after = 5 * problem.epochs, 5 * problem.epochs
    if method in ("one-epoch-first", "optuna-tpe", "dehb"):
        after = 7 * problem.epochs
    baselines.run(method, problem, 3, before, tmp_path)
    path = tmp_path / "trials.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) > 3
    path.write_text("".join(lines[:3]) + lines[3][:20])
    whole = baselines.run(method, problem, 3, after).trials
    assert 0 < sum(one.cost_epochs for one in whole) <= after
    assert_legal_and_charged(problem, whole)
    calls = []
    measure = problem.evaluate
    problem.evaluate = lambda *words: calls.append(words) or measure(*words)
    again = baselines.run(method, problem, 3, after, tmp_path).trials
    assert [decided(one) for one in again] == [decided(one) for one in whole]
    assert len(calls) == len(whole) - 3
    assert path.read_text().splitlines(keepends=True)[:3] == lines[:3]
    with pytest.raises(InputError, match="seed is 3 in this run and cannot become 4"):
        baselines.run(method, problem, 4, after, tmp_path)


def test_a_run_that_asks_for_another_trial_than_before_is_refused(tmp_path, monkeypatch):
    baselines.run("one-epoch-first", Tiny(), 0, 9, tmp_path)

    def other(recorder):
        recorder.train({"x": 3.5}, 9)

    monkeypatch.setattr("baselines.simple.one_epoch_first", other)
    with pytest.raises(InputError, match="the run cannot be resumed: training 0 was trial 0"):
        baselines.run("one-epoch-first", Tiny(), 0, 9, tmp_path)
    with pytest.raises(InputError, match="was started by one-epoch-first"):
        monkeypatch.setitem(baselines.PEERS, "other", baselines.PEERS["one-epoch-first"])
        monkeypatch.setattr(baselines, "METHODS", ["other"])
        baselines.run("other", Tiny(), 0, 9, tmp_path)


def test_a_method_may_end_by_itself(tmp_path, monkeypatch):
    def brief(recorder):
        recorder.train(recorder.space.default(), 9)

    monkeypatch.setattr("baselines.simple.one_epoch_first", brief)
    result = baselines.run("one-epoch-first", Tiny(), 0, 90, tmp_path / "run")
    assert (result.reason, len(result.trials)) == ("space exhausted", 1)
    assert read_run(tmp_path / "run").status == "space exhausted"


@pytest.mark.parametrize("method", baselines.PEERS)
def test_peers_keep_to_a_space_with_conditions_and_forbidden_clauses(method):
    needs(method)
    problem = Nested()
    assert_legal_and_charged(problem, baselines.run(method, problem, 3, 200).trials)


def test_a_missing_package_and_unknown_names_are_told(monkeypatch, capsys):
    monkeypatch.setattr(baselines, "installed", lambda package: False)
    with pytest.raises(InputError, match="dehb needs DEHB: .*requirements-peers.txt"):
        baselines.run("dehb", Tiny(), 0, 9)
    with pytest.raises(InputError, match="did you mean random"):
        baselines.run("randm", Tiny(), 0, 9)
    assert compare.main(["--methods", "dhb"]) == 2
    assert "did you mean dehb" in capsys.readouterr().err
    assert compare.main(["--problems", "hpobench-cat"]) == 2
    assert "did you mean hpobench-car" in capsys.readouterr().err


def test_a_comparison_goes_on_where_a_signal_or_a_crash_cut_it_off(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(PROBLEMS, "nested", Nested)
    monkeypatch.setattr(compare, "BUDGETS", (10,))
    data, drawing, calls = tmp_path / "units.jsonl", tmp_path / "regret.svg", []
    measure = Nested.evaluate

    def interrupted(self, *words):
        calls.append(words)
        if len(calls) == 3:
            os.kill(os.getpid(), signal.SIGINT)
        return measure(self, *words)

    # A peer catches the signal and returns its result; ours does not catch it.
    words = ["--problems", "nested", "--methods", "one-epoch-first", "random"]
    words += ["--output", str(data)]
    with monkeypatch.context() as patch:
        patch.setattr(Nested, "evaluate", interrupted)
        assert compare.main([*words, "--seeds", "1"]) == 130
    assert "interrupted" in capsys.readouterr().err
    assert not data.exists(), "a unit that was cut off is not recorded"
    assert compare.main([*words, "--seeds", "1"]) == 0
    first = data.read_text()
    data.write_text(first + '{"torn')
    assert compare.main([*words, "--seeds", "1"]) == 0
    assert data.read_text() == first + '{"torn', "nothing was done twice"
    assert compare.main([*words, "--seeds", "2", "--figure", str(drawing)]) == 0
    units = [json.loads(text) for text in data.read_text().splitlines() if text != '{"torn']
    assert [(unit["method"], unit["seed"]) for unit in units] == [
        *(("one-epoch-first", 0), ("random", 0), ("one-epoch-first", 1), ("random", 1))
    ]
    assert all(unit["charged"] <= 500 and unit["versions"]["ConfigSpace"] for unit in units)
    assert "| random (2) |" in capsys.readouterr().out
    assert "<svg" in drawing.read_text()
