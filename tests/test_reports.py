"""The numbers of reports against hand-computed ones, and laws that they keep."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import optimizer
from engine.run import RunFolder
from engine.settings import resolve
from reports import halving, outcomes, progress
from reports.grouping import group
from reports.importance import encode, importance
from reports.lineage import lineage
from reports.reading import Run, learning_curve, read_run, read_runs
from reports.summary import spread, summarize
from reports.winner import interval
from tests.stubs import StubTarget, make_trial
from utils import InputError, write_json

ROOT = Path(__file__).resolve().parent.parent
VERSION_1 = ROOT / "tests" / "assets" / "version_1"
LEVELS = (1, 2, 4)


class Curved(StubTarget):
    """A stub whose folds have the curves that real trainings have: what each rung measures."""

    def evaluate(self, config, epochs, seed, state=None):
        measured = super().evaluate(config, epochs, seed, state)
        names = ("top3", "top1", "precision", "recall", "loss")
        curve = []
        for level in (level for level in LEVELS if level <= epochs):
            there = super().evaluate(config, level, seed)
            curve.append({"epochs": level, **{name: there[name] for name in names}})
        fold = {name: measured[name] for name in names}
        shifted = {**fold, "top3": fold["top3"] + 0.02}
        seen = {"fold_seconds": [1.0, 2.0]}
        return {**measured, "folds": [{**fold, "curve": curve}, {**shifted, "curve": curve}]} | {
            "meta": seen
        }


def settings(**changes):
    tiny = {"pop_size": 8, "epochs": 4, "min_epochs": 1, "num_children": 3, "folds": 2}
    tiny |= {"max_generations": 2, "workers": "0"}
    return resolve({**tiny, "constraints": ["num_params <= 1e6", "precision >= 0.3"], **changes})


def stub_run(space, runs, name, data=None, **changes):
    """A finished search in a folder of `runs`."""
    chosen = settings(runs_dir=str(runs), run_name=name, **changes)
    folder = RunFolder.create(chosen)
    data = {"kind": "folder", "name": "stubs", "class_names": [], "note": "", **(data or {})}
    folder.begin_session(chosen, {"data": data, "device": "cpu"}, must_match=False)
    result = optimizer.search(space, Curved(), chosen, folder)
    folder.end_session(result.reason)
    folder.close()
    return runs / name


def run_of(*trials, name="by hand", **changes):
    """A run that was never on disk; full budget 4, `precision >= 0.3` unless said otherwise."""
    chosen = settings(**{"constraints": ["precision >= 0.3"], **changes})
    return Run(Path(name), {"settings": {}}, chosen, list(trials))


def trial(number, top3, precision=0.5, epochs=4, elapsed=0.0, macs=None, **changes):
    metrics = {"top3": top3, "precision": precision, "num_params": 1000 + number}
    metrics |= {"macs": macs} if macs is not None else {}
    values = {"epochs": epochs, "cost_epochs": epochs, "metrics": metrics}
    return make_trial(number, **{**values, "meta": {"elapsed": elapsed}, **changes})


# Reading


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
    assert (run.path / "trials.jsonl").read_text().endswith(whole[5][:100])


def test_old_runs_are_read():
    run = read_run(VERSION_1)
    assert run.method == "evolution + Hyperband" and run.status == "generation limit"
    assert len(run.trials) == 7 and len(run.lasts) == 6 and len(run.full) == 5
    assert run.best.trial == run.record["winner"]["trial"] == 4


def test_settings_of_another_version_are_no_obstacle(tmp_path):
    record = json.loads((VERSION_1 / "run.json").read_text())
    record["settings"]["of_the_future"] = 1
    del record["settings"]["scheduler"]
    write_json(tmp_path / "run.json", record)
    run = read_run(tmp_path)  # nor is a journal that is not there yet
    assert run.trials == [] and run.best is None and run.settings.seed == 5


def test_a_wrong_name_is_told_with_the_nearest(space, tmp_path):
    stub_run(space, tmp_path, "apples", max_generations=0)
    assert read_run("apples", tmp_path).name == "apples"
    with pytest.raises(InputError, match="no run aples.*did you mean apples"):
        read_run("aples", tmp_path)
    assert len(read_runs(["apples", tmp_path / "apples"], tmp_path)) == 1


def test_a_damaged_line_is_told(tmp_path):
    (tmp_path / "run.json").write_bytes((VERSION_1 / "run.json").read_bytes())
    (tmp_path / "trials.jsonl").write_text('{"v": 1}\n')
    with pytest.raises(InputError, match="line 1 is damaged"):
        read_run(tmp_path)


# Groups


def test_runs_are_grouped_by_question_method_and_variant(space, tmp_path):
    made = [
        run_of(name="a", seed=1),
        run_of(name="b", seed=2, max_generations=7),
        run_of(name="c", seed=1, pop_size=3),
        run_of(name="d", seed=1, sampler="random", hyperband=False),
        run_of(name="e", constraints=["precision >= 0.4"]),
    ]
    first, second = group(made)
    assert [[run.name for run in m.runs] for m in first.methods] == [["a", "b"], ["c"], ["d"]]
    labels = [method.label for method in first.methods]
    assert labels[:2] == [
        "evolution + Hyperband, pop_size 8",
        "evolution + Hyperband, pop_size 3",
    ]
    assert labels[2] == "random search"
    assert (first.title, second.title) == ("precision >= 0.3", "precision >= 0.4")


# Progress


def test_the_best_is_a_step_function_of_feasible_full_trainings():
    run = run_of(
        trial(0, 0.9, precision=0.1, elapsed=5.0),  # infeasible
        trial(2, 0.6, elapsed=9.0),  # arrives before trial 1
        trial(1, 0.5, precision=0.4, elapsed=11.0),
        trial(3, 0.8, epochs=2, elapsed=12.0),  # not trained in full
        trial(4, 0.7, elapsed=20.0, precision=0.3),
        trial(5, 0.1, elapsed=23.0),
    )
    curves = progress.curves(run)
    best = curves["time"]["best"]
    assert (best["x"], best["y"], best["end"]) == ([9.0, 20.0], [0.6, 0.7], 23.0)
    assert best["trials"] == [2, 4] and curves["time"]["best_precision"]["y"] == [0.5, 0.3]
    best = curves["epochs"]["best"]  # in the order of the plan: 0, 1, 2, 3, 4, 5
    assert (best["x"], best["y"], best["end"]) == ([8, 12, 18], [0.5, 0.6, 0.7], 22)


def test_cost_is_multiply_adds_times_epochs_in_the_order_of_the_plan():
    run = run_of(
        trial(1, 0.6, macs=100),
        trial(0, 0.5, macs=1000),
        trial(2, None, status="failed", metrics={}),  # of what is not known, nothing
        trial(3, 0.7, macs=10),
    )
    best = progress.curves(run)["macs"]["best"]
    assert (best["x"], best["y"]) == ([4000, 4400, 4440], [0.5, 0.6, 0.7])
    unpriced = progress.curves(run_of(trial(0, 0.5)))["macs"]["best"]
    assert (unpriced["x"], unpriced["end"]) == ([], 0)


def test_the_population_is_the_best_so_far_by_generation():
    run = run_of(
        trial(0, 0.4, elapsed=1.0),
        trial(1, 0.6, elapsed=2.0, precision=0.2),
        trial(2, 0.5, elapsed=3.0, generation=1, precision=0.4),
        trial(3, 0.9, epochs=1, elapsed=4.0, generation=1),
        pop_size=2,
    )
    means = progress.curves(run)["time"]
    assert means["population"]["x"] == [2.0, 4.0]
    assert means["population"]["y"] == pytest.approx([0.5, 0.45])  # then trials 0 and 2
    assert means["population_precision"]["y"] == pytest.approx([0.35, 0.45])


def test_seeds_are_aggregated_where_each_has_a_value():
    one = {"x": [2, 6], "y": [0.2, 0.6], "end": 10}
    two = {"x": [4, 5], "y": [0.4, 0.5], "end": 8}
    assert progress.aggregate([one, two]) == {
        "x": [4, 5, 6, 8],
        "mean": pytest.approx([0.3, 0.35, 0.55, 0.55]),
        "low": [0.2, 0.2, 0.5, 0.5],
        "high": [0.4, 0.5, 0.6, 0.6],
        "runs": 2,
    }
    assert progress.aggregate([one, {"x": [], "y": [], "end": 9}]) is None
    assert progress.aggregate([one, {"x": [11], "y": [1.0], "end": 12}]) is None


@st.composite
def step_functions(draw):
    x = sorted(draw(st.sets(st.integers(0, 50), min_size=1, max_size=8)))
    y = draw(st.lists(st.floats(0, 1), min_size=len(x), max_size=len(x)))
    return {"x": x, "y": y, "end": x[-1] + draw(st.integers(0, 20))}


@given(st.lists(step_functions(), min_size=1, max_size=4))
def test_an_aggregate_lies_between_its_seeds(steps):
    found = progress.aggregate(steps)
    start, end = max(step["x"][0] for step in steps), min(step["end"] for step in steps)
    assert (found is None) == (start > end)
    if found is None:
        return
    assert (found["x"][0], found["x"][-1]) == (start, end)
    for i, x in enumerate(found["x"]):
        values = [[y for at, y in zip(s["x"], s["y"], strict=True) if at <= x][-1] for s in steps]
        assert found["low"][i] == min(values) and found["high"][i] == max(values)
        assert math.isclose(found["mean"][i], sum(values) / len(values), abs_tol=1e-12)


# Outcomes


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 5)), max_size=15), st.booleans())
def test_a_pareto_front_is_what_nothing_beats(pairs, maximize):
    points = [{"kind": "feasible", "size": a, "objective": b} for a, b in pairs]
    front = outcomes.pareto(points, "size", maximize)
    wanted = [(a if maximize else -a, b) for a, b in pairs]

    def beaten(i):
        return any(
            a >= wanted[i][0] and b >= wanted[i][1] and (a, b) != wanted[i] for a, b in wanted
        )

    assert {wanted[i] for i in front} == {wanted[i] for i in range(len(pairs)) if not beaten(i)}
    assert [pairs[i][0] for i in front] == sorted({pairs[i][0] for i in front})


def test_only_what_was_trained_in_full_is_on_the_front():
    run = run_of(trial(0, 0.5), trial(1, 0.9, epochs=1), trial(2, 0.4, precision=0.1))
    points = [outcomes.point(run, one) for one in run.lasts]
    assert [point["kind"] for point in points] == ["feasible", "partial", "infeasible"]
    assert outcomes.pareto(points, "num_params", maximize=False) == [0]


def test_shares_failures_and_time():
    run = run_of(
        trial(0, 0.5, elapsed=2.0, meta={"seconds": 1.0, "worker": 0, "elapsed": 2.0}),
        trial(1, 0.5, 0.1, generation=1, meta={"fold_seconds": [1.0, 1.5], "worker": 1}),
        trial(2, 0.5, epochs=2, generation=1, meta={"seconds": 3.0, "worker": 0}),
        trial(3, None, status="timeout", error="over 10 s", meta={"seconds": 0.5}),
        trial(4, None, status="timeout", error="over 2.5 s", meta={"elapsed": 7.0}),
    )
    shares = outcomes.shares(run)
    assert [shares[kind] for kind in ("feasible", "infeasible", "partial", "failed")] == [
        1,
        1,
        1,
        2,
    ]
    assert shares["valid_share"] == 0.5 and shares["missed"] == {"precision >= 0.3": 1}
    assert outcomes.failures([run]) == [{"status": "timeout", "error": "over # s", "count": 2}]
    spent = outcomes.time_spent(run)
    assert list(spent.values()) == [1.0, 2.5, 3.0, 0.5, 3 * 7.0 - 7.0]
    assert spread([0.5, None, 0.7]) == {
        **{"mean": pytest.approx(0.6), "sd": pytest.approx(math.sqrt(0.02))},
        **{"low": 0.5, "high": 0.7, "runs": 2},
    }


# Hyperband in hindsight


def curved(number, values, **changes):
    """A trial whose top-3 at 1, 2 and 4 epochs is known, in two folds around it."""
    folds = [
        {
            "top3": values[-1],
            "precision": 0.5,
            "curve": [
                {"epochs": at, "top3": value + shift, "precision": 0.5}
                for at, value in zip(LEVELS, values, strict=True)
            ],
        }
        for shift in (-0.01, 0.01)
    ]
    return trial(number, values[-1], folds=folds, **changes)


def test_a_learning_curve_is_the_mean_over_the_folds():
    found = learning_curve(curved(0, (0.1, 0.2, 0.4)))
    assert {at: round(point["top3"], 9) for at, point in found.items()} == {1: 0.1, 2: 0.2, 4: 0.4}
    assert learning_curve(trial(0, 0.5)) == {}


def test_rungs_that_rank_as_the_full_budget_and_rungs_that_rank_the_other_way():
    run = run_of(*(curved(i, (0.5 - 0.01 * i, 0.1 + 0.01 * i, 0.1 * i)) for i in range(8)))
    first, second = halving.rank_correlations(run)
    assert (first["epochs"], second["epochs"]) == (1, 2)
    assert first["objective"] == pytest.approx(-1) and second["objective"] == pytest.approx(1)
    assert first["promotion"] == pytest.approx(-1) and second["promotion"] == pytest.approx(1)
    by_bracket = {row["bracket"]: row for row in halving.audit(run)}
    # 1 -> 2 -> 4 with 4 children: the first rung keeps the two worst, the second the better one.
    assert by_bracket[2]["dropped"] == 1 and by_bracket[2]["loss"] > 0
    assert by_bracket[1]["dropped"] == 0 and by_bracket[1]["loss"] == 0


def test_what_rungs_chose_is_told_apart():
    free = [curved(i, (0.1 + 0.01 * i,) * 3) for i in range(6)]
    chosen = [curved(6 + i, (0.4 - 0.1 * i, 0.3, 0.1 * i), bracket=1) for i in range(3)]
    row = halving.rank_correlations(run_of(*free, *chosen))[0]
    assert row["trials"] == 6 and row["objective"] == pytest.approx(1)
    assert row["chosen_trials"] == 9 and row["chosen"] < 1
    few = halving.rank_correlations(run_of(*free[:5]))[0]
    assert few["objective"] is None and few["trials"] == 5


@given(st.lists(st.tuples(st.integers(0, 6), st.integers(0, 6)), min_size=6, max_size=20))
def test_spearman_is_that_of_scipy(pairs):
    from scipy.stats import spearmanr

    first, second = zip(*pairs, strict=True)
    found = halving.spearman(first, second)
    if len(set(first)) == 1 or len(set(second)) == 1:
        assert found is None
    else:
        assert found == pytest.approx(spearmanr(first, second).statistic, abs=1e-12)


def test_an_imagined_bracket_sees_what_a_real_one_measures(space, tmp_path):
    """Curves of configurations trained in full hold what rungs of others measure."""
    run = read_run(stub_run(space, tmp_path, "real"))
    rungs = {(t.trial, t.epochs): t.metrics["top3"] for t in run.trials if t.bracket > 0}
    promoted = [t for t in run.full if t.bracket > 0]
    assert promoted
    for one in promoted:
        for epochs, point in learning_curve(one).items():
            if (one.trial, epochs) in rungs:
                assert point["top3"] == pytest.approx(rungs[one.trial, epochs], abs=1e-12)


def test_what_a_bracket_saved():
    lines = [
        *(trial(i, 0.1 * i, epochs=1, bracket=2, generation=1) for i in range(4)),
        trial(3, 0.4, epochs=2, bracket=2, rung=1, generation=1, cost_epochs=1),
        trial(2, 0.5, epochs=2, bracket=2, rung=1, generation=1, cost_epochs=1),
        trial(2, 0.6, epochs=4, bracket=2, rung=2, generation=1, cost_epochs=2),
    ]
    (row,) = halving.brackets_as_run(run_of(*lines))
    assert (row["children"], row["cost_epochs"], row["in_full"], row["saved"]) == (4, 8, 16, 0.5)
    assert row["first"] == 0 and row["places"] == (2, 4)  # it was second of four at one epoch
    curves = halving.bracket_curves(run_of(*lines))
    assert curves[2][2] == {"trial": 2, "kind": "feasible", "x": [1, 2, 4], "y": [0.2, 0.5, 0.6]}


# Hyperparameters and winners


def test_importance_finds_the_hyperparameter_that_decides():
    rng = np.random.default_rng(1)
    configs = [{"a": float(a), "b": int(b), "word": "xy"[b % 2]} for a, b in
               zip(rng.random(90), rng.integers(0, 9, 90), strict=True)]  # fmt: skip
    trials = [trial(i, c["a"] ** 2, 0.5 + 0.01 * c["b"], config=c) for i, c in enumerate(configs)]
    run = run_of(*trials)
    found = importance([run, run_of(*trials, name="the same seed", hyperband=False)])
    assert found["trials"] == 90 and found["names"] == ["a", "b", "word"]
    assert np.argmax(found["objective"]["values"]) == 0 and found["objective"]["r2"] > 0.9
    assert np.argmax(found["precision"]["values"]) == 1
    few = importance([run_of(*trials[:20])])
    assert few["objective"] is None and few["trials"] == 20


def test_inactive_hyperparameters_lie_below_the_active():
    table = encode([{"a": 5, "w": "x"}, {"w": "y"}, {"a": 7}], ["a", "w"])
    assert table[1, 0] < 5 and table[2, 1] < table[0, 1] < table[1, 1]


def test_lineage_tells_what_changed_and_from_whom():
    run = run_of(
        trial(0, 0.1, config={"x": 1, "y": 1}),
        trial(1, 0.2, config={"x": 2, "y": 1, "z": 9}),
        trial(2, 0.3, config={"x": 2, "y": 1}, parents=(0, 1), operator="recombine", generation=1),
        trial(3, 0.4, config={"x": 2, "y": 5}, parents=(2,), operator="mutate", generation=2),
    )
    steps = lineage(run, 3)
    assert [step["trial"] for step in steps] == [3, 2, 1, 0]
    assert steps[0]["changes"] == [("y", 1, 5, "new")]
    assert steps[1]["changes"] == [("x", 1, 2, "from 1")]
    assert steps[3]["changes"] == [] and lineage(run, 1)[0]["trial"] == 1


def test_intervals_are_those_of_scipy():
    from scipy.stats import sem, t

    values = [0.5, 0.6, 0.62]
    mean, low, high = interval(values)
    assert (low, high) == pytest.approx(t.interval(0.95, 2, mean, sem(values)))
    assert interval([0.5]) == (0.5, None, None)


def test_a_summary_is_plain_data(space, tmp_path):
    names = [
        stub_run(space, tmp_path, f"{sampler}_{seed}", sampler=sampler, seed=seed)
        for sampler in ("evolution", "random")
        for seed in (1, 2)
    ]
    summary = summarize([*names, VERSION_1])
    again = json.loads(json.dumps(summary, allow_nan=False))
    assert [len(question["methods"]) for question in again["questions"]] == [2, 1]
    methods = again["questions"][0]["methods"]
    assert [[run["seed"] for run in method["runs"]] for method in methods] == [[1, 2], [1, 2]]
    run, on_disk = methods[0]["runs"][0], json.loads((names[0] / "run.json").read_text())
    assert run["winner"]["config"] == on_disk["winner"]["config"]
    assert run["curves"]["epochs"]["best"]["y"][-1] == on_disk["winner"]["metrics"]["top3"]
    rows = (names[0] / "population.csv").read_text().splitlines()[1:]
    assert run["curves"]["epochs"]["population"]["y"] == pytest.approx(
        [float(row.split(",")[0]) for row in rows], abs=1e-6
    )
    assert run["curves"]["epochs"]["population"]["x"] == [int(row.split(",")[-1]) for row in rows]
