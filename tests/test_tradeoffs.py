"""`python -m reports RUN --pareto`: the front as a table, a CSV and configurations."""

import csv

import pytest

from engine.cli.settings import resolve
from evaluation.candidates import search_behind
from optimizer import search
from reports.__main__ import main
from reports.outcomes import front
from reports.reading import read_run
from tests.stub_target import StubTarget
from tests.test_reports import stub_run


@pytest.fixture(scope="module")
def run(tmp_path_factory, space):
    return stub_run(space, tmp_path_factory.mktemp("runs"), "small", pop_size=12)


def test_a_front_is_told_and_written_for_main_which_knows_the_search_behind_it(
    run, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert main([str(run), "--pareto", "num_params"]) == 0
    out = capsys.readouterr().out
    folder = tmp_path / "small.pareto_num_params"
    with open(folder / "front.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    found = front(read_run(run), "num_params")
    assert [int(row["trial"]) for row in rows] == [one.trial for one in found] and len(rows) > 1
    assert all(f"{int(row['num_params']):,}" in out for row in rows)
    [line] = [line for line in out.splitlines() if "the winner" in line]
    assert int(line.split()[0]) == read_run(run).best.trial
    assert all(row["feasible"] == "True" for row in rows)
    assert f"-c {folder.name}/{rows[0]['file']}" in out

    files = sorted(folder.glob("trial_*.json"))
    assert [search_behind(file).run_json for file in files] == [run / "run.json"] * len(files)
    files[0].write_text('{"of": "another"}')
    assert search_behind(files[0]) is None


def test_main_is_not_named_for_a_problem_without_images(space, tmp_path, monkeypatch, capsys):
    settings = resolve({"workers": "0", "pop_size": 3, "max_generations": 0, "epochs": 4})
    search(space, StubTarget(), settings, tmp_path / "own")
    monkeypatch.chdir(tmp_path)
    assert main(["own", "--pareto", "num_params"]) == 0
    out = capsys.readouterr().out
    assert "front.csv" in out and "main.py" not in out


@pytest.mark.parametrize(
    "flags, words",
    [
        (["num_parms"], "did you mean num_params"),
        (["precision"], "a metric that is to be small: num_params"),
        (["num_params", "--export", "csv"], "--pareto cannot go with --export"),
        (["num_params", "--output", ""], "empty"),
        (["num_params", "--output", "RUN"], "the folder of a run"),
    ],
)
def test_mistakes_are_told_and_nothing_is_written(
    run, tmp_path, monkeypatch, capsys, flags, words
):
    monkeypatch.chdir(tmp_path)
    before = sorted(run.iterdir())
    flags = [str(run) if flag == "RUN" else flag for flag in flags]
    assert main([str(run), "--pareto", *flags]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir()) and sorted(run.iterdir()) == before
