"""Runs in the formats of other viewers, read back with the viewers' own code."""

import csv
import importlib
import json
import sys

import optuna
import pytest
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from engine.storage.journal import read_trials
from engine.storage.run import RunFolder
from reports import export
from reports.__main__ import main
from reports.reading import read_run
from tests.stub_target import StubTarget
from tests.test_reports import stub_run
from utils import write_json

LIMITS = ("num_params <= 2e6", "precision >= 0.3")


def act(config, epochs):
    """Some fail, some diverge."""
    if config["batch_size"] % 7 == 0:
        raise RuntimeError("out of luck")
    if config["batch_size"] % 5 == 0:
        return {"top3": float("nan"), "precision": float("nan")}
    return None


@pytest.fixture(scope="module")
def run(tmp_path_factory, space):
    """A finished run on disk with a target without training."""
    given = {"target": StubTarget(act), "constraints": LIMITS}
    given |= {"pop_size": 5, "epochs": 8, "seed": 3}
    return stub_run(space, tmp_path_factory.mktemp("runs"), "eventful", **given)


def studied(run, path):
    export.export_optuna(read_run(run), path)
    storage = optuna.storages.JournalStorage(JournalFileBackend(str(path)))
    return optuna.load_study(study_name=run.name, storage=storage)


@pytest.fixture(scope="module")
def study(run, tmp_path_factory):
    return studied(run, tmp_path_factory.mktemp("studies") / "x.jsonl")


def copied(run, folder, **settings):
    """The same trials in a run with other settings."""
    folder.mkdir()
    (folder / "trials.jsonl").write_bytes((run / "trials.jsonl").read_bytes())
    record = json.loads((run / "run.json").read_text())
    write_json(folder / "run.json", {**record, "settings": {**record["settings"], **settings}})
    return folder


def last_lines(run):
    """{trial id: last line of its configuration}."""
    return {t.trial: t for t in sorted(read_trials(run / "trials.jsonl")[0], key=lambda t: t.key)}


def test_all_configurations_are_in_the_study(run, study):
    lines, states, rungs = last_lines(run), set(), {}
    for line in read_trials(run / "trials.jsonl")[0]:
        if line.metrics.get("top3") is not None:
            rungs.setdefault(line.trial, {})[line.epochs] = line.metrics["top3"]
    assert max(map(len, rungs.values())) == 4
    assert len(study.trials) == len(lines)
    assert study.metric_names == ["top3", "num_params"]
    assert [direction.name for direction in study.directions] == ["MAXIMIZE", "MINIMIZE"]
    for frozen in study.trials:
        line = lines[frozen.user_attrs["trial"]]
        assert frozen.intermediate_values == rungs.get(line.trial, {})
        assert frozen.params == line.config
        assert list(map(type, frozen.params.values())) == list(map(type, line.config.values()))
        states.add(frozen.state)
        assert frozen.user_attrs["parents"] == list(line.parents)
        assert frozen.user_attrs["operator"] == line.operator
        if line.status != "ok":
            assert frozen.state == TrialState.FAIL and frozen.user_attrs["status"] == line.status
            continue
        full = TrialState.COMPLETE if line.epochs == 8 else TrialState.PRUNED
        assert frozen.state == full
        assert frozen.values == [line.metrics["top3"], line.metrics["num_params"]]
        assert frozen.user_attrs["precision"] == line.metrics["precision"]
        size, precision = frozen.system_attrs["constraints"]
        assert size == line.metrics["num_params"] - 2e6
        assert precision == pytest.approx(0.3 - line.metrics["precision"])
    assert states == {TrialState.FAIL, TrialState.COMPLETE, TrialState.PRUNED}


def test_distributions_are_those_of_the_space(study):
    found = {}
    for frozen in study.trials:
        found |= frozen.distributions
    assert found["learning_rate_init"].log and found["learning_rate_init"].high == 0.1
    assert (found["n_conv_layers"].low, found["n_conv_layers"].high) == (1, 3)
    assert found["kernel_size"].choices == (3, 5, 7)
    assert found["use_BN"].choices == (True, False)


@pytest.mark.parametrize(
    "limits, directions", [([], ["MINIMIZE"]), (["top3 >= 0.1"], ["MINIMIZE", "MAXIMIZE"])]
)
def test_the_first_limit_on_something_else_is_the_second_objective(
    run, tmp_path, limits, directions
):
    other = copied(run, tmp_path / "other", constraints=limits, objective="minimize loss")
    study = studied(other, tmp_path / "x.jsonl")
    assert [direction.name for direction in study.directions] == directions
    assert len(study.trials) == len(last_lines(run))


def test_every_line_is_a_row_of_the_table(run, tmp_path):
    lines = read_trials(run / "trials.jsonl")[0]
    assert export.export_csv(read_run(run), tmp_path / "x.csv") == len(lines)
    with open(tmp_path / "x.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    for row, line in zip(rows, lines, strict=True):
        assert (int(row["trial"]), int(row["epochs"])) == (line.trial, line.epochs)
        assert row["parents"] == " ".join(map(str, line.parents))
        for group, values in (("config", line.config), ("metrics", line.metrics)):
            cells = {k: v for k, v in row.items() if k.startswith(f"{group}.") and v != ""}
            expected = {f"{group}.{k}": str(v) for k, v in values.items() if v is not None}
            assert cells == expected
        assert float(row["elapsed"]) == line.meta["elapsed"]


@pytest.mark.parametrize("kind", ["optuna", "csv"])
def test_a_running_search_is_exported_and_left_as_it_is(run, tmp_path, kind):
    """Its folder is locked, and the last line of the journal is incomplete."""
    live = copied(run, tmp_path / "live")
    content = (run / "trials.jsonl").read_bytes()[:-40]
    (live / "trials.jsonl").write_bytes(content)
    folder = RunFolder(live)
    before = sorted(path.name for path in live.iterdir())
    output = tmp_path / f"out.{kind}"
    assert main([str(live), "--export", kind, "--output", str(output)]) == 0
    assert output.stat().st_size > 1000
    assert (live / "trials.jsonl").read_bytes() == content
    assert sorted(path.name for path in live.iterdir()) == before
    assert sorted(path.name for path in tmp_path.iterdir()) == ["live", output.name]
    folder.close()


def test_mistakes_of_an_export_and_a_lack_of_optuna_are_told(run, tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)
    importlib.reload(export)  # this and the table work without Optuna
    assert main([str(run), "--export", "csv", "--output", str(tmp_path / "x.csv")]) == 0
    for arguments, word in (
        ([tmp_path, "--export", "csv"], str(tmp_path)),
        ([run, "--export", "csv", "--output", tmp_path / "no" / "x.csv"], "no"),
        ([run, "--export", "csv", "--output", run / "x.csv"], "folder of the run"),
        ([run, "--export", "optuna", "--output", tmp_path / "x"], "requirements-viewers.txt"),
    ):
        assert main([str(word) for word in arguments]) == 2
        err = capsys.readouterr().err
        assert word in err and err.count("\n") == 1, err
