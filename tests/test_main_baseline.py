"""The modern search as users run it: it starts with the default, its baseline."""

import json
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest

import main
import optimizer
from engine import wording
from engine.cli.settings import Settings, resolve
from engine.watching import console
from engine.workers import planning
from engine.workers.planning import epoch_limit, plan
from search.constraints import Ranking
from search.fitting import fit
from search.hyperband import total_epochs
from tests.command_line import ROOT, call, complaint, lines_of, make_folder, read, save, told
from tests.stub_target import StubTarget
from tests.stubs import make_trial
from utils import derive_rng

pytestmark = pytest.mark.usefixtures("no_flowers")
LIMITS = ["num_params <= 3e3", "macs <= 5e4", "precision >= 0.1"]
SMALL = ["--image_size", 8, "--folds", 2, "--epochs", 4, "--min_epochs", 2, "--workers", 0]


def run(home, folder, *more):
    words = ["--config", ROOT / "configs" / "modern.json", "--dataset", folder, *SMALL]
    words += ["--runs_dir", home / "runs", "--run_name", "r", "--constraints", *LIMITS, *more]
    return call(optimizer, *words)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    home = tmp_path_factory.mktemp("modern")
    folder = make_folder(home / "woods")
    with told(home):
        assert run(home, folder, "--max_generations", 1) == 0
    return home


def test_the_default_within_the_limits_is_trained_first_and_lies_beside_the_winner(
    finished, modern_space
):
    first = [line for line in lines_of(finished / "runs" / "r") if line["trial"] == 0]
    assert [(line["operator"], line["epochs"]) for line in first] == [("default", 4)]
    assert first[0]["metrics"]["num_params"] <= 3e3 and first[0]["metrics"]["macs"] <= 5e4
    default = modern_space.default()
    assert first[0]["config"].keys() == default.keys()
    assert first[0]["config"]["cutout"] == default["cutout"]
    assert first[0]["config"]["width_0"] < default["width_0"]
    record = read(finished / "runs" / "r" / "run.json")
    for folder in (finished / "runs", finished / "runs" / "r"):
        assert read(folder / "baseline.json") == record["baseline"]["config"]
    assert record["settings"]["objective"] == "maximize top1"  # since there are three classes
    log, better = (finished / "runs" / "r" / "log.txt").read_text(), record["winner"]["trial"] != 0
    assert ("Baseline: " in log) is better
    assert ("nothing better than its baseline" in log) is not better
    assert "(chance 0.33)" in log


def test_both_are_evaluated_as_they_were_searched(finished, tmp_path, capsys):
    runs = finished / "runs"
    words = ["-c", runs / "opt_cfg.json", runs / "baseline.json", "-t", "True", "-e", "2"]
    assert call(main, *words, "--output", tmp_path) == 0
    out = capsys.readouterr().out
    assert f"{runs / 'opt_cfg.json'} and {runs / 'baseline.json'}:" in out  # the pair
    result = read(tmp_path / "baseline_result_test.json")
    assert result["optimizer"] == "schedule-free"
    assert result["found_by"]["name"] == "r"
    assert [limit["text"] for limit in result["constraints"]] == [
        "num_params <= 3000",
        "macs <= 50000",
        "precision >= 0.1",
    ]
    chance = next(line for line in out.splitlines() if line.startswith("chance"))
    assert "0.333" in chance


def test_a_search_begins_with_a_configuration_of_ones_own(finished, tmp_path, capsys):
    mine, woods = tmp_path / "mine.json", finished / "woods"
    first = {**read(finished / "runs" / "baseline.json"), "block": "residual", "n_stages": 1}
    first = {name: value for name, value in first.items() if name not in ("width_1", "width_2")}
    mine.write_text(json.dumps({**first, "width_0": 9, "width_1": 9}))
    assert run(tmp_path, woods, "--start_from", mine, "--max_generations", 1) == 0
    assert read(tmp_path / "runs" / "baseline.json") == {**first, "width_0": 9}
    told = f"warning: {mine}: width_1 = 9 is inactive in this configuration and was removed"
    assert told in (tmp_path / "runs" / "r" / "log.txt").read_text()
    go_on = ["--runs_dir", str(tmp_path / "runs"), "--resume", "r"]
    assert optimizer.main([*go_on, "--max_generations", "2"]) == 0
    assert "has changed" not in capsys.readouterr().out
    assert "--resume" in complaint(capsys, optimizer, [*go_on, "--start_from", mine])
    for changes, words in (({"flip": 7}, "flip"), ({"width_0": 1}, "outside"), ([1], "object")):
        mine.write_text(json.dumps({**first, **changes} if isinstance(changes, dict) else changes))
        err = complaint(capsys, optimizer, [*go_on[:2], "--space", "modern", "--start_from", mine])
        assert "--start_from" in err and words in err


