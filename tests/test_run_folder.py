"""The folder of a run: who may have it open, its name, what is written to it and read back."""

import contextlib
import csv
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engine.cli.settings import Settings, resolve
from engine.storage import environment
from engine.storage.history import History
from engine.storage.journal import Journal
from engine.storage.naming import run_name
from engine.storage.resuming import data_place, resumed
from engine.storage.run import RunFolder
from optimizer import main
from search.constraints import Ranking
from search.generation import incumbent
from tests.stubs import make_trial, write_journal
from utils import InputError

ROOT = Path(__file__).resolve().parent.parent
RANKING = Ranking.parse("maximize top3", ["num_params <= 2000", "precision >= 0.4"])
TRIALS = [make_trial(i, epochs=epochs, cost_epochs=3) for i in range(3) for epochs in (3, 6)]


def open_in_another_process(path: Path) -> subprocess.CompletedProcess:
    code = (
        "import sys; from engine.storage.run import RunFolder; from utils import InputError\n"
        "try: RunFolder(sys.argv[1])\n"
        "except InputError as error: sys.exit(str(error))"
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=ROOT, capture_output=True, text=True
    )


def test_an_open_folder_is_locked_until_it_is_closed(tmp_path):
    folder = RunFolder(tmp_path / "run")
    with pytest.raises(InputError, match="in use by another process"):
        RunFolder(tmp_path / "run")
    ended = open_in_another_process(tmp_path / "run")
    assert ended.returncode == 1 and "in use by another process" in ended.stderr
    folder.close()
    RunFolder(tmp_path / "run").close()


def test_the_lock_ends_with_its_process(tmp_path):
    code = "from engine.storage.run import RunFolder as F; import sys, os; f = F(sys.argv[1]); "
    code += "os._exit(9)"
    subprocess.run([sys.executable, "-c", code, str(tmp_path / "run")], cwd=ROOT)
    RunFolder(tmp_path / "run").close()


def test_a_folder_that_cannot_be_made_is_told(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="run folder .*file/run cannot be made"):
        RunFolder(tmp_path / "file" / "run")


def settings_in(tmp_path, **given) -> Settings:
    return resolve({"runs_dir": str(tmp_path / "runs"), **given})


@pytest.mark.parametrize(
    "name",
    [
        "",
        ".",
        "..",
        "a/b",
        "/tmp/x",
        "a:b",
        "a b",
        "-x",
        ".hidden",
        "a\n",
        "ä",
        "a\x00b",
        "x" * 300,
    ],
    ids=lambda name: repr(name)[:12],
)
def test_a_name_that_cannot_name_a_folder_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="cannot name a folder") as caught:
        RunFolder.create(settings_in(tmp_path, run_name=name))
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("name", ["last", "latest", "run.json", "opt_cfg.json"])
def test_a_name_with_a_meaning_in_the_folder_of_runs_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="cannot name a folder"):
        RunFolder.create(settings_in(tmp_path, run_name=name))


def test_a_name_that_is_taken_is_refused_and_names_resume(tmp_path):
    folder = RunFolder.create(settings_in(tmp_path, run_name="mine"))
    assert folder.path == tmp_path / "runs" / "mine" and folder.latest == tmp_path / "runs"
    folder.close()
    with pytest.raises(InputError, match="--resume mine"):
        RunFolder.create(settings_in(tmp_path, run_name="mine"))


def test_runs_of_the_same_minute_have_names_of_their_own(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda *_: "2026-11-29_0436")
    names = []
    for _ in range(3):
        folder = RunFolder.create(settings_in(tmp_path))
        names.append(folder.path.name)
        folder.close()
    usual = "ea-hb_p0.39_s2e7_seed123_2026-11-29_0436"
    assert names == [usual, f"{usual}_2", f"{usual}_3"]


