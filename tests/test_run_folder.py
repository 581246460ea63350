"""The folder of a run: its lock, its name, and its files, written and read back."""

import contextlib
import errno
import fcntl
import os
import shutil
import sys
import time
from pathlib import Path

import pytest

from engine.cli.settings import FIELDS, Settings, resolve
from engine.storage import environment
from engine.storage.history import History
from engine.storage.journal import Journal
from engine.storage.naming import run_name
from engine.storage.resuming import INEXACTLY, MAY_DIFFER, resumed
from engine.storage.run import RunFolder
from engine.storage.spaces import keep_space
from evaluation.candidates import search_behind
from search.constraints import Ranking
from search.generation import incumbent
from tests.stubs import make_trial, write_journal
from utils import InputError, read_json

ASSETS = Path(__file__).resolve().parent / "assets"
RANKING = Ranking.parse("maximize top3", ["num_params <= 2000", "precision >= 0.4"])
TRIALS = [make_trial(i, epochs=epochs, cost_epochs=3) for i in range(3) for epochs in (3, 6)]


@pytest.fixture
def folder(tmp_path):
    with contextlib.closing(RunFolder(tmp_path / "mine")) as folder:
        yield folder


def test_an_open_folder_is_locked_until_it_is_closed_or_its_process_ends(folder):
    with pytest.raises(InputError, match="in use by another process"):
        RunFolder(folder.path)
    folder.close()
    child = os.fork()
    if child == 0:  # must never return into pytest
        try:
            held = RunFolder(folder.path)
            os._exit(9 if held else 8)
        finally:
            os._exit(7)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    RunFolder(folder.path).close()


def test_a_file_system_without_locks_is_told_as_such(tmp_path, monkeypatch):
    def lacks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", lacks)
    with pytest.raises(InputError, match="cannot be made, written or locked: No locks available"):
        RunFolder(tmp_path / "mine")


def settings_in(tmp_path, **given) -> Settings:
    return resolve({"runs_dir": str(tmp_path / "runs"), **given})


def test_a_name_that_cannot_name_a_run_is_refused(tmp_path):
    names = ["", "..", "a/b", "a:b", "a b", "-x", ".hidden", "a\n", "ä", "a\x00b", "x" * 300]
    meaning = ["last", "latest", "run.json", "opt_cfg.json"]  # reserved in the folder of runs
    for name in names + meaning:
        with pytest.raises(InputError, match="cannot name a folder") as caught:
            RunFolder.create(settings_in(tmp_path, run_name=name))
        assert "\n" not in str(caught.value)
    assert not (tmp_path / "runs").exists()


def test_the_name_of_a_run_tells_its_method_and_limits(tmp_path, monkeypatch):
    monkeypatch.setattr(time, "strftime", lambda *_: "now")
    usual = "ea-hb_p0.39_s2e7_seed123_now"
    for name in (usual, f"{usual}_2", f"{usual}_3"):  # all in the same minute
        with contextlib.closing(RunFolder.create(settings_in(tmp_path))) as folder:
            assert folder.path.name == name
    random = resolve({"constraints": ["loss <= 1"], "sampler": "random"})
    assert run_name(random) == "hb_seed123_now"
    guided = {"sampler": "guided", "hyperband": False, "constraint_max_model_size": 1.5e6}
    assert run_name(resolve(guided)) == "guided-ea_p0.39_s1.5e6_seed123_now"
    size = resolve({"constraint_max_model_size": 12345})
    assert run_name(size, "dehb") == "dehb_p0.39_s12345_seed123_now"


def test_the_latest_run_has_a_link(tmp_path):
    runs = tmp_path / "runs"
    for name in ("first", "second"):
        with contextlib.closing(RunFolder.create(settings_in(tmp_path, run_name=name))) as folder:
            folder.begin_session(Settings(), {})
        assert (runs / "latest").resolve() == (runs / name).resolve()
    folder.remove_if_empty()
    assert not (runs / "latest").is_symlink(), "a link to nothing"


