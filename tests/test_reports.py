"""The numbers of reports compared with hand-computed ones, and their properties."""

import json
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import sem, t

import optimizer
from engine.cli.settings import resolve
from engine.storage.naming import find_run
from engine.storage.run import RunFolder
from reports import card, charts, charts_networks, halving, outcomes, progress
from reports.grouping import group
from reports.importance import importance
from reports.reading import Run, learning_curve, read_run, read_runs
from tests.stub_target import StubTarget
from tests.stubs import ROOT, make_trial
from utils import InputError, write_json

OLD_RUN = ROOT / "tests" / "assets" / "old_run"
LEVELS = (1, 2, 4)


class Curved(StubTarget):
    """A stub whose folds have curves, as real ones: the measurement of each rung."""

    def evaluate(self, config, epochs, seed, state=None):
        measured = super().evaluate(config, epochs, seed, state)
        names = ("top3", "top1", "precision", "recall", "loss")
        curve = []
        for level in (level for level in LEVELS if level <= epochs):
            there = super().evaluate(config, level, seed)
            curve.append({"epochs": level, **{name: there[name] for name in names}})
        fold = {name: measured[name] for name in names}
        shifted = {**fold, "top3": fold["top3"] + 0.02}
        folds = [{**fold, "curve": curve}, {**shifted, "curve": curve}]
        return {**measured, "folds": folds, "meta": {"fold_seconds": [1.0, 2.0]}}


def settings(**changes):
    tiny = {"pop_size": 8, "epochs": 4, "min_epochs": 1, "num_children": 3, "folds": 2}
    tiny |= {"max_generations": 2, "workers": "0"}
    return resolve({**tiny, "constraints": ["num_params <= 1e6", "precision >= 0.3"], **changes})


def stub_run(space, runs, name, data=None, target=None, **changes):
    """A finished search in a folder of `runs`."""
    chosen = settings(runs_dir=str(runs), run_name=name, **changes)
    folder = RunFolder.create(chosen)
    data = {"kind": "folder", "name": "stubs", "class_names": [], "note": "", **(data or {})}
    folder.begin_session(chosen, {"data": data, "device": "cpu"})
    optimizer.search(space, target or Curved(), chosen, folder)
    folder.close()
    return runs / name


def run_of(*trials, name="by hand", **changes):
    """A run in memory; full budget 4, by default `precision >= 0.3`."""
    chosen = settings(**{"constraints": ["precision >= 0.3"], **changes})
    return Run(Path(name), {"settings": {}}, chosen, list(trials))


def trial(number, top3, precision=0.5, epochs=4, elapsed=0.0, **changes):
    metrics = {"top3": top3, "precision": precision, "num_params": 1000 + number}
    values = {"epochs": epochs, "cost_epochs": epochs, "metrics": metrics}
    return make_trial(number, **{**values, "meta": {"elapsed": elapsed}, **changes})


def snapshot(folder):
    return {path: (path.stat().st_mtime_ns, path.read_bytes()) for path in folder.rglob("*.*")}


def test_a_run_is_read_while_it_is_written(space, tmp_path):
    path = stub_run(space, tmp_path, "busy")
    journal = path / "trials.jsonl"
    whole = journal.read_text().splitlines(keepends=True)
    journal.write_text("".join(whole[:5]) + whole[5][:100])
    busy = RunFolder(path)  # holds the lock, as a search does
    before = snapshot(path)
    try:
        run = read_run(path)
    finally:
        assert snapshot(path) == before
        busy.close()
    assert len(run.trials) == 5


def test_runs_of_other_versions_are_read(tmp_path):
    run = read_run(OLD_RUN)
    assert run.method == "evolution with Hyperband" and run.status == "generation limit"
    assert len(run.trials) == 7 and len(run.lasts) == 6 and len(run.full) == 5
    assert run.best.trial == run.record["winner"]["trial"] == 4
    record = json.loads((OLD_RUN / "run.json").read_text())
    record["settings"]["of_the_future"] = 1
    del record["settings"]["scheduler"]
    write_json(tmp_path / "run.json", record)
    run = read_run(tmp_path)  # also without a journal
    assert run.trials == [] and run.best is None and run.settings.seed == 5


def test_a_wrong_name_is_told_with_the_nearest_and_a_damaged_line_too(tmp_path):
    (tmp_path / "apples").mkdir()
    (tmp_path / "apples" / "run.json").write_bytes((OLD_RUN / "run.json").read_bytes())
    assert len(read_runs(["apples", tmp_path / "apples"], tmp_path)) == 1
    with pytest.raises(InputError, match="did you mean apples"):
        read_run("aples", tmp_path)
    (tmp_path / "apples" / "trials.jsonl").write_text('{"v": 1}\n')
    with pytest.raises(InputError, match="line 1 is damaged"):
        read_run("apples", tmp_path)


