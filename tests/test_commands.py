"""The two commands as users run them, one after the other; messages and signals."""

import csv
import json
import os
import signal
import time

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
    command,
    complaint,
    decided,
    evaluate,
    finish,
    lines_of,
    make_folder,
    read,
    search,
)
from tests.flower_folders import make_train_test
from vision.metrics import cross_entropy, macro_precision, macro_recall, top_k_accuracy

pytestmark = pytest.mark.usefixtures("no_flowers")

# ----------------------------------------------------------------------- the way of a new user


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """Both commands, one after the other, each in a process of its own."""
    home = tmp_path_factory.mktemp("home")
    started = command("optimizer.py", *TINY, "--runs_dir", "runs", "--run_name", "tiny", cwd=home)
    code, out, err = finish(started)
    assert (code, err) == (0, "")
    before = sorted(path.name for path in (home / "runs").iterdir())
    again = command("main.py", "-c", "runs/opt_cfg.json", "-t", "True", "-e", 2, cwd=home)
    code, table, err = finish(again)
    assert (code, err) == (0, "")
    return {"home": home, "runs": home / "runs", "run": home / "runs" / "tiny", "out": out} | {
        "before": before,
        "table": table,
    }


def test_the_run_folder_is_complete(finished):
    names = {"run.json", "space.json", "trials.jsonl", "population.csv", "opt_cfg.json", "log.txt"}
    assert {path.name for path in finished["run"].iterdir() if path.name[0] != "."} == names
    assert finished["before"] == ["latest", "opt_cfg.json", "tiny"]
    assert not [p for p in finished["home"].rglob("*") if p.suffix in (".tmp", ".pt", ".pyc")]


def test_the_journal_has_the_planned_jobs(finished):
    lines = lines_of(finished["run"])
    names = "generation bracket rung epochs cost_epochs".split()
    jobs = [tuple(line[name] for name in names) for line in lines]
    assert jobs == [
        *[(0, 0, 0, 2, 2)] * 2,
        *[(1, 1, 0, 1, 1)] * 2,
        (1, 1, 1, 2, 1),
        *[(1, 0, 0, 2, 2)] * 2,
    ]
    assert [sorted(t["trial"] for t in lines[i : i + 2]) for i in (0, 2, 5)] == [
        [0, 1],
        [2, 3],
        [4, 5],
    ]
    assert lines[4]["trial"] in (2, 3)
    space = Space.load(ROOT / "configs" / "space.json")
    for line in lines:
        assert line["v"] == 2 and line["status"] == "ok" and line["error"] is None
        assert space.adopt(line["config"]) == (line["config"], [])
        assert line["metrics"]["num_params"] <= 3e4 and line["metrics"]["macs"] <= 1.5e5
        assert set(line["metrics"]) == METRICS | {*STATIC}
        assert len(line["folds"]) == 2 and line["meta"]["seconds"] >= 0
        for fold in line["folds"]:
            assert [p["epochs"] for p in fold["curve"]] == [1, 2][: line["epochs"]]


def test_run_json_says_how_the_run_was_made(finished):
    record, run = read(finished["run"] / "run.json"), finished["run"]
    assert record["v"] == 1 and set(record["settings"]) == set(Settings().__dict__)
    expected = {"seed": 5, "pop_size": 2, "hyperband": True, "constraints": LIMITS, "epochs": 2}
    assert expected.items() <= record["settings"].items()
    assert record["arguments"] == [*TINY, "--runs_dir", "runs", "--run_name", "tiny"]
    assert record["data"]["kind"] == "synthetic" and len(record["data"]["class_names"]) == 17
    assert record["data"]["fingerprint"].startswith("sha256:") and record["data"]["note"] == ""
    assert record["versions"]["torch"] == torch.__version__.partition("+")[0]
    assert record["device"] and "git_revision" in record
    (session,) = record["sessions"]
    assert session["reason"] == "generation limit" and session["start"] <= session["end"]
    winner = record["winner"]
    full = [line for line in lines_of(run) if line["epochs"] == 2]
    best = max(full, key=lambda t: (t["metrics"]["precision"] >= 0.01, t["metrics"]["top3"]))
    assert winner["trial"] == best["trial"] and winner["metrics"] == best["metrics"]
    assert winner["feasible"] is (best["metrics"]["precision"] >= 0.01)
    assert winner["config"] == best["config"] == read(run / "opt_cfg.json")
    assert (finished["runs"] / "opt_cfg.json").resolve().parent == run.resolve()


