"""Reports on searches of the library with any space and any target."""

import csv
import json
import re

import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Constant, Float, OrdinalHyperparameter

from engine.cli.settings import resolve
from optimizer import search
from reports.__main__ import main
from reports.reading import read_run
from search.space import Space
from tests.stubs import small_space

SMALL = {"workers": "0", "pop_size": 6, "epochs": 4, "min_epochs": 1, "max_generations": 1}
SMALL |= {"constraints": [], "objective": "maximize score"}


class Scored:
    """No images, no folds, no static metrics."""

    def static_metrics(self, config):
        return {}

    def evaluate(self, config, epochs, seed, state=None):
        return {"score": epochs + config.get("x", 0.0)}


def mixed_space():
    """Choices of several types, lists, None and constants."""
    space = ConfigurationSpace()
    space.add(
        Categorical("mixed", ["sqrt", "log2", 5, None]),
        Categorical("truth", [True, 2, "x"]),
        Categorical("kernel", [(3, 3), (5, 5), (7, 3)]),
        OrdinalHyperparameter("steps", [(1, 2), (3, 4)]),
        Categorical("nothing", [None, "some"]),
        Constant("fixed", (3, 3)),
        Constant("number", 7),
        Float("x", (0.0, 1.0)),
    )
    return Space(space)


@pytest.fixture(scope="module")
def mixed(tmp_path_factory):
    path = tmp_path_factory.mktemp("runs") / "mixed"
    search(mixed_space(), Scored(), resolve(SMALL), path)
    return path


def test_a_folder_of_the_library_says_how_it_was_made(mixed):
    run = read_run(mixed)
    assert run.settings == resolve(SMALL) and run.status == "generation limit"
    assert run.method == "evolution with Hyperband" and run.record["name"] == "mixed"
    search(mixed_space(), Scored(), resolve({**SMALL, "max_generations": 2}), mixed)
    again = read_run(mixed)
    assert again.settings.max_generations == 2 and len(again.record["sessions"]) == 2


def test_a_report_and_exports_of_any_choices(mixed, tmp_path, capsys):
    assert main([str(mixed), "--output", str(tmp_path / "report")]) == 0, capsys.readouterr().err
    page = (tmp_path / "report" / "report.html").read_text()
    best = json.loads((mixed / "opt_cfg.json").read_text())
    for name, value in best.items():
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        assert re.search(f">{name}</td><td [^>]*>{re.escape(shown)}</td>", page), name
    score = read_run(mixed).best.metrics["score"]
    assert f"<b>{score:.3f}</b>score" in page, "also without folds"
    assert "main.py" not in page, "there are no images to measure on"
    assert "Importance" not in page and "No importance" not in page

    assert main([str(mixed), "--export", "csv", "--output", str(tmp_path / "a.csv")]) == 0
    rows = list(csv.DictReader((tmp_path / "a.csv").open()))
    assert {row["config.fixed"] for row in rows} == {"[3, 3]"}
    pytest.importorskip("optuna", reason="needs requirements-viewers.txt")
    assert main([str(mixed), "--export", "optuna", "--output", str(tmp_path / "a.log")]) == 0


def test_a_search_that_found_nothing_has_a_report(tmp_path):
    search(small_space(), Scored(), resolve({**SMALL, "max_time": 0}), tmp_path / "run")
    assert main([str(tmp_path / "run"), "--output", str(tmp_path / "report")]) == 0
    page = (tmp_path / "report" / "report.html").read_text()
    assert "No trial has ended yet." in page


def test_without_folds_a_metric_is_to_be_small_if_it_has_an_upper_limit(tmp_path):
    class Timed(Scored):
        def evaluate(self, config, epochs, seed, state=None):
            return {**super().evaluate(config, epochs, seed), "recall": 0.5, "seconds": 2.0}

    given = resolve({**SMALL, "constraints": ["seconds <= 3", "recall >= 0.1"]})
    search(small_space(), Timed(), given, tmp_path / "run")
    assert read_run(tmp_path / "run").static == ["seconds"]
    assert main([str(tmp_path / "run"), "--output", str(tmp_path / "report")]) == 0
