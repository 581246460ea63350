"""`python -m reports RUN --pareto`: the front as a table, a CSV and configurations."""

import csv

import pytest

from evaluation.candidates import search_behind
from reports.__main__ import main
from reports.reading import read_run
from tests.command_line import read
from tests.test_reports import stub_run


@pytest.fixture(scope="module")
def run(tmp_path_factory, space):
    return stub_run(space, tmp_path_factory.mktemp("runs"), "small", pop_size=12)


def front_of(run, metric):
    """By definition: what meets all limits, in full, and is beaten by no other."""
    run = read_run(run)
    good = [one for one in run.full if run.ranking.feasible(one)]
    pairs = [(one.metrics["top3"], -one.metrics[metric]) for one in good]
    return {
        one.trial
        for one, own in zip(good, pairs, strict=True)
        if not any(a >= own[0] and b >= own[1] and (a, b) != own for a, b in pairs)
    }


def test_a_front_is_told_and_written_for_main(run, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main([str(run), "--pareto", "num_params"]) == 0
    out = capsys.readouterr().out
    folder = tmp_path / "small.pareto_num_params"
    with open(folder / "front.csv", newline="") as file:
        rows = list(csv.DictReader(file))
    assert {int(row["trial"]) for row in rows} == front_of(run, "num_params") and len(rows) > 1
    sizes = [int(row["num_params"]) for row in rows]
    assert sizes == sorted(sizes) and all(f"{size:,}" in out for size in sizes)
    [line] = [line for line in out.splitlines() if "the winner" in line]
    assert int(line.split()[0]) == read_run(run).best.trial
    for row in rows:
        assert row["feasible"] == "True"
        config = read(folder / row["file"])
        assert {name: str(value) for name, value in config.items()} == {
            name.removeprefix("config."): value
            for name, value in row.items()
            if name.startswith("config.") and value
        }
    assert f"-c {folder.name}/{rows[0]['file']}" in out


def test_main_knows_the_search_behind_a_configuration_of_the_front(run, tmp_path):
    folder = tmp_path / "front"
    assert main([str(run), "--pareto", "num_params", "--output", str(folder)]) == 0
    files = sorted(folder.glob("trial_*.json"))
    assert [search_behind(file).run_json for file in files] == [run / "run.json"] * len(files)
    files[0].write_text('{"of": "another"}')
    assert search_behind(files[0]) is None


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--pareto", "num_parms"], "did you mean num_params"),
        (["--pareto", "precision"], "known before training: num_params"),
        (["--pareto", "num_params", "--export", "csv"], "--pareto cannot go with --export"),
        (["--pareto", "num_params", "--results", "x"], "--results cannot go with --pareto"),
        (["--pareto", "num_params", "--output", ""], "empty"),
    ],
)
def test_mistakes(run, tmp_path, monkeypatch, capsys, flags, words):
    monkeypatch.chdir(tmp_path)
    assert main([str(run), *flags]) == 2
    err = capsys.readouterr().err
    assert words in err and err.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_a_front_goes_into_no_run(run, capsys):
    assert main([str(run), "--pareto", "num_params", "--output", str(run)]) == 2
    assert "the folder of a run" in capsys.readouterr().err
