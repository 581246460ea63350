"""The study: its plan, tables from run folders, resuming."""

import subprocess
import sys
from pathlib import Path

import pytest

import baselines
from benchmarks import study, study_tables
from engine.cli.settings import resolve
from optimizer import search
from tests.command_line import lines_of
from tests.stub_target import StubTarget
from tests.stubs import ROOT
from utils import read_json, write_json

LIMITS = ["precision >= 0.4", "num_params <= 1e6"]  # a result of main.py has the second apart
PRESETS = {path.stem: read_json(path) for path in study.STUDIES.glob("*.json")}


@pytest.mark.parametrize("name", sorted(PRESETS))
def test_presets_are_searches_seed_by_seed_and_winners_are_trained_again_with_fresh_seeds(name):
    preset = PRESETS[name]
    units = list(study.units(preset, Path("out")))
    assert len({unit.folder for unit in units}) == len(units)
    assert [unit.seed for unit in units] == sorted(unit.seed for unit in units)
    for unit in units:
        given = {**preset["limits"][unit.limits], "seed": unit.seed}
        settings = resolve(preset["settings"], baselines.OURS.get(unit.method, {}), given)
        assert {limit.metric for limit in settings.ranking().constraints} >= {"precision"}
    fresh = study.fresh_seeds(preset)
    assert len(set(fresh)) == len(fresh) == preset["evaluation"]["again"] > 1
    assert not set(fresh) & {*preset["seeds"]}
    assert study.fresh_seeds({**preset, "seeds": fresh[:1]})[0] == fresh[1]


def test_rows_say_what_the_journals_say(space, tmp_path):
    """Rows from a study's run folders of two methods, with results on the test split and again."""
    preset = {"seeds": [1], "methods": ["ea", "random"], "limits": {"macro": {}}}
    for unit in study.units(preset, tmp_path):
        given = {"pop_size": 4, "num_children": 4, "epochs": 4, "max_generations": 2}
        given |= {"seed": unit.seed, "workers": "0", "constraints": LIMITS}
        chosen = resolve({**given, **baselines.OURS[unit.method]})
        search(space, StubTarget(), chosen, unit.folder)
        write_json(unit.folder / "result_test.json", {"metrics": {"top3": 0.75, "precision": 0.5}})
        each = [{"metrics": {"top3": 0.6, "precision": value}} for value in (0.3, 0.4, 0.44)]
        again = {"metrics": {"top3": 0.6, "precision": 0.38}, "by_seed": each}
        write_json(unit.folder / "result_again.json", {**again, "num_params": 5, "macs": 7})
    rows = study_tables.rows(study.units(preset, tmp_path), tmp_path / "default")
    assert [row["method"] for row in rows] == ["ea", "random"]
    for row, unit in zip(rows, study.units(preset, tmp_path), strict=True):
        trials = lines_of(unit.folder)
        met = [trial for trial in trials if trial["metrics"]["precision"] >= 0.4]
        assert row["valid"] == len(met) / len(trials) and row["fully_trained"] == len(trials)
        assert row["feasible"] == bool(met) and row["test"]["top3"] == 0.75
        best = max(met, key=lambda trial: trial["metrics"]["top3"])
        assert row["metrics"] == best["metrics"]
        expected = {"top3": 0.6, "precision": 0.38, "kept": 2, "trainings": 3}
        assert row["again"] == expected
    text = study_tables.markdown(rows)
    assert "| 0.600 | 0.380 | 66.7 | 0.750 | 0.500 |" in text
    assert "| ea | 1 feasible of 1 |" in text and "precision >= 0.4" in text


def test_only_what_has_used_its_budget_has_ended(tmp_path):
    assert not study.ended(tmp_path)
    write_json(tmp_path / "run.json", {"space_hash": "killed before its first session"})
    assert not study.ended(tmp_path)
    for reason, limit, over in [
        (None, None, False),
        ("interrupted", None, False),
        ("time limit", None, True),
        ("time limit", 100, False),
        ("epoch limit", 100, True),
    ]:
        record = {"settings": {"max_total_epochs": limit}, "sessions": [{"reason": reason}]}
        write_json(tmp_path / "run.json", record)
        assert study.ended(tmp_path) == over


