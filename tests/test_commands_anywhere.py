"""A run folder is self-contained and works from any folder: its space, its winner's search."""

import json

import pytest

import main
import optimizer
from tests.command_line import ROOT, complaint, decided, lines_of, read, search

pytestmark = pytest.mark.usefixtures("no_flowers")
SPACE = json.loads((ROOT / "configs" / "space.json").read_text())


def write_space(path, **changes) -> None:
    """The program's space with other bounds of the batch size."""
    known = SPACE["hyperparameters"]
    parts = [{**one, **(changes if one["name"] == "batch_size" else {})} for one in known]
    path.write_text(json.dumps({**SPACE, "hyperparameters": parts}))


def test_a_run_goes_on_with_the_space_it_began_with_and_from_anywhere(
    tmp_path, folder, monkeypatch, capsys
):
    """A relative path named the space; then its file changes, and then it is deleted."""
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    file, runs = tmp_path / "here" / "my.json", tmp_path / "runs"
    write_space(file, lower=100, upper=250, default_value=150)
    words = ["--dataset", folder, "--space", "my.json"]
    assert search(runs, *words, name="whole") == 0
    assert max(one["config"]["batch_size"] for one in lines_of(runs / "whole")) > 120
    assert search(runs, *words, "--max_generations", 0) == 0
    before = (runs / "tiny" / "trials.jsonl").read_bytes()

    write_space(file, lower=100, upper=120, default_value=110)
    resume = ["--resume", "tiny", "--runs_dir", str(runs), "--max_generations", "1"]
    err = complaint(capsys, optimizer, [*resume, "--space", "my.json"])
    assert "hyperparameter 'batch_size' was" in err and "250" in err and "120" in err
    assert (runs / "tiny" / "trials.jsonl").read_bytes() == before
    assert len(read(runs / "tiny" / "run.json")["sessions"]) == 1
    assert optimizer.main(resume) == 0
    assert "my.json has changed; the run continues with its copy" in capsys.readouterr().out
    assert decided(runs / "tiny") == decided(runs / "whole")

    monkeypatch.chdir(tmp_path)
    file.unlink()
    assert optimizer.main(resume) == 0
    assert main.main(["-c", str(runs / "opt_cfg.json"), "-t", "-e", "1"]) == 0
    out = capsys.readouterr().out
    assert "limits and data of " in out and "outside the space" not in out