def test_runs_are_grouped_by_question_method_and_variant():
    spaces = [("f", "own.json"), ("g", "./own.json"), ("h", "own.json")]
    made = [
        run_of(name="a", seed=1),
        run_of(name="b", seed=2, max_generations=7),
        run_of(name="c", seed=1, pop_size=3),
        run_of(name="d", seed=1, sampler="random", hyperband=False),
        run_of(name="e", constraints=["precision >= 0.4"]),
        *(run_of(name=n, seed=1, hyperband=False, space=space) for n, space in spaces),
    ]
    made[-1].record["space_hash"] = "sha256:0123456789"
    first, second = group(made)
    assert {label: [run.name for run in runs] for label, runs in first.methods.items()} == {
        "evolution with Hyperband, pop_size 8": ["a", "b"],
        "evolution with Hyperband, pop_size 3": ["c"],
        "random search": ["d"],
        "evolution, space own.json": ["f", "g"],
        "evolution, space own.json 012345": ["h"],
    }
    assert (first.title, second.title) == ("precision >= 0.3", "precision >= 0.4")


def test_the_best_is_a_step_function_of_feasible_full_trainings():
    run = run_of(
        trial(0, 0.9, precision=0.1, elapsed=5.0),  # infeasible
        trial(2, 0.6, elapsed=9.0),  # arrives before trial 1
        trial(1, 0.5, precision=0.4, elapsed=11.0),
        trial(3, 0.8, epochs=2, elapsed=12.0),  # not trained in full
        trial(4, 0.7, elapsed=20.0, precision=0.3),
        trial(5, 0.1, elapsed=23.0),
    )
    in_time = {"x": [9.0, 20.0], "y": [0.6, 0.7], "end": 23.0}
    assert progress.best_so_far(run, "seconds") == in_time
    in_order = {"x": [8, 12, 18], "y": [0.5, 0.6, 0.7], "end": 22}  # 0, 1, 2, 3, 4, 5
    assert progress.best_so_far(run, "epochs") == in_order
    assert progress.best_so_far(run, "trials")["x"] == [2, 3, 5]


def test_seeds_are_aggregated_where_each_has_a_value():
    one = {"x": [2, 6], "y": [0.2, 0.6], "end": 10}
    two = {"x": [4, 5], "y": [0.4, 0.5], "end": 8}
    wanted = [(4, 0.3, 0.2, 0.4), (5, 0.35, 0.2, 0.5), (6, 0.55, 0.5, 0.6), (8, 0.55, 0.5, 0.6)]
    assert progress.aggregate([one, two]) == [pytest.approx(row) for row in wanted]
    assert progress.aggregate([one, {"x": [], "y": [], "end": 9}]) == []
    assert progress.aggregate([one, {"x": [11], "y": [1.0], "end": 12}]) == []


def test_without_anything_within_the_limits_there_is_no_progress_to_draw():
    [experiment] = group([run_of(trial(0, 0.5, precision=0.1)), run_of(name="not begun", seed=3)])
    assert charts.best_so_far(experiment) is None
    assert charts.trade_off(experiment, "num_params").to_dict()["layer"]


def test_a_pareto_front_is_what_nothing_beats():
    pairs = [(1, 5), (2, 5), (3, 7), (3, 6), (4, 9), (5, 9), (1, 4), (1, 5)]
    made = [trial(i, b, metrics={"size": a, "top3": b}) for i, (a, b) in enumerate(pairs)]
    for sense, wanted in (("max", [(1, 5), (3, 7), (4, 9)]), ("min", [(1, 4)])):
        run = run_of(*made, constraints=[], objective=f"{sense}imize top3")
        assert [tuple(one.metrics.values()) for one in outcomes.front(run, "size")] == wanted


def test_only_what_was_trained_in_full_within_the_limits_is_on_the_front():
    trials = [trial(0, 0.5), trial(1, 0.9, epochs=1), trial(2, 0.6, precision=0.1)]
    run = run_of(*trials)
    assert [run.kind(one) for one in run.lasts] == ["feasible", "partial", "infeasible"]
    assert [one.trial for one in outcomes.front(run, "num_params")] == [0]
    nothing_met = run_of(*trials[1:])
    assert [one.trial for one in outcomes.front(nothing_met, "num_params")] == [2]


def test_failures_and_the_share_of_time_in_training():
    run = run_of(
        trial(0, 0.5, meta={"seconds": 1.0, "worker": 0, "elapsed": 2.0}),
        trial(1, 0.5, meta={"seconds": 2.5, "worker": 1}),
        trial(3, None, status="timeout", error="over 10 s", meta={"seconds": 0.5, "worker": 0}),
        trial(4, None, status="timeout", error="over 2.5 s", meta={"elapsed": 4.0, "worker": 1}),
    )
    assert outcomes.failures([run]) == [("timeout", "over # s", 2)]
    assert outcomes.share_busy(run) == 0.5