def test_the_name_of_a_run_tells_its_limits(monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda *_: "now")
    name = run_name(resolve({"constraints": ["loss <= 1"], "sampler": "random"}))
    assert name == "hb_seed123_now"
    smaller = resolve({"constraint_max_model_size": 1.5e6})
    assert run_name(smaller) == "ea-hb_p0.39_s1.5e6_seed123_now"
    guided = resolve({"sampler": "guided", "hyperband": False, "constraint_max_model_size": 12345})
    assert run_name(guided) == "guided-ea_p0.39_s12345_seed123_now"
    assert run_name(resolve({}), "dehb") == "dehb_p0.39_s2e7_seed123_now"


def test_the_latest_run_has_a_link(tmp_path):
    runs = tmp_path / "runs"
    for name in ("first", "second"):
        with contextlib.closing(RunFolder.create(settings_in(tmp_path, run_name=name))) as folder:
            folder.begin_session(Settings(), {}, must_match=False)
        assert (runs / "latest").resolve() == (runs / name).resolve()
    folder.remove_if_empty()
    assert not (runs / "latest").is_symlink(), "a link to nothing"


def make_runs(tmp_path) -> Path:
    runs = tmp_path / "runs"
    for number, name in enumerate(["older", "newer"]):
        folder = RunFolder(runs / name, latest=runs)
        folder.save(settings={})
        write_journal(folder.trials_jsonl, TRIALS)
        folder.save_winner(TRIALS[0], RANKING, 50)
        folder.close()
        os.utime(folder.trials_jsonl, (number, number))
    return runs


def test_a_run_is_found_by_name_path_or_as_the_last(tmp_path):
    runs = make_runs(tmp_path)
    for name in ("older", str(runs / "older"), "newer", "last"):
        folder = RunFolder.find(name, str(runs))
        assert folder.path == runs / ("newer" if name == "last" else Path(name).name)
        assert folder.latest == runs
        folder.close()
    folder = RunFolder.find(str(runs / "older"), str(tmp_path / "elsewhere"))
    assert folder.path == runs / "older" and folder.latest == runs
    folder.close()


def test_a_run_that_is_not_there_is_told_with_the_nearest(tmp_path):
    runs = make_runs(tmp_path)
    with pytest.raises(InputError, match="no run odler in .*; did you mean older?"):
        RunFolder.find("odler", str(runs))
    with pytest.raises(InputError, match="no run last in"):
        RunFolder.find("last", str(tmp_path / "nothing"))
    assert not (tmp_path / "nothing").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "older/.."])
def test_the_folder_of_runs_is_no_run(tmp_path, name):
    runs = make_runs(tmp_path)
    with pytest.raises(InputError, match="there is no run"):
        RunFolder.find(name, str(runs))
    with pytest.raises(InputError, match="there is no run"):
        RunFolder.find(str(runs), str(runs))


@pytest.mark.parametrize("content", ["", "[]", "3", "{", '{"v": 1}'])
def test_a_damaged_run_json_is_told_in_one_sentence(tmp_path, content):
    runs = make_runs(tmp_path)
    (runs / "older" / "run.json").write_text(content)
    assert main(["--resume", "older", "--runs_dir", str(runs)]) == 2


def test_the_winner_is_written_for_main_and_for_readers(tmp_path):
    folder = RunFolder(tmp_path / "runs" / "mine", latest=tmp_path / "runs")
    folder.save_winner(TRIALS[1], RANKING, 50)
    latest = folder.latest / "opt_cfg.json"
    assert latest.is_symlink() and latest.resolve() == folder.opt_cfg_json.resolve()
    for path in (folder.path, latest.resolve().parent):
        assert json.loads((path / "opt_cfg.json").read_text()) == TRIALS[1].config
        winner = json.loads((path / "run.json").read_text())["winner"]
        assert winner == {
            "trial": 0,
            "epochs": 6,
            "feasible": True,
            "fully_trained": False,
            "config": TRIALS[1].config,
            "metrics": TRIALS[1].metrics,
        }
    assert not list(tmp_path.rglob("*.tmp"))
    folder.close()


