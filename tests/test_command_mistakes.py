"""Mistakes on the command line of `optimizer.py`: one sentence, exit code 2, nothing lost.

Names and values: tests/test_arguments.py, tests/test_settings.py; here: no files are left.
"""

import pytest

import optimizer
from tests.command_line import ROOT, TINY, check_complaint, complaint, read, save, search

pytestmark = pytest.mark.usefixtures("no_flowers")
WORDS = {
    "precision above 1": (["-p", "1.5"], "'precision >= 1.5'", "0 to 1", "the nearest is 1"),
    "per cent": (["--constraints", "top3 >= 90"], "'top3 >= 90'", "share", "0.9"),
    "name outside": (["--run_name", "../a"], "'../a'"),
    "no such preset": (["--config", "nowhere.json"], "nowhere.json"),
    "no such space": (["--space", "nowhere.json", "--dataset", "synthetic"], "nowhere.json"),
    "runs in a file": (["--runs_dir", __file__], __file__),
}


@pytest.mark.parametrize("what", WORDS)
def test_mistakes_on_the_command_line(tmp_path, capsys, what):
    arguments, *words = WORDS[what]
    check_complaint(capsys, tmp_path / "runs", arguments, *words)


def test_mistakes_about_data(tmp_path, capsys, folder):
    runs = tmp_path / "runs"
    three = ("--data_dir", "FLOWERS17_DIR", "--dataset synthetic")
    check_complaint(capsys, runs, ["--dataset", "flowers17"], *three)
    folds = [*TINY, "--dataset", folder, "--folds", 7]
    check_complaint(capsys, runs, folds, "--folds 7 needs 7 images", "'alder' has 6")
    next((folder / "train").rglob("*.png")).write_bytes(b"no image")
    check_complaint(capsys, runs, [*TINY, "--dataset", folder], ".png", "decoded")


def test_unknown_metrics_are_told_before_workers_start(tmp_path, folder, capsys, monkeypatch):
    monkeypatch.setattr(optimizer, "open_executor", None)
    for words, hint in (
        (["--objective", "maximize recal"], "did you mean recall?"),
        (["--constraints", "num_parms <= 3e4"], "did you mean num_params?"),
    ):
        told = "there is no such metric, but top3, top1,"
        arguments = [*TINY, "--dataset", folder, *words]
        check_complaint(capsys, tmp_path / "runs", arguments, told, hint)


def test_limits_that_no_network_meets(tmp_path, folder, capsys):
    arguments = [*TINY, "--dataset", folder, "--constraint_max_model_size", 10]
    check_complaint(capsys, tmp_path / "runs", arguments, "num_params")


def test_a_space_of_no_networks(tmp_path, folder, capsys):
    space = read(ROOT / "configs" / "space.json")
    kept = [one for one in space["hyperparameters"] if one["name"] != "kernel_size"]
    file = save(tmp_path / "space.json", {**space, "hyperparameters": kept})
    arguments = [*TINY, "--space", file, "--dataset", folder]
    check_complaint(capsys, tmp_path / "runs", arguments, "kernel_size")


def test_a_choice_that_no_network_has(tmp_path, folder, capsys):
    space = read(ROOT / "configs" / "space_modern.json")
    for one in space["hyperparameters"]:
        if one["name"] == "block":
            one["choices"].append("bottleneck")
    file = save(tmp_path / "space.json", space)
    arguments = [*TINY, "--space", file, "--dataset", folder]
    told = "block cannot be 'bottleneck'; allowed is plain, residual, separable"
    check_complaint(capsys, tmp_path / "runs", arguments, told)


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