def test_the_winner_is_in_both_places(finished):
    text = (finished["run"] / "opt_cfg.json").read_text()
    assert (finished["runs"] / "opt_cfg.json").read_text() == text
    assert "n_conv_layers" in json.loads(text)  # the bare configuration


def test_the_history_has_a_row_a_generation(finished):
    with open(finished["run"] / "population.csv") as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0", "1"]
    assert [row["epochs"] for row in rows] == ["4", "11"]
    assert list(rows[0]) == "avg_acc best_acc avg_prec best_prec step time epochs".split()
    for row in rows:
        assert 0 <= float(row["avg_acc"]) <= float(row["best_acc"]) <= 1
    assert float(rows[0]["time"]) <= float(rows[1]["time"])


def test_the_search_tells_what_a_newcomer_needs(finished):
    out, run = finished["out"], finished["run"]
    assert out.index("estimated time") < out.index("generation 0")
    assert "The search ended (generation limit): 6 configurations, 11 epochs" in out
    assert out.count("num_params <= 30000 met") >= 2 and "precision >= 0.01" in out
    assert f"main.py -c runs{os.sep}opt_cfg.json -t True" in out
    assert "embedded flowers (drawn, not photographs)" in out and "Warning" not in out
    assert "\x1b" not in out and "\r" not in out, "off a terminal there are plain lines only"
    logged = (run / "log.txt").read_text()
    for line in out.splitlines():
        assert line in logged


def test_the_result_on_the_test_split(finished):
    result = read(finished["runs"] / "result_test.json")
    assert set(result) == {
        *("config", "seeds", "split", "epochs", "optimizer", "metrics", "constraints"),
        *("dataset", "predictions", "by_seed", "intervals", "layers", "found_by", "by_class"),
        *STATIC,
    }
    assert result["config"] == read(finished["runs"] / "opt_cfg.json")
    assert (result["split"], result["epochs"], result["seeds"]) == ("test", 2, [123])
    assert result["optimizer"] == "adamw" and result["dataset"]["kind"] == "synthetic"
    assert set(result["metrics"]) == METRICS and result["dataset"]["image_size"] == 8
    assert sum(layer["parameters"] for layer in result["layers"]) == result["num_params"]
    assert sum(layer["macs"] for layer in result["layers"]) == result["macs"]
    assert result["layers"] == read(finished["run"] / "run.json")["winner"]["layers"]
    (alone,) = result["by_seed"]
    kept = {"metrics": result["metrics"], "predictions": result["predictions"]}
    assert len(alone.pop("sha256")) == 64
    assert alone == {"seed": 123, **kept} and kept["predictions"] == "predictions_test.npz"
    for name, (low, high) in result["intervals"].items():
        assert low < result["metrics"][name] < high, name
    known = {**result["metrics"], "num_params": result["num_params"], "macs": result["macs"]}
    texts = ["num_params <= 30000", "macs <= 150000", "precision >= 0.01"]
    assert [limit["text"] for limit in result["constraints"]] == texts
    for limit, name in zip(
        result["constraints"], ("num_params", "macs", "precision"), strict=True
    ):
        assert limit["value"] == known[name]
        bound = float(limit["text"].split()[-1])
        assert limit["met"] is (
            known[name] >= bound if ">" in limit["text"] else known[name] <= bound
        )


def check_predictions(file, images):
    """The metrics of a result follow from its predictions."""
    result = read(file)
    stored = np.load(file.parent / result["predictions"], allow_pickle=False)
    assert set(stored) == {"scores", "labels", "names", "fold", "seed"}
    assert stored["scores"].shape == (images, 17) and stored["scores"].dtype == np.float32
    assert len(set(stored["names"])) == images and stored["seed"] == result["seeds"][0]
    names = result["dataset"]["class_names"]
    for name, label in zip(stored["names"], stored["labels"], strict=True):
        assert name.startswith(f"{names[label]}/")
    parts = []
    for fold in np.unique(stored["fold"]):
        scores, labels = (stored[key][stored["fold"] == fold] for key in ("scores", "labels"))
        guess = scores.argmax(axis=1)
        parts.append(
            {
                "top3": top_k_accuracy(scores, labels, 3),
                "top1": top_k_accuracy(scores, labels, 1),
                "precision": macro_precision(guess, labels, 17),
                "recall": macro_recall(guess, labels, 17),
                "loss": cross_entropy(scores.astype(np.float64), labels),
            }
        )
    for name in METRICS:
        assert result["metrics"][name] == pytest.approx(np.mean([p[name] for p in parts]))
    return result, parts