def test_a_winner_beyond_the_limits_is_written_as_such(tmp_path):
    folder = RunFolder(tmp_path / "mine")
    folder.save_winner(make_trial(metrics={"top3": 1.0, "num_params": 9999}), RANKING, 50)
    winner = json.loads(folder.run_json.read_text())["winner"]
    assert not winner["feasible"] and winner["fully_trained"]
    folder.close()


def test_without_a_winner_no_configuration_is_written(tmp_path):
    folder = RunFolder(tmp_path / "mine", latest=tmp_path)
    folder.save_winner(None, RANKING, 50)
    assert json.loads(folder.run_json.read_text())["winner"] is None
    assert not folder.opt_cfg_json.exists() and not (tmp_path / "opt_cfg.json").exists()
    folder.close()


def test_run_json_has_no_nan(tmp_path):
    folder = RunFolder(tmp_path / "mine")
    folder.save(a={"b": [float("nan"), 1.5]})
    assert json.loads(folder.run_json.read_text()) == {"v": 1, "a": {"b": [None, 1.5]}}
    folder.close()


def test_population_csv_has_a_row_a_generation(tmp_path):
    folder = RunFolder(tmp_path / "mine")
    population = [
        make_trial(0, metrics={"top3": 0.5, "precision": 0.6, "num_params": 1}),
        make_trial(1, metrics={"top3": 0.9, "precision": 0.1, "num_params": 1}),
        make_trial(2, metrics={"top3": None, "num_params": 1}, status="diverged"),
    ]
    limits = tuple(map(str, RANKING.constraints))
    history = History(Journal(), folder, Settings(constraints=limits))
    history.add(population, [*population, make_trial(3, cost_epochs=7)], 0)
    history.add(population, [make_trial(4, cost_epochs=3, meta={"elapsed": 2.5})], 1)
    history.add([], [make_trial(5, cost_epochs=0, meta={"elapsed": 1.5})], 2)
    read = list(csv.DictReader(folder.population_csv.open()))
    assert list(read[0]) == (
        ["avg_acc", "best_acc", "avg_prec", "best_prec", "step", "time", "epochs"]
    )
    assert [row["step"] for row in read] == ["0", "1", "2"]
    assert {name: float(value) for name, value in read[0].items()} == {
        "avg_acc": 0.7,
        "best_acc": 0.5,
        "avg_prec": 0.35,
        "best_prec": 0.6,
        "step": 0,
        "time": 0,
        "epochs": 157,
    }
    assert [row["time"] for row in read] == ["0.0", "2.5", "2.5"]
    assert read[2]["avg_acc"] == "" and read[2]["epochs"] == "160"
    folder.close()


def test_sessions_are_noted(tmp_path):
    folder = RunFolder(tmp_path / "mine", latest=tmp_path)
    facts = {"data": {"fingerprint": "x"}, "device": "cpu"}
    folder.begin_session(Settings(), facts, must_match=False)
    assert folder.record["sessions"][0]["reason"] is None
    folder.end_session("time limit")
    folder.close()
    folder = RunFolder(tmp_path / "mine")
    assert folder.record["settings"]["pop_size"] == 50
    folder.begin_session(Settings(), facts, must_match=True)
    folder.end_session("generation limit")
    reasons = [
        session["reason"] for session in json.loads(folder.run_json.read_text())["sessions"]
    ]
    assert reasons == ["time limit", "generation limit"]
    folder.close()


def test_a_run_on_other_data_or_by_other_arithmetic_does_not_go_on(tmp_path):
    folder = RunFolder(tmp_path / "mine")
    folder.begin_session(Settings(), {"data": {"fingerprint": "x"}, "device": "cpu"}, False)
    for what, facts in (
        ("data fingerprint was", {"data": {"fingerprint": "y"}, "device": "cpu"}),
        ("device was", {"data": {"fingerprint": "x"}, "device": "cuda"}),
        (
            "training_version was not noted in this run and is 3 now",
            {"data": {"fingerprint": "x"}, "device": "cpu", "training_version": 3},
        ),
        (
            "model_version was not noted in this run and is 2 now",
            {"data": {"fingerprint": "x"}, "device": "cpu", "model_version": 2},
        ),
    ):
        with pytest.raises(InputError, match=f"--resume: {what}"):
            folder.begin_session(Settings(), facts, must_match=True)
    folder.close()


