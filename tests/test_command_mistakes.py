"""Mistakes on the command line of `optimizer.py`: one sentence, exit code 2, nothing lost."""

import pytest
import torch

import main
import optimizer
from tests.command_line import ROOT, TINY, check_complaint, complaint, read, save, search

pytestmark = pytest.mark.usefixtures("no_flowers")


# Words and values: tests/test_arguments.py, tests/test_settings.py; here, that nothing is left.
WORDS = {
    "unknown flag": (["--pop-szie=3"], "--pop_szie", "--pop_size"),
    "infinite limit": (["-s", "1e999"], "1e999"),
    "rungs beyond the end": (["--epochs", "2", "--min_epochs", "5"], "min_epochs", "epochs"),
    "precision above 1": (["-p", "1.5"], "'precision >= 1.5'", "0 to 1", "the nearest is 1"),
    "precision below 0": (["-p", "-0.5"], "'precision >= -0.5'", "the nearest is 0"),
    "per cent": (["--constraints", "top3 >= 90"], "'top3 >= 90'", "share", "0.9"),
    "name outside": (["--run_name", "../a"], "'../a'"),
    "no such preset": (["--config", "nowhere.json"], "nowhere.json"),
    "preset and resume": (["--resume", "x", "--config", "y"], "--config", "--resume"),
    "runs in a file": (["--runs_dir", __file__], __file__),
}


@pytest.mark.parametrize("what", WORDS)
def test_mistakes_on_the_command_line(tmp_path, capsys, what):
    arguments, *words = WORDS[what]
    check_complaint(capsys, tmp_path / "runs", arguments, *words)


def test_mistakes_in_a_preset(tmp_path, capsys):
    for content, *words in (
        ({"pop_szie": 3}, "'pop_szie'", "pop_size"),
        ('{"seed": ' + "9" * 5000 + "}", "preset.json"),
        ('{"pop_size": 3,', "preset.json", "line 1"),
    ):
        preset = save(tmp_path / "preset.json", content)
        check_complaint(capsys, tmp_path / "runs", ["--config", preset], *words)


def test_mistakes_about_data(tmp_path, capsys, folder):
    runs, nowhere = tmp_path / "runs", tmp_path / "nowhere"
    check_complaint(capsys, runs, ["--data_dir", "/nowhere"], "--data_dir /nowhere")
    three = ("--data_dir", "FLOWERS17_DIR", "--dataset synthetic")
    check_complaint(capsys, runs, ["--dataset", "flowers17"], *three)
    check_complaint(capsys, runs, ["--dataset", nowhere], str(nowhere), "synthetic")
    check_complaint(capsys, runs, ["--dataset", "synthetik"], "'synthetic'")
    folds = [*TINY, "--dataset", folder, "--folds", 7]
    check_complaint(capsys, runs, folds, "7 folds", "'alder' has 6")
    check_complaint(capsys, runs, [*TINY, "--dataset", folder, "--split", 2], "split")
    check_complaint(capsys, runs, ["--data_dir", folder, "--dataset", "flowers17"], str(folder))
    next((folder / "train").rglob("*.png")).write_bytes(b"no image")
    check_complaint(capsys, runs, [*TINY, "--dataset", folder], ".png", "decoded")


def test_limits_that_no_network_meets(tmp_path, folder, capsys):
    arguments = [*TINY, "--dataset", folder, "--constraint_max_model_size", 10]
    words = "num_params <= 10", "nearest", "num_params"
    check_complaint(capsys, tmp_path / "runs", arguments, *words)


@pytest.mark.parametrize(
    ("words", "hint"),
    [
        (["--objective", "maximize recal"], "did you mean recall?"),
        (["--constraints", "num_parms <= 3e4"], "did you mean num_params?"),
    ],
)
def test_a_metric_that_is_not_measured_is_told_before_workers_start(
    tmp_path, folder, capsys, monkeypatch, words, hint
):
    monkeypatch.setattr(optimizer, "open_executor", None)
    arguments = [*TINY, "--dataset", folder, *words]
    told = "there is no such metric, but top3, top1,"
    check_complaint(capsys, tmp_path / "runs", arguments, told, hint)


def test_a_gpu_that_is_not_there_or_of_no_use(tmp_path, folder, config, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    cuda = ["--dataset", folder, "--device", "cuda"]
    check_complaint(capsys, tmp_path / "runs", [*TINY, *cuda], "--device cuda", "cpu")
    assert "cpu" in complaint(capsys, main, ["-c", config, *cuda])
    monkeypatch.setattr("training.device.refusal", lambda: "Some GPU has no kernels here")
    err = complaint(capsys, main, ["-c", config, *cuda])
    assert "--device cuda: Some GPU has no kernels here; use --device cpu or auto" in err


def test_a_space_that_is_none_or_of_no_networks(tmp_path, folder, capsys):
    space = read(ROOT / "configs" / "space.json")
    kept = [entry for entry in space["hyperparameters"] if entry["name"] != "kernel_size"]
    for content, word in (
        ("{", "space"),
        ({"name": "empty", "hyperparameters": []}, "space"),
        ({**space, "hyperparameters": kept}, "kernel_size"),
    ):
        broken = save(tmp_path / "space.json", content)
        arguments = [*TINY, "--space", broken, "--dataset", folder]
        check_complaint(capsys, tmp_path / "runs", arguments, word)
    arguments = ["--space", tmp_path / "missing.json", "--dataset", "synthetic"]
    check_complaint(capsys, tmp_path / "runs", arguments, "missing.json")


def test_runs_that_exist_and_runs_that_do_not(tmp_path, folder, capsys):
    some = tmp_path / "some"
    check_complaint(capsys, tmp_path / "runs", ["--resume", "nowhere"], "nowhere")
    check_complaint(capsys, tmp_path / "runs", ["--resume", "last"], "last")
    assert search(some, "--dataset", folder, "--max_time", 0) == 0
    before = sorted(path.name for path in some.iterdir())
    err = complaint(capsys, optimizer, ["--runs_dir", some, "--run_name", "tiny"])
    assert "--resume tiny" in err and "--run_name" in err
    err = complaint(capsys, optimizer, ["--runs_dir", some, "--resume", "tini"])
    assert "did you mean tiny" in err
    assert sorted(path.name for path in some.iterdir()) == before