def test_a_setting_of_the_method_wins_over_one_of_the_preset(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(study, "call", lambda *words: asked.append(words))
    preset = {**PRESETS["peers"], "seeds": [0]}
    written = {}
    for unit in study.units(preset, tmp_path):
        assert not study.run_search(preset, unit), "nothing was trained"
        written[unit.method] = read_json(unit.folder.with_suffix(".json"))
    for method, chosen in written.items():
        assert chosen["pop_size"] == (12 if method == "guided" else 10)
        assert chosen["max_total_epochs"] == 800 and "precision >= 0.53" in chosen["constraints"]
    assert asked[0][:3] == ("-m", "baselines", "optuna-tpe") and asked[2][0] == "optimizer.py"


def test_mistakes_are_told_before_anything_begins(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(baselines, "installed", lambda package: False)
    assert study.main(["--preset", "peers", "--output", str(tmp_path)]) == 2
    assert "optuna-tpe needs optuna" in capsys.readouterr().err
    assert study.main(["--preset", "smok", "--output", str(tmp_path)]) == 2
    assert "did you mean smoke?" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_winners_are_trained_again_as_in_their_search(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(study, "call", lambda *words: asked.append(words))
    preset = {**PRESETS["peers"], "seeds": [0], "methods": ["guided"]}
    (unit,) = study.units(preset, tmp_path)
    unit.folder.mkdir(parents=True)
    chosen = {"epochs": 7, "optimizer": "adam", "device": "cpu", "dtype": "tf32", "threads": 2}
    write_json(unit.folder / "run.json", {"settings": chosen})
    write_json(unit.folder / "opt_cfg.json", {"width": 1})
    study.evaluate(preset, tmp_path, 1)
    ends = [Path(words[-1]).name for words in asked]
    assert ends == ["result_test.json", "result_test.json", "result_again.json"]
    test, again = (" ".join(words) for words in asked[1:])
    assert "-t True -e 50" in test and "--seeds 0 1 2" in test
    assert "--dtype tf32 --threads 2 --seeds 1000" in again and "-t " not in again
    write_json(unit.folder / "result_again.json", {"config": {"width": 1}})
    for width, calls in ((1, 2), (2, 3)):  # repeated only for a newer winner
        write_json(unit.folder / "opt_cfg.json", {"width": width})
        asked.clear()
        study.evaluate(preset, tmp_path, 1)
        assert len(asked) == calls


def test_what_is_feasible_counts_but_limits_are_kept_or_not_by_all_winners():
    def row(seed, feasible, top3, kept):
        metrics = {"top3": 0.8, "precision": 0.5}
        again = {"top3": top3, "precision": top3, "kept": kept, "trainings": 4}
        known = {"method": "ea", "feasible": feasible, "metrics": metrics, "valid": 0.5}
        return {"limits": "x", "seed": seed, **known, "test": metrics, "again": again}

    rest = {"constraints": ["precision >= 0.4"], "num_params": 1, "epochs": 1, "fully_trained": 1}
    rows = [{**row(0, True, 0.7, 4), **rest}, {**row(1, False, 0.1, 0), **rest}]
    assert "| 0.700 | 0.700 | 50.0 (70.7) |" in study_tables.markdown(rows)
    diverged = [*rows, {**row(2, True, None, 3), **rest}]
    text = study_tables.markdown(diverged)
    assert "| 0.700 | 0.700 | 58.3 (52.0) |" in text


@pytest.mark.slow  # the fast variants are above
def test_a_small_study_from_beginning_to_end_and_again(tmp_path):
    words = [sys.executable, "-m", "benchmarks.study", "--preset", "smoke", "--output"]
    first = subprocess.run([*words, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert first.returncode == 0, first.stdout + first.stderr
    assert (tmp_path / "report" / "report.html").stat().st_size > 10_000
    rows = read_json(tmp_path / "study.json")["rows"]
    assert [row["method"] for row in rows] == ["one-epoch-first", "ea-hyperband"]
    assert all(row["test"] for row in rows)
    assert [row["again"]["trainings"] for row in rows] == [2, 2]
    journals = {path: path.read_bytes() for path in tmp_path.glob("runs/*/trials.jsonl")}
    again = subprocess.run([*words, str(tmp_path)], cwd=ROOT, capture_output=True, text=True)
    assert again.returncode == 0 and "$ python optimizer.py" not in again.stdout
    assert "$ python -m baselines" in first.stdout and "baselines" not in again.stdout
    assert journals == {path: path.read_bytes() for path in tmp_path.glob("runs/*/trials.jsonl")}