def test_the_predictions_give_the_metrics(finished):
    _, parts = check_predictions(finished["runs"] / "result_test.json", 340)
    assert len(parts) == 1
    assert np.load(finished["runs"] / "predictions_test.npz")["fold"].tolist() == [0] * 340


def test_the_table_has_every_verdict(finished):
    table, result = finished["table"], read(finished["runs"] / "result_test.json")
    assert "embedded flowers (drawn, not photographs), measured on the test split" in table
    for name in METRICS:
        assert name in table and f"{result['metrics'][name]:.4f}" in table
    assert [limit["probability"] for limit in result["constraints"]] == [1.0, 1.0, 1.0]
    for limit in result["constraints"]:
        assert f"{limit['text']} {'met' if limit['met'] else 'MISSED'}" in table
    assert f"{result['num_params']:,}" in table and "result_test.json" in table
    assert "limits and data of runs/opt_cfg.json: those of the search" in table


def test_measuring_on_the_folds_repeats_the_search_to_the_last_bit(finished, tmp_path, capsys):
    winner = finished["runs"] / "opt_cfg.json"
    arguments = ["-c", winner, "-e", 2, "--seed", 5, "--optimizer", "adam", "--output", tmp_path]
    assert main.main([str(word) for word in arguments]) == 0
    assert "measured on the folds" in capsys.readouterr().out
    result, parts = check_predictions(tmp_path / "result_cv.json", 1020)
    assert result["split"] == "cv" and len(result["folds"]) == len(parts) == 2
    found = read(finished["run"] / "run.json")["winner"]["metrics"]
    assert {**result["metrics"], "num_params": result["num_params"]} == {
        name: found[name] for name in (*METRICS, "num_params")
    }
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        *("predictions_cv.npz", "result_cv.json"),
    ]


def test_the_same_seed_gives_the_same_journal_another_seed_another(finished, tmp_path):
    assert search(tmp_path, name="again") == 0
    assert decided(tmp_path / "again") == decided(finished["run"])
    for name in ("opt_cfg.json", "again/opt_cfg.json"):
        assert (tmp_path / name).read_text() == (finished["run"] / "opt_cfg.json").read_text()
    assert search(tmp_path, "--seed", 6, "--max_generations", 0, name="other") == 0
    other = decided(tmp_path / "other")
    assert len(other) == 2
    for one, two in zip(other, decided(finished["run"]), strict=False):
        assert one["config"] != two["config"] and one["metrics"] != two["metrics"]
    latest = read(tmp_path / "opt_cfg.json")  # always the latest run's
    assert latest == read(tmp_path / "other" / "opt_cfg.json")


def test_a_search_never_looks_at_the_test_images(tmp_path, capsys):
    missing = make_folder(tmp_path / "missing", test=False)
    broken = make_folder(tmp_path / "broken")
    for path in broken.glob("test/*/*.png"):
        path.write_bytes(b"not an image")
        path.chmod(0)
    for source in (missing, broken):
        assert search(tmp_path / "runs", "--dataset", source, name=source.name) == 0
        assert len(lines_of(tmp_path / "runs" / source.name)) == JOBS
        err = complaint(capsys, main, ["-c", tmp_path / "runs" / "opt_cfg.json", "-t", "-e", 1])
        assert str(source / "test") in err
    assert decided(tmp_path / "runs" / "missing") == decided(tmp_path / "runs" / "broken")


def test_a_resume_of_a_finished_run_prints_its_result(tmp_path, folder, capsys):
    runs = tmp_path / "runs"
    assert search(runs, "--dataset", folder) == 0
    out = capsys.readouterr().out
    ended = out[out.index("The search ended") :].split("\n", 1)[1]
    before = (runs / "tiny" / "trials.jsonl").read_bytes()
    for name in ("tiny", "last", runs / "tiny"):
        assert optimizer.main(["--resume", str(name), "--runs_dir", str(runs)]) == 0
        assert ended in capsys.readouterr().out
        assert (runs / "tiny" / "trials.jsonl").read_bytes() == before
        assert not (runs / "tiny" / "checkpoints").exists()
    record = read(runs / "tiny" / "run.json")
    assert [session["reason"] for session in record["sessions"]] == ["generation limit"] * 4