def test_the_last_run_has_the_newest_journal_and_what_is_no_run_is_told(tmp_path, monkeypatch):
    for number, name in enumerate(("older", "newer")):
        with contextlib.closing(RunFolder(tmp_path / name)) as made:
            made.begin_session(Settings(), {})
            write_journal(made.trials_jsonl, TRIALS)
        os.utime(made.trials_jsonl, (number, number))
    with contextlib.closing(RunFolder.find("last", str(tmp_path))) as found:
        assert found.path == tmp_path / "newer" and found.latest == tmp_path
        found.begin_session(Settings(), {})
    before = found.record["arguments"]
    monkeypatch.setattr(sys, "argv", ["optimizer.py", "--resume", "latest"])
    with contextlib.closing(RunFolder.find("latest", str(tmp_path))) as found:
        found.begin_session(Settings(), {})
    assert (tmp_path / "latest").resolve() == (tmp_path / "newer").resolve()
    assert read_json(tmp_path / "newer" / "run.json")["arguments"] == before, "how it began"
    for name in ("", "..", "older/..", str(tmp_path)):
        with pytest.raises(InputError, match="there is no run"):
            RunFolder.find(name, str(tmp_path))


def test_a_run_that_was_killed_while_it_started_can_be_started_again(tmp_path, space):
    """Before it has a run.json; from then on it can be resumed."""
    given = settings_in(tmp_path, run_name="mine")
    with contextlib.closing(RunFolder.create(given)) as killed:
        keep_space(killed, space)
        killed.log_txt.write_text("a line\n")
        with pytest.raises(InputError, match="in use by another process"):
            RunFolder.create(given)
    with pytest.raises(InputError, match="there is no run mine"):
        RunFolder.find("mine", given.runs_dir)
    with contextlib.closing(RunFolder.create(given)) as again:
        assert sorted(path.name for path in again.path.iterdir()) == [".lock", "checkpoints"]
        keep_space(again, space)
        again.begin_session(given, {})  # killed here, before its journal
    with contextlib.closing(RunFolder.find("mine", given.runs_dir)) as found:
        assert resumed(found.record, {}) == given and found.record["space_hash"]
    with pytest.raises(InputError, match="mine exists already; --resume mine"):
        RunFolder.create(given)


def test_a_folder_that_is_no_run_is_left_alone(tmp_path):
    (tmp_path / "runs" / "mine").mkdir(parents=True)
    (tmp_path / "runs" / "mine" / "photo.jpg").touch()
    (tmp_path / "runs" / "file").touch()
    for name in ("mine", "file"):
        with pytest.raises(InputError, match=f"{name} exists already"):
            RunFolder.create(settings_in(tmp_path, run_name=name))
    assert [path.name for path in (tmp_path / "runs" / "mine").iterdir()] == ["photo.jpg"]


@pytest.mark.parametrize(("where", "name"), [(".", "."), ("checkpoints", "..")])
def test_a_run_resumed_from_inside_its_folder_links_its_winner_beside_it(
    tmp_path, monkeypatch, where, name
):
    with contextlib.closing(RunFolder(tmp_path / "mine")) as made:
        made.save(settings={})
        write_journal(made.trials_jsonl, TRIALS)
    monkeypatch.chdir(made.path / where)
    with contextlib.closing(RunFolder.find(name, "runs")) as found:
        found.save_winner(TRIALS[1], RANKING, 50)
    assert not made.opt_cfg_json.is_symlink() and read_json(made.opt_cfg_json) == {"x": 0}
    assert (tmp_path / "opt_cfg.json").resolve() == made.opt_cfg_json.resolve()


def test_searches_that_share_a_folder_never_mix_their_winners(tmp_path):
    folders = [RunFolder(tmp_path / name, latest=tmp_path) for name in "ab"]
    for number, folder in enumerate(folders):
        folder.begin_session(Settings(seed=number), FACTS)
    for number in (0, 1, 0, 1):
        trial = make_trial(number, config={"kernel_size": 3 + 2 * number})
        folders[number].save_winner(trial, RANKING, 50)
        origin = search_behind(tmp_path / "opt_cfg.json")
        assert origin.settings["seed"] == number and origin.record["winner"]["trial"] == number
    folders[0].save_baseline(trial)
    folders[0].save_winner(trial, RANKING, 50)
    assert (tmp_path / "baseline.json").resolve().parent.name == "a"
    folders[1].save_winner(trial, RANKING, 50)
    assert not (tmp_path / "baseline.json").is_symlink(), "that of another search"
    for folder in folders:
        folder.close()


def test_what_is_special_about_a_winner_is_written(folder):
    folder.save_winner(None, RANKING, 50)
    assert read_json(folder.run_json)["winner"] is None and not folder.opt_cfg_json.exists()
    folder.save_winner(TRIALS[1], RANKING, 50)
    winner = read_json(folder.run_json)["winner"]
    assert winner["feasible"] and not winner["fully_trained"]
    folder.save_winner(make_trial(metrics={"top3": 1.0, "num_params": 9999}), RANKING, 50)
    winner = read_json(folder.run_json)["winner"]
    assert not winner["feasible"] and winner["fully_trained"]


