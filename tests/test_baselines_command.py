"""`python -m baselines` on images: its run folder, also after a kill; its error messages."""

import os
import sys

import pytest

import baselines
import optimizer
from baselines.__main__ import main
from reports.reading import read_run
from tests.command_line import decided
from utils import read_json

pytestmark = pytest.mark.usefixtures("no_flowers")
TINY = ["--dataset", "synthetic", "--image_size", "8", "--epochs", "2", "--min_epochs", "1"]
TINY += ["--folds", "2", "--device", "cpu", "--seed", "7", "--max_total_epochs", "8"]
TINY += ["--workers", "0"]
TINY += ["--constraints", "num_params <= 2e4", "macs <= 1e5", "precision >= 0.05"]


def test_a_peer_searches_and_its_run_folder_is_ours(tmp_path, folder, capsys):
    where = ["--dataset", str(folder), "--runs_dir", str(tmp_path), "--run_name", "whole"]
    assert main(["one-epoch-first", *TINY, *where]) == 0
    assert "The search ended (epoch limit)" in capsys.readouterr().out
    folder = tmp_path / "whole"
    run = read_run(folder)
    assert run.method == "one-epoch-first" and run.status == "epoch limit"
    assert sum(trial.cost_epochs for trial in run.trials) <= 8
    assert run.best and run.best.config == read_json(folder / "opt_cfg.json")
    assert run.record["data"]["kind"] == "folder" and run.record["winner"]["layers"]
    assert not (folder / "checkpoints").exists(), "no state is left"
    assert read_json(tmp_path / "opt_cfg.json") == run.best.config

    assert optimizer.main(["--resume", str(folder)]) == 2
    assert "started by one-epoch-first" in capsys.readouterr().err
    before = decided(folder)
    assert main(["one-epoch-first", "--resume", str(folder)]) == 0 and decided(folder) == before


def test_peers_and_our_searches_begin_with_the_same_default(tmp_path, folder):
    where = [*TINY, "--dataset", str(folder), "--runs_dir", str(tmp_path), "--default_first"]
    assert main(["one-epoch-first", *where, "--run_name", "theirs"]) == 0
    assert optimizer.main([*where, "--sampler", "random", "--run_name", "ours"]) == 0
    first = [read_run(tmp_path / name).trials[0] for name in ("theirs", "ours")]
    assert first[0].config == first[1].config and first[0].epochs == first[1].epochs == 2


def test_sets_have_the_same_order_in_each_process(monkeypatch):
    begun = []
    monkeypatch.setattr(os, "execv", lambda *words: begun.append(words))
    monkeypatch.delenv("PYTHONHASHSEED", raising=False)
    baselines.fix_set_order()
    assert begun == [(sys.executable, sys.orig_argv)] and os.environ["PYTHONHASHSEED"] == "0"
    monkeypatch.setenv("PYTHONHASHSEED", "5")
    baselines.fix_set_order()
    assert len(begun) == 1 and os.environ["PYTHONHASHSEED"] == "5", "what was given is kept"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["one-epoch-frist"], "did you mean one-epoch-first?"),
        (["random"], "no method 'random'"),
        (["one-epoch-first", *TINY, "--objective", "minimize loss"], "allowed is one of top3"),
    ],
)
def test_mistakes_are_told_in_a_sentence(words, told, tmp_path, capsys):
    assert main([*words, "--runs_dir", str(tmp_path)]) == 2
    assert told in capsys.readouterr().err
    assert not list(tmp_path.iterdir()), "nothing is left behind"