def test_changed_images_or_settings_are_no_resume(tmp_path, folder, capsys):
    runs = tmp_path / "runs"
    assert search(runs, "--dataset", folder) == 0
    before = (runs / "tiny" / "trials.jsonl").read_bytes()
    resume = ["--runs_dir", runs, "--resume", "tiny"]
    assert "seed" in complaint(capsys, optimizer, [*resume, "--seed", 6])
    assert "only" in complaint(capsys, optimizer, [*resume, "--hyperband", "False"])
    assert "--config" in complaint(capsys, optimizer, [*resume, "--config", "quick.json"])
    next((folder / "train").rglob("*.png")).unlink()
    assert "fingerprint" in complaint(capsys, optimizer, resume)
    assert (runs / "tiny" / "trials.jsonl").read_bytes() == before


def test_images_that_have_moved_are_found_where_they_are_said_to_be(tmp_path, folder, capsys):
    runs, new = tmp_path / "runs", tmp_path / "elsewhere"
    assert search(runs, "--dataset", folder, "--max_generations", 0) == 0
    folder.rename(new)
    go_on = ["--runs_dir", runs, "--resume", "tiny"]
    err = complaint(capsys, optimizer, go_on)
    assert str(folder) in err and "--resume tiny --dataset NEW" in err
    config = runs / "opt_cfg.json"
    assert f"-c {config} --dataset NEW" in complaint(capsys, main, ["-c", config])
    assert optimizer.main([str(word) for word in (*go_on, "--dataset", new)]) == 0
    assert read(runs / "tiny" / "run.json")["data"]["root"] == str(new)


@pytest.mark.parametrize("way", ["--dataset", "--data_dir"])
def test_flowers_that_have_moved_are_found_either_way(tmp_path, way):
    """However a run was told where they were, another way does not make it two data sets."""
    old = make_train_test(tmp_path / "old", [str(n) for n in range(1, 18)], n_train=2)
    runs = tmp_path / "runs"
    assert search(runs, "--dataset", "flowers17", "--data_dir", old, "--max_time", 0) == 0
    old.rename(tmp_path / "new")
    go_on = ["--runs_dir", runs, "--resume", "tiny", way, tmp_path / "new"]
    assert optimizer.main([str(word) for word in go_on]) == 0


def test_a_run_with_another_model_is_no_resume_and_left_as_it_is(
    tmp_path, folder, capsys, monkeypatch
):
    assert search(tmp_path, "--sampler", "guided", "--dataset", folder) == 0
    before = {path: path.read_bytes() for path in tmp_path.rglob("*.*") if path.is_file()}
    resume = ["--runs_dir", tmp_path, "--resume", "tiny"]
    now = planning.MODEL_VERSION
    monkeypatch.setattr(planning, "MODEL_VERSION", 99)
    told = complaint(capsys, optimizer, resume)
    assert f"model_version was {now} in this run and is 99 now" in told
    assert {path: path.read_bytes() for path in before} == before
    assert optimizer.main([*map(str, resume), "--allow_inexact", "True"]) == 0
    assert "model_version" in read(tmp_path / "tiny" / "run.json")["inexact"][0]


def test_no_feasible_configuration_is_said_in_one_sentence(tmp_path, folder, capsys):
    limits = ["--constraint_min_precision", "0.999", "--max_generations", 0, "--epochs", 1]
    assert search(tmp_path / "runs", "--dataset", folder, *limits) == 0
    out = capsys.readouterr().out
    assert "No configuration met all limits: this is the one nearest to them." in out
    assert "precision >= 0.999 MISSED" in out
    record = read(tmp_path / "runs" / "tiny" / "run.json")
    assert record["winner"]["feasible"] is False
    assert read(tmp_path / "runs" / "opt_cfg.json") == record["winner"]["config"]


def test_no_time_at_all_is_told(tmp_path, folder, capsys):
    assert search(tmp_path / "runs", "--dataset", folder, "--max_time", 0) == 0
    out = capsys.readouterr().out
    assert "The search ended (time limit)" in out and "nothing was written" in out
    run = tmp_path / "runs" / "tiny"
    assert f"Go on:   python optimizer.py --resume {run} --max_time SECONDS   # more" in out
    assert not (tmp_path / "runs" / "opt_cfg.json").exists()