def test_run_json_has_no_nan(folder):
    folder.save(a={"b": [float("nan"), 1.5]})
    assert read_json(folder.run_json) == {"v": 1, "a": {"b": [None, 1.5]}}


def test_population_csv_has_a_row_a_generation(folder):
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
    assert folder.population_csv.read_text().splitlines() == [
        "avg_acc,best_acc,avg_prec,best_prec,step,time,epochs",
        "0.7,0.5,0.35,0.6,0,0.0,157",
        "0.7,0.5,0.35,0.6,1,2.5,160",
        ",,,,2,2.5,160",
    ]


FACTS = {"data": {"fingerprint": "x"}, "device": "cpu"}


def test_a_run_on_other_data_or_by_other_arithmetic_does_not_go_on(folder):
    folder.begin_session(Settings(), FACTS)
    for what, change in (
        ("data fingerprint was", {"data": {"fingerprint": "y"}}),
        ("device was", {"device": "cuda"}),
        ("training_version was not recorded in this run and is 3 now", {"training_version": 3}),
        ("model_version was not recorded in this run and is 2 now", {"model_version": 2}),
    ):
        with pytest.raises(InputError, match=f"^{what}"):
            folder.begin_session(Settings(), FACTS | change)


def test_a_version_or_a_processor_that_results_depend_on_may_not_change(folder, monkeypatch):
    folder.begin_session(Settings(), FACTS)
    version = folder.record["versions"].pop("schedulefree")
    folder.begin_session(Settings(), FACTS)  # a run that did not record it
    assert folder.record["versions"]["schedulefree"] == version
    before = dict(folder.record["versions"])
    with monkeypatch.context() as patch:
        patch.setattr(environment, "processor_name", lambda: "Other")
        with pytest.raises(InputError, match="processor was .* is Other now"):
            folder.begin_session(Settings(), FACTS)
    for name in environment.CALCULATE:
        now = {**before, name: "0.9"}
        monkeypatch.setattr(environment, "version", now.get)
        with pytest.raises(InputError, match=f"^versions {name} was .* and is 0.9 now"):
            folder.begin_session(Settings(), FACTS)


def test_other_data_go_on_inexactly_where_that_is_asked_for_and_noted(folder, caplog):
    folder.begin_session(Settings(), FACTS)
    changed = resumed(folder.record, {"allow_inexact": True, "threads": 2, "device": "cpu"})
    other = FACTS | {"data": {"fingerprint": "y"}}
    folder.begin_session(changed, other)
    noted = read_json(folder.run_json)["inexact"]
    assert len(noted) == 2 and "fingerprint was x" in noted[0] and "threads was 1" in noted[1]
    assert "NOTE" in caplog.text
    folder.begin_session(changed, other)
    assert folder.record["inexact"] == noted, "the same again is no news"
    assert not resumed(folder.record, {}).allow_inexact, "a consent is for one session"
    assert {*MAY_DIFFER, *INEXACTLY} <= set(FIELDS), "names of settings"
    with pytest.raises(InputError, match="--allow_inexact permits it"):
        resumed(folder.record, {"threads": 3})


@pytest.mark.parametrize("version", sorted(path.name for path in ASSETS.iterdir()))
def test_runs_of_every_version_can_be_read(version, tmp_path, caplog):
    shutil.copytree(ASSETS / version, tmp_path / "old")
    folder = RunFolder(tmp_path / "old")
    journal = Journal(folder.trials_jsonl)
    best = incumbent(journal.trials, resumed(folder.record, {}).ranking())
    assert len(journal.trials) == 7 and not caplog.records
    assert best.config == read_json(folder.opt_cfg_json)
    assert best.config == folder.record["winner"]["config"]
    journal.close()
    folder.close()


def test_only_a_run_without_trials_is_removed(folder, tmp_path):
    Journal(folder.trials_jsonl).close()
    folder.state_path(1).touch()  # of a fold that a crash must not lose
    assert not folder.remove_if_empty()
    folder.delete_states([1])
    assert folder.remove_if_empty()
    assert not folder.path.exists()
    with contextlib.closing(RunFolder(tmp_path / "full")) as full:
        write_journal(full.trials_jsonl, TRIALS)
        assert not full.remove_if_empty()
        assert len(Journal(full.trials_jsonl).trials) == len(TRIALS)