def curved(number, values, **changes):
    """A trial with a given mean top-3 at 1, 2 and 4 epochs, over two folds."""
    folds = [
        {
            "curve": [
                {"epochs": at, "top3": v + shift} for at, v in zip(LEVELS, values, strict=True)
            ]
        }
        for shift in (-0.01, 0.01)
    ]
    return trial(number, values[-1], folds=folds, **changes)


def test_rungs_are_judged_by_what_no_rung_has_chosen():
    means = learning_curve(curved(0, (0.1, 0.2, 0.4)))
    assert [means[at]["top3"] for at in LEVELS] == pytest.approx([0.1, 0.2, 0.4])
    free = [curved(i, (0.5 - 0.01 * i, 0.1 + 0.01 * i, 0.1 * i)) for i in range(8)]
    chosen = [curved(8 + i, (0.1 * i, 0.9, 0.9), bracket=1) for i in range(5)]
    resumed = [curved(20 + i, (0.1 * i, 0.9, 0.9), cost_epochs=2) for i in range(5)]
    found = halving.rank_correlations(run_of(*free, *chosen, *resumed))
    assert found == {1: pytest.approx(-1), 2: pytest.approx(1)}
    assert halving.rank_correlations(run_of(*free[:5])) == {}
    flat = [curved(i, (0.5, 0.1 * i, 0.1 * i)) for i in range(8)]
    assert halving.rank_correlations(run_of(*flat)) == {2: pytest.approx(1)}


def test_what_a_bracket_saved():
    same = {"bracket": 2, "generation": 1}
    lines = [
        *(trial(i, 0.1 * i, epochs=1, **same) for i in range(4)),
        *(trial(i, 0.5, epochs=2, rung=1, cost_epochs=1, **same) for i in (2, 3)),
        trial(2, 0.6, epochs=4, rung=2, cost_epochs=2, **same),
    ]
    run = run_of(*lines, trial(9, 0.9))
    assert halving.savings([run, run]) == [(2, 8, 16, 32)]


def test_importance_finds_the_hyperparameter_that_decides():
    rng = np.random.default_rng(1)
    configs = [{"a": float(a), "b": int(b), "word": "xy"[b % 2]} for a, b in
               zip(rng.random(48), rng.integers(0, 9, 48), strict=True)]  # fmt: skip
    trials = [trial(i, c["a"] ** 2, 0.5 + 0.01 * c["b"], config=c) for i, c in enumerate(configs)]
    run = run_of(*trials)
    same = run_of(*trials, name="the same seed", hyperband=False)
    names, found = importance([run, same], ("top3", "precision", "loss"))
    assert names == ["a", "b", "word"] and [*found] == ["top3", "precision"]
    assert np.argmax(found["top3"]["values"]) == 0 and found["top3"]["r2"] > 0.9
    assert found["top3"]["trials"] == 48
    assert np.argmax(found["precision"]["values"]) == 1
    drawn = charts_networks.importance_bars(found["top3"], names, "top3").to_dict()
    assert [row["name"] for row in drawn["data"]["values"]] == names
    assert importance([run_of(*trials[:20])], ["top3"]) == (names, {})


def test_a_winner_knows_its_baseline_chance_and_limits():
    default = trial(0, 0.4, operator="default", metrics={"top3": 0.4, "num_params": 7})
    best = trial(1, 0.6, config={"x": 2.5}, operator="mutate", parents=(0,))
    run = run_of(default, best, constraints=["num_params <= 1100", "precision >= 0.7"])
    run.record["data"] = {"class_names": list("abcd")}
    told = card.card({}, "w", "evolution", run, [])
    assert told["headline"][0] == ("0.600", "top3, folds", "baseline 0.400, chance 0.750")
    assert [met for met, _ in told["verdicts"]] == [True, False]
    assert told["verdicts"][0][1] == "num_params ≤ 1100: 1,001"
    assert "trial 1 of 2 (mutate of 0)" in told["origin"] and "nearest" in told["origin"]
    assert [what for what, _ in told["commands"]] == ["evaluate", "export", "resume"]
    mean, bounds = card.interval([0.5, 0.6, 0.62])
    assert bounds == pytest.approx(t.interval(0.95, 2, mean, sem([0.5, 0.6, 0.62])))
    assert card.interval([0.5]) == (0.5, None)


def test_a_name_is_first_that_of_a_run_in_the_folder_of_runs_as_for_a_resume(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    for place in (Path("x"), Path("runs") / "x"):
        place.mkdir(parents=True)
        (place / "run.json").write_text("{}")
    assert find_run("x") == Path("runs") / "x" and find_run("./runs/x") == Path("runs/x")
    assert find_run(tmp_path / "x") == tmp_path / "x"