def test_a_run_without_a_name_says_how_it_was_made(tmp_path, folder):
    arguments = [*TINY, "--dataset", folder, "--runs_dir", tmp_path / "runs", "-T", 0]
    assert optimizer.main([str(word) for word in arguments]) == 0
    run = (tmp_path / "runs" / "latest").resolve()
    assert run.name.startswith("ea-hb_p0.01_s3e4_seed5_20") and ":" not in run.name


def test_a_fallback_to_drawn_flowers_is_told_to_the_end(tmp_path, capsys):
    runs = tmp_path / "runs"
    assert search(runs, "--dataset", "auto", "--max_generations", 0, "--epochs", 1) == 0
    out = capsys.readouterr().out
    assert "NOTE" in out and "not on photographs" in out[out.index("The search ended") :]
    assert "not on photographs" in (runs / "tiny" / "log.txt").read_text()
    assert "not on photographs" in read(runs / "tiny" / "run.json")["data"]["note"]
    assert main.main(["-c", str(runs / "opt_cfg.json"), "-t", "-e", "1"]) == 0
    assert "not photographs" in capsys.readouterr().out
    assert "not photographs" in read(runs / "result_test.json")["dataset"]["name"]


# ---------------------------------------------------------------------------------------- signals


def wait_for(condition, process, seconds=300):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None and time.monotonic() < end, process.communicate()
        time.sleep(0.01)


def test_ctrl_c_ends_a_search_in_order_and_a_resume_completes_it(finished, tmp_path, capsys):
    after, reason = 2, "interrupted"
    runs, run = tmp_path / "runs", tmp_path / "runs" / "tiny"
    process = command(
        "optimizer.py", *TINY, "--runs_dir", runs, "--run_name", "tiny", cwd=tmp_path
    )
    journal = run / "trials.jsonl"
    wait_for(lambda: journal.exists() and journal.read_text().count("\n") >= after, process)
    process.send_signal(signal.SIGINT)
    code, out, err = finish(process)
    assert (code, err) == (130, "")
    assert f"The search ended ({reason})" in out and "Next:" in out
    assert out.endswith(f"Go on:   python optimizer.py --resume {run}\n")
    stopped, whole = decided(run), decided(finished["run"])
    assert after <= len(stopped) < JOBS and stopped == whole[: len(stopped)]
    configs = [line["config"] for line in stopped]
    assert read(run / "opt_cfg.json") == read(runs / "opt_cfg.json") in configs
    assert read(run / "run.json")["sessions"][0]["reason"] == reason
    assert (run / "checkpoints").is_dir()

    assert optimizer.main(["--resume", "tiny", "--runs_dir", str(runs)]) == 0
    assert decided(run) == whole
    assert "Go on:" not in capsys.readouterr().out
    assert read(run / "opt_cfg.json") == read(finished["run"] / "opt_cfg.json")
    sessions = read(run / "run.json")["sessions"]
    assert [session["reason"] for session in sessions] == [reason, "generation limit"]
    assert not (run / "checkpoints").exists()


def test_ctrl_c_before_the_search_begins_leaves_nothing(tmp_path):
    runs = tmp_path / "runs"
    process = command(
        "optimizer.py", *TINY, "--runs_dir", runs, "--run_name", "tiny", cwd=tmp_path
    )
    wait_for(lambda: (runs / "tiny").exists(), process)  # torch is not loaded yet
    process.send_signal(signal.SIGINT)
    code, _, err = finish(process)
    assert code == 130 and err.count("\n") == 1 and "interrupted" in err
    assert list(runs.iterdir()) == []


def test_ctrl_c_while_the_folder_is_made_leaves_nothing(tmp_path, monkeypatch, capsys):
    create = RunFolder.create

    def interrupted(*given):
        folder = create(*given)
        signal.raise_signal(signal.SIGINT)  # before the caller knows the folder
        return folder

    monkeypatch.setattr(RunFolder, "create", interrupted)
    assert optimizer.main([*TINY, "--runs_dir", str(tmp_path), "--run_name", "tiny"]) == 130
    assert capsys.readouterr().err == "optimizer.py: interrupted\n"
    assert list(tmp_path.iterdir()) == []


def test_ctrl_c_in_an_evaluation(folder, config, monkeypatch, capsys):
    def interrupted(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(main, "evaluate", interrupted)
    assert evaluate("-c", config, "--dataset", folder, "-t") == 130
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "interrupted" in err
    assert [path.name for path in config.parent.iterdir()] == ["small.json"]
