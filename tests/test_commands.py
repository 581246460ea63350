"""The two commands as users run them, one after the other; messages and signals."""

import os
import shutil
import signal

import numpy as np
import pytest
import torch

import main
import optimizer
from engine.cli.settings import Settings
from engine.storage.run import RunFolder
from engine.workers import planning
from evaluation.metrics import STATIC
from search.space import Space
from tests.command_line import (
    JOBS,
    LIMITS,
    METRICS,
    ROOT,
    TINY,
    call,
    command,
    complaint,
    decided,
    evaluate,
    lines_of,
    make_folder,
    read,
    search,
    told,
)
from tests.flower_folders import make_train_test
from training.trainer import Trainer
from vision import data
from vision.metrics import cross_entropy, macro_precision, macro_recall, top_k_accuracy

pytestmark = pytest.mark.usefixtures("no_flowers")
FIRST_ONLY = ["--max_generations", 0, "--epochs", 1]  # the first population, one epoch each


def test_both_commands_in_processes_of_their_own(tmp_path):
    """As a new user runs them, from another folder and without photographs."""
    words = [*TINY, *FIRST_ONLY, "--pop_size", 1, "--runs_dir", "runs", "--run_name", "tiny"]
    code, out, err = command("optimizer.py", *words, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "embedded flowers (drawn, not photographs)" in out and "Warning" not in out
    assert "\x1b" not in out and "\r" not in out, "off a terminal there are plain lines only"
    record = read(tmp_path / "runs" / "tiny" / "run.json")
    assert record["arguments"] == [str(word) for word in words]
    assert record["data"]["kind"] == "synthetic" and len(record["data"]["class_names"]) == 17
    words = ["-c", "runs/opt_cfg.json", "-t", "True", "-e", 1]
    code, table, err = command("main.py", *words, cwd=tmp_path)
    assert (code, err) == (0, "")
    assert "embedded flowers (drawn, not photographs), measured on the test split" in table
    assert read(tmp_path / "runs" / "tiny" / "result_test.json")["dataset"]["kind"] == "synthetic"
    assert not [p for p in tmp_path.rglob("*") if p.suffix in (".tmp", ".pt", ".pyc")]


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A search, the evaluation of its winner, and the output of both."""
    home = tmp_path_factory.mktemp("home")
    make_folder(home / "woods", contrast=12)  # so similar that no network is always right
    with told(home) as out:
        assert search("runs", "--dataset", home / "woods") == 0
    with told(home) as table:
        assert main.main(["-c", "runs/opt_cfg.json", "-t", "True", "-e", "2"]) == 0
    runs = home / "runs"
    printed = {"out": out.getvalue(), "table": table.getvalue()}
    return {"runs": runs, "run": runs / "tiny", "woods": home / "woods", **printed}


def test_the_run_folder_is_complete_and_its_journal_as_planned(finished):
    run, runs = finished["run"], finished["runs"]
    names = {"run.json", "space.json", "trials.jsonl", "population.csv", "opt_cfg.json", "log.txt"}
    measured = {"predictions_test.npz", "result_test.json"}  # by main.py, through the link
    assert {path.name for path in run.iterdir() if path.name[0] != "."} == names | measured
    assert sorted(path.name for path in runs.iterdir()) == ["latest", "opt_cfg.json", "tiny"]
    assert (runs / "opt_cfg.json").resolve().parent == run.resolve()
    lines, space = lines_of(run), Space.load(ROOT / "configs" / "space.json")
    names = "generation bracket rung epochs cost_epochs".split()
    assert [tuple(line[name] for name in names) for line in lines] == [
        *[(0, 0, 0, 2, 2)] * 2,
        *[(1, 1, 0, 1, 1)] * 2,
        (1, 1, 1, 2, 1),
        *[(1, 0, 0, 2, 2)] * 2,
    ]
    for line in lines:
        assert line["v"] == 2 and line["status"] == "ok" and line["error"] is None
        assert space.adopt(line["config"]) == (line["config"], [])
        assert line["metrics"]["num_params"] <= 3e4 and line["metrics"]["macs"] <= 1.5e5
        assert set(line["metrics"]) == METRICS | {*STATIC} and line["meta"]["seconds"] >= 0
        curves = [[point["epochs"] for point in fold["curve"]] for fold in line["folds"]]
        assert curves == [[1, 2][: line["epochs"]]] * 2


def test_run_json_says_how_the_run_was_made(finished):
    record, run = read(finished["run"] / "run.json"), finished["run"]
    assert record["v"] == 1 and set(record["settings"]) == set(Settings().__dict__)
    expected = {"seed": 5, "pop_size": 2, "hyperband": True, "constraints": LIMITS, "epochs": 2}
    assert expected.items() <= record["settings"].items()
    assert record["data"]["kind"] == "folder" and record["data"]["note"] == ""
    assert record["data"]["fingerprint"].startswith("sha256:")
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert record["device"] and "git_revision" in record
    winner = record["winner"]
    full = [line for line in lines_of(run) if line["epochs"] == 2]
    best = max(full, key=lambda t: (t["metrics"]["precision"] >= 0.01, t["metrics"]["top1"]))
    assert winner["trial"] == best["trial"] and winner["metrics"] == best["metrics"]
    assert winner["feasible"] is (best["metrics"]["precision"] >= 0.01)
    assert winner["config"] == best["config"] == read(run / "opt_cfg.json")


def test_the_search_tells_what_a_newcomer_needs(finished):
    out = finished["out"]
    assert out.index("estimated time") < out.index("generation 0")
    assert "The search ended (generation limit): 6 configurations, 11 epochs" in out
    assert "num_params <= 30000 met" in out and "precision >= 0.01" in out
    assert f"main.py -c runs{os.sep}opt_cfg.json -t True" in out
    logged = (finished["run"] / "log.txt").read_text()
    assert all(line in logged for line in out.splitlines())


def test_the_result_on_the_test_split(finished):
    result, table = read(finished["run"] / "result_test.json"), finished["table"]
    assert result["config"] == read(finished["runs"] / "opt_cfg.json")
    assert (result["split"], result["epochs"], result["seeds"]) == ("test", 2, [123])
    assert result["optimizer"] == "adamw" and set(result["metrics"]) == METRICS
    assert result["dataset"]["kind"] == "folder" and result["dataset"]["image_size"] == 8
    assert result["layers"] == read(finished["run"] / "run.json")["winner"]["layers"]
    known = {**result["metrics"], "num_params": result["num_params"], "macs": result["macs"]}
    assert [limit["text"] for limit in result["constraints"]] == [
        *("num_params <= 30000", "macs <= 150000", "precision >= 0.01")
    ]
    for limit in result["constraints"]:
        name, sense, bound = limit["text"].split()
        assert limit["value"] == known[name]
        met = known[name] >= float(bound) if sense == ">=" else known[name] <= float(bound)
        assert limit["met"] is met
        assert f"{limit['text']} {'met' if met else 'MISSED'}" in table
    for name in METRICS:
        assert name in table and f"{result['metrics'][name]:.4f}" in table
    assert f"{result['num_params']:,}" in table and "result_test.json" in table
    assert "limits and data of runs/opt_cfg.json: those of the search" in table


def check_predictions(file, images):
    """The metrics of a result follow from its predictions."""
    result = read(file)
    stored = np.load(file.parent / result["by_seed"][0]["predictions"], allow_pickle=False)
    assert set(stored) == {"scores", "labels", "names", "fold", "seed"}
    assert stored["scores"].shape == (images, 3) and stored["scores"].dtype == np.float32
    assert len(set(stored["names"])) == images and stored["seed"] == result["seeds"][0]
    parts = []
    for fold in np.unique(stored["fold"]):
        scores, labels = (stored[key][stored["fold"] == fold] for key in ("scores", "labels"))
        guess = scores.argmax(axis=1)
        part = {f"top{k}": top_k_accuracy(scores, labels, k) for k in (1, 3)}
        part |= {"precision": macro_precision(guess, labels, 3)}
        part |= {"recall": macro_recall(guess, labels, 3)}
        parts.append(part | {"loss": cross_entropy(scores.astype(np.float64), labels)})
    for name in METRICS:
        assert result["metrics"][name] == pytest.approx(np.mean([p[name] for p in parts]))
    return result, parts


def test_predictions_give_the_metrics_and_those_on_the_folds_are_the_searchs_to_the_last_bit(
    finished, tmp_path, capsys
):
    check_predictions(finished["run"] / "result_test.json", 9)
    winner = finished["runs"] / "opt_cfg.json"
    arguments = ["-c", winner, "-e", 2, "--seed", 5, "--optimizer", "adam", "--output", tmp_path]
    assert call(main, *arguments) == 0
    assert "measured on the folds" in capsys.readouterr().out
    result, parts = check_predictions(tmp_path / "result_cv.json", 18)
    assert result["split"] == "cv" and len(result["folds"]) == len(parts) == 2
    found = read(finished["run"] / "run.json")["winner"]["metrics"]
    assert {**result["metrics"], "num_params": result["num_params"]} == {
        name: found[name] for name in (*METRICS, "num_params")
    }
    assert {path.name for path in tmp_path.glob("*.*")} == {"predictions_cv.npz", "result_cv.json"}


def test_a_resume_of_a_finished_run_prints_its_result(finished, tmp_path, capsys):
    runs = tmp_path / "runs"
    shutil.copytree(finished["runs"], runs, symlinks=True)
    found = [
        line for line in finished["out"].splitlines() if line.startswith(("Found:", "Limit:"))
    ]
    before = (runs / "tiny" / "trials.jsonl").read_bytes()
    for name in ("tiny", "last", runs / "tiny"):
        assert optimizer.main(["--resume", str(name), "--runs_dir", str(runs)]) == 0
        again = capsys.readouterr().out
        assert "The search ended (generation limit)" in again and len(found) == 4
        assert all(line in again for line in found)
        assert (runs / "tiny" / "trials.jsonl").read_bytes() == before
        assert not (runs / "tiny" / "checkpoints").exists()
    record = read(runs / "tiny" / "run.json")
    assert [session["reason"] for session in record["sessions"]] == ["generation limit"] * 4


def test_a_search_never_looks_at_the_test_images(tmp_path, capsys):
    missing = make_folder(tmp_path / "missing", test=False)
    broken = make_folder(tmp_path / "broken")
    for path in broken.glob("test/*/*.png"):
        path.write_bytes(b"not an image")
    for source in (missing, broken):
        assert search(tmp_path, "--dataset", source, *FIRST_ONLY, name=f"in_{source.name}") == 0
        err = complaint(capsys, main, ["-c", tmp_path / "opt_cfg.json", "-t", "-e", 1])
        assert str(source / "test") in err
    assert decided(tmp_path / "in_missing") == decided(tmp_path / "in_broken")


def test_images_may_move_but_not_change_and_settings_not_either(tmp_path, folder, capsys):
    runs, new = tmp_path / "runs", tmp_path / "elsewhere"
    assert search(runs, "--dataset", folder, *FIRST_ONLY) == 0
    before = (runs / "tiny" / "trials.jsonl").read_bytes()
    resume = ["--runs_dir", runs, "--resume", "tiny"]
    assert "py: --resume: seed is 5" in complaint(capsys, optimizer, [*resume, "--seed", 6])
    assert "--config" in complaint(capsys, optimizer, [*resume, "--config", "quick.json"])
    folder.rename(new)
    err = complaint(capsys, optimizer, resume)
    assert str(folder) in err and "--resume tiny --dataset NEW" in err
    config = runs / "opt_cfg.json"
    assert f"-c {config} --dataset NEW" in complaint(capsys, main, ["-c", config])
    assert call(optimizer, *resume, "--dataset", new) == 0
    assert read(runs / "tiny" / "run.json")["data"]["root"] == str(new)
    next((new / "train").rglob("*.png")).unlink()
    assert "fingerprint" in complaint(capsys, optimizer, resume)
    assert (runs / "tiny" / "trials.jsonl").read_bytes() == before


def test_flowers_that_have_moved_are_found_either_way(tmp_path):
    """The setting that names their folder does not change the data set."""
    images = make_train_test(tmp_path / "old", [str(n) for n in range(1, 18)], n_train=2)
    runs = tmp_path / "runs"
    assert search(runs, "--dataset", "flowers17", "--data_dir", images, "--max_time", 0) == 0
    for way in ("--dataset", "--data_dir"):
        images = images.rename(tmp_path / f"by {way}")
        go_on = ["--runs_dir", runs, "--resume", "tiny", way, images]
        assert call(optimizer, *go_on) == 0


def test_a_run_with_another_model_is_no_resume_and_left_as_it_is(
    tmp_path, folder, capsys, monkeypatch
):
    assert search(tmp_path, "--sampler", "guided", "--dataset", folder, "--max_time", 0) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    resume = ["--runs_dir", tmp_path, "--resume", "tiny"]
    now = planning.MODEL_VERSION
    monkeypatch.setattr(planning, "MODEL_VERSION", 99)
    err = complaint(capsys, optimizer, resume)
    assert f"model_version was {now} in this run and is 99 now" in err
    assert {path: path.read_bytes() for path in before} == before
    assert call(optimizer, *resume, "--allow_inexact", "True") == 0
    assert "model_version" in read(tmp_path / "tiny" / "run.json")["inexact"][0]


def test_no_time_at_all_is_told_by_a_run_that_names_itself(tmp_path, folder, capsys):
    arguments = [*TINY, "--dataset", folder, "--runs_dir", tmp_path / "runs", "-T", 0]
    arguments += ["--num_children", 3]
    assert call(optimizer, *arguments) == 0
    run = (tmp_path / "runs" / "latest").resolve()
    assert run.name.startswith("ea-hb_p0.01_s3e4_seed5_20") and ":" not in run.name
    out = capsys.readouterr().out
    assert "The search ended (time limit)" in out and "nothing was written" in out
    assert "--num_children is ignored" in out
    assert "--num_children is ignored" in (run / "log.txt").read_text(), "from the first line on"
    assert f"--resume {run} --max_time SECONDS" in out
    assert not (tmp_path / "runs" / "opt_cfg.json").exists()


def test_drawn_flowers_and_limits_that_are_not_met_are_told_to_the_end(tmp_path, drawings, capsys):
    words = [*FIRST_ONLY, "--pop_size", 1, "--constraint_min_precision", "0.999"]
    assert search(tmp_path, "--dataset", "auto", *words) == 0
    out, record = capsys.readouterr().out, read(tmp_path / "tiny" / "run.json")
    assert "NOTE" in out and "not on photographs" in out[out.index("The search ended") :]
    assert "not on photographs" in (tmp_path / "tiny" / "log.txt").read_text()
    assert "not on photographs" in record["data"]["note"]
    assert "No configuration met all limits" in out and "precision >= 0.999 MISSED" in out
    assert record["winner"]["feasible"] is False
    assert read(tmp_path / "opt_cfg.json") == record["winner"]["config"]


def test_ctrl_c_ends_a_search_in_order_and_a_resume_completes_it(
    finished, tmp_path, monkeypatch, capsys
):
    """The signal comes in the second fold of a trial that resumes from the state of its rung."""
    run, train_epoch, begun = tmp_path / "tiny", Trainer.train_epoch, []

    def interrupted(*given):
        if (run / "trials.jsonl").read_text().count("\n") == 4:
            begun.append("an epoch")
        if len(begun) == 2:
            signal.raise_signal(signal.SIGINT)
        return train_epoch(*given)

    with monkeypatch.context() as patch:
        patch.setattr(Trainer, "train_epoch", interrupted)
        assert search(tmp_path, "--dataset", finished["woods"]) == 130
    out, err = capsys.readouterr()
    assert err == "" and "The search ended (interrupted)" in out and "Next:" in out
    assert out.endswith(f"Continue: python optimizer.py --resume {run}\n")
    stopped, whole = decided(run), decided(finished["run"])
    assert len(stopped) == 4 and stopped == whole[:4] and len(whole) == JOBS
    full = [line for line in stopped if line["epochs"] == 2]
    best = max(full, key=lambda t: (t["metrics"]["precision"] >= 0.01, t["metrics"]["top1"]))
    assert read(run / "opt_cfg.json") == read(tmp_path / "opt_cfg.json") == best["config"]
    assert (run / "checkpoints").is_dir()

    assert optimizer.main(["--resume", "tiny", "--runs_dir", str(tmp_path)]) == 0
    assert decided(run) == whole
    assert f"--resume {run} --max_generations NUMBER" in capsys.readouterr().out
    assert read(run / "opt_cfg.json") == read(finished["run"] / "opt_cfg.json")
    sessions = read(run / "run.json")["sessions"]
    assert [session["reason"] for session in sessions] == ["interrupted", "generation limit"]
    assert not (run / "checkpoints").exists()


@pytest.mark.parametrize(("place", "name"), [(RunFolder, "create"), (data, "open_data")])
def test_ctrl_c_before_the_search_begins_leaves_nothing(
    tmp_path, monkeypatch, capsys, place, name
):
    step = getattr(place, name)

    def interrupted(*given):
        result = step(*given)
        signal.raise_signal(signal.SIGINT)  # before the caller has the folder
        return result

    monkeypatch.setattr(place, name, interrupted)
    assert optimizer.main([*TINY, "--runs_dir", str(tmp_path / "runs")]) == 130
    assert capsys.readouterr().err == "optimizer.py: interrupted\n"
    assert list((tmp_path / "runs").iterdir()) == []


def test_ctrl_c_in_an_evaluation(folder, config, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "evaluate", interrupted)
    assert evaluate("-c", config, "--dataset", folder, "-t") == 130
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "interrupted" in err
    assert [path.name for path in config.parent.iterdir()] == ["small.json"]