def test_a_version_that_results_depend_on_may_not_change(tmp_path, monkeypatch):
    facts = {"data": {"fingerprint": "x"}, "device": "cpu"}
    folder = RunFolder(tmp_path / "mine")
    folder.begin_session(Settings(), facts, must_match=False)
    version = folder.record["versions"].pop("schedulefree")
    folder.begin_session(Settings(), facts, must_match=True)  # a run of before it was noted
    assert folder.record["versions"]["schedulefree"] == version
    before = dict(folder.record["versions"])
    for name in environment.CALCULATE:
        now = {**before, name: "0.9"}
        monkeypatch.setattr(environment, "_version", now.get)
        with pytest.raises(InputError, match=f"--resume: versions {name} was .* and is 0.9 now"):
            folder.begin_session(Settings(), facts, must_match=True)
    folder.close()


def test_other_data_go_on_inexactly_where_that_is_asked_for_and_noted(tmp_path, caplog):
    folder = RunFolder(tmp_path / "mine")
    folder.begin_session(Settings(), {"data": {"fingerprint": "x"}, "device": "cpu"}, False)
    changed = resumed(folder.record, {"allow_inexact": True, "threads": 2, "device": "cpu"})
    other = {"data": {"fingerprint": "y"}, "device": "cpu"}
    folder.begin_session(changed, other, must_match=True)
    noted = json.loads(folder.run_json.read_text())["inexact"]
    assert len(noted) == 2 and "fingerprint was x" in noted[0] and "threads was 1" in noted[1]
    assert "NOTE" in caplog.text
    folder.begin_session(changed, other, must_match=True)
    assert folder.record["inexact"] == noted, "the same again is no news"
    assert not resumed(folder.record, {}).allow_inexact, "a consent is for one session"
    folder.close()
    with pytest.raises(InputError, match="--allow_inexact would let it"):
        resumed(folder.record, {"threads": 3})


def test_the_images_of_a_run_are_found_again():
    assert data_place({"data": {"kind": "folder", "root": "/x"}})["dataset"] == "/x"
    place = data_place({"data": {"kind": "flowers17", "root": "/y"}})
    assert place == {"dataset": "flowers17", "data_dir": "/y"}
    assert data_place({}) == data_place({"data": 3}) == data_place([]) == {}


ASSETS = Path(__file__).resolve().parent / "assets"


@pytest.mark.parametrize("version", sorted(path.name for path in ASSETS.iterdir()))
def test_runs_of_every_version_can_be_read(version, tmp_path):
    shutil.copytree(ASSETS / version, tmp_path / "old")
    folder = RunFolder(tmp_path / "old")
    journal = Journal(folder.trials_jsonl)
    best = incumbent(journal.trials, resumed(folder.record, {}).ranking())
    assert len(journal.trials) == 7 and not journal.warnings
    assert best.config == json.loads(folder.opt_cfg_json.read_text())
    assert best.config == folder.record["winner"]["config"]
    journal.close()
    folder.close()


def test_only_a_run_without_trials_is_removed(tmp_path):
    folder = RunFolder(tmp_path / "empty")
    Journal(folder.trials_jsonl).close()
    folder.remove_if_empty()
    assert not folder.path.exists()
    folder.close()
    folder = RunFolder(tmp_path / "full")
    write_journal(folder.trials_jsonl, TRIALS)
    folder.remove_if_empty()
    assert len(Journal(folder.trials_jsonl).trials) == len(TRIALS)
    folder.close()