def test_a_modern_configuration_from_nowhere_is_trained_as_such(finished, tmp_path):
    config = read(finished / "runs" / "opt_cfg.json")
    (tmp_path / "mine.json").write_text(json.dumps({**config, "cutout": 0.0, "dropout_rate": 0.0}))
    words = ["-c", tmp_path / "mine.json", "-e", "1", "--dataset", finished / "woods"]
    assert call(main, *words, "--image_size", 8, "--folds", 2) == 0
    assert read(tmp_path / "result_cv.json")["optimizer"] == "schedule-free"


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
def test_a_winner_is_trained_with_the_optimizer_of_its_search(finished, tmp_path, optimizer):
    run = shutil.copytree(finished / "runs" / "r", tmp_path / "r")
    record = read(run / "run.json")
    record["settings"]["optimizer"] = optimizer
    save(run / "run.json", record)
    assert call(main, "-c", run / "opt_cfg.json", "-t", "-e", 1) == 0
    assert read(run / "result_test.json")["optimizer"] == optimizer


def test_the_baseline_costs_one_full_training():
    settings = resolve({**read(ROOT / "configs" / "modern.json"), "max_generations": 7})
    without = resolve({**read(ROOT / "configs" / "modern.json"), "default_first": False})
    assert total_epochs(plan(settings, 1)) == total_epochs(plan(without, 1)) + settings.epochs
    assert plan(settings, 2) == plan(without, 2)
    planned = sum(total_epochs(plan(settings, one)) for one in range(1, 8))
    assert epoch_limit(settings) == planned
    assert not Settings().default_first, "the published algorithm begins with samples only"


@pytest.mark.parametrize("sampler", ["evolution", "random", "guided"])
def test_any_method_can_begin_with_the_default(space, sampler):
    given = {"default_first": True, "sampler": sampler, "pop_size": 3, "epochs": 4}
    given |= {"min_epochs": 2, "max_generations": 1, "workers": "0"}
    settings, target = resolve({**given, "constraints": ["num_params <= 1e5"]}), StubTarget()
    result = optimizer.search(space, target, settings)
    first = next(trial for trial in result.trials if trial.trial == 0)
    limit, known = settings.ranking().constraints[0], target.static_metrics
    rng = derive_rng(settings.seed, "child", 0)  # that of child 0
    expected = fit(space, space.default(), lambda c: limit.violation(known(c)), rng)
    assert first.operator == "default" and first.epochs == 4 and first.config == expected
    assert result.baseline == first


@pytest.mark.parametrize("sampler", ["evolution", "random", "guided"])
def test_half_of_the_first_population_are_small_steps_from_the_default(space, sampler):
    settings = Settings(default_first=True, sampler=sampler, constraints=("num_params <= 1e5",))
    drawing = planning.sampler(settings, space, StubTarget())
    default, *others = drawing.draw([], 81)
    near = [child for child in others if child.parents == (default.trial,)]
    assert all(child.operator == "perturb" for child in near)
    assert {child.operator for child in others if child not in near} == {"sample"}
    assert len(near) == 0 if sampler == "random" else 25 <= len(near) <= 55


def test_a_winner_that_is_no_better_than_chance_is_called_that():
    def words(top1):
        best = make_trial(metrics={"top1": top1})
        return console.beside_chance(best, Ranking.parse("maximize top1"), wording.chance(4))

    assert words(0.26) == [] and "no better than chance" in words(0.25)[0]
    assert wording.chance(2)["top3"] == 1.0


def test_a_search_that_finds_nothing_better_says_so():
    result = SimpleNamespace(best=SimpleNamespace(trial=0), baseline=SimpleNamespace(trial=0))
    assert "nothing better" in console.beside_baseline(result, Ranking.parse("maximize top1"))[0]


def test_the_smallest_within_one_standard_error_of_the_winner_is_named():
    folds = [{"top1": 0.89}, {"top1": 0.90}, {"top1": 0.91}]  # a standard error of 0.00577
    best = make_trial(trial=0, metrics={"top1": 0.9, "size": 90.0}, folds=folds)
    others = [
        make_trial(trial=1, metrics={"top1": 0.8945, "size": 50.0}),
        make_trial(trial=2, metrics={"top1": 0.8940, "size": 10.0}),  # outside the error
        make_trial(trial=5, metrics={"top1": 0.9, "size": 82.0}),  # hardly smaller
        make_trial(trial=3, metrics={"top1": 0.9, "size": 20.0}, epochs=best.epochs - 1),
        make_trial(trial=4, metrics={"top1": 0.9, "size": 120.0}),
    ]

    def words(trials, constraints=("size <= 100",)):
        result = SimpleNamespace(best=best, trials=trials, feasible=True)
        ranking = Ranking.parse("maximize top1", constraints)
        return console.smaller(result, ranking, ("size",), Path("runs/a"))

    assert "trial 1, top1 0.8945" in words([best, *others])[0]
    assert words([best, *others[1:]]) == [] == words([best, *others], ["top1 >= 0.1"])
