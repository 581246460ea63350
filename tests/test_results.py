"""Which result files a report takes for which run, and what it makes of them."""

import re

import numpy as np
import pytest

from engine.storage.run import identity
from evaluation.results import read_predictions
from reports.evaluation import confusion, per_class, read_results
from reports.reading import read_run
from reports.summary import summarize
from tests.test_reports import stub_run
from utils import InputError, write_json

SCORES, LABELS = [[2, 1], [0, 1], [0, 3], [5, 4]], [0, 0, 1, 1]  # predicted: 0, 1, 1, 0


def write_result(folder, config, seeds=1, name="result_test.json", **changes):
    """A result of main.py and its predictions, one file of these a seed."""
    folder.mkdir(exist_ok=True)
    files = [f"{name[:-5]}_{seed}.npz" for seed in range(seeds)]
    for file in files:
        np.savez(folder / file, scores=np.array(SCORES), labels=np.array(LABELS))
    result = {
        **{"config": config, "seeds": list(range(seeds)), "epochs": 4, "optimizer": "adamw"},
        **{"metrics": {"top3": 0.75, "precision": 0.5}, "split": "test", "constraints": []},
        **{"num_params": 10, "macs": 100},
        "dataset": {"name": "stubs", "class_names": ["<b>rose & co</b>", "lily"]},
        "predictions": files if seeds > 1 else files[0],
    }
    write_json(folder / name, {**result, **changes})
    return folder / name


@pytest.fixture
def runs(space, tmp_path):
    """Two searches with one winner: they differ in a budget that was not used up."""
    return [
        read_run(stub_run(space, tmp_path / "runs", name, max_total_epochs=budget))
        for name, budget in (("a", 10_000), ("b", 20_000))
    ]


def files(found):
    return [[one["file"] for one in of_run] for of_run in found]


def test_a_result_belongs_to_the_search_that_it_says(runs, tmp_path):
    first, second = runs
    assert first.best.config == second.best.config
    above = write_result(first.path.parent, first.best.config, found_by=identity(second.record))
    named = write_result(tmp_path / "x", first.best.config, found_by=identity(first.record))
    found, left_out = read_results(runs, [named])
    assert files(found) == [[str(named)], [str(above)]] and left_out == []


def test_a_result_that_says_nothing_belongs_where_it_lies(runs, tmp_path):
    first, second = runs
    own = write_result(second.path, first.best.config)
    write_result(first.path.parent, first.best.config)  # of no one knows which
    found, left_out = read_results(runs)
    assert files(found) == [[], [str(own)]]
    assert len(left_out) == 1 and "does not say which search" in left_out[0]
    named = write_result(tmp_path / "x", first.best.config)
    assert files(read_results(runs, [named])[0]) == [[str(named)], [str(named), str(own)]]


def test_what_does_not_fit_is_left_out_and_told(runs, tmp_path):
    run = runs[0]
    cut = write_result(run.path, run.best.config)
    cut.write_text(cut.read_text()[:100])
    write_result(run.path, {**run.best.config, "kernel_size": 99}, name="old_result_test.json")
    elsewhere = {"name": "others", "class_names": [], "fingerprint": "f"}
    write_result(run.path, run.best.config, name="x_result_test.json", dataset=elsewhere)
    nan = write_result(run.path, run.best.config, name="nan_result_test.json")
    nan.write_text(nan.read_text().replace("0.75", "NaN"))
    named = [
        write_result(tmp_path / "y", {"x": "another"}),
        write_result(tmp_path / "z", run.best.config, split="cv"),
    ]
    found, left_out = read_results([run], named)
    assert files(found) == [[]]
    told = "\n".join(left_out)
    for reason in (
        "is not JSON",
        "not of the best configuration",
        "on other images \\(others\\)",
        "of none of these runs",
        "on the folds",
        "NaN",
    ):
        assert re.search(reason, told), (reason, told)
    with pytest.raises(InputError, match="no result file"):
        read_results([run], [run.path / "run.json"])


def test_the_first_result_counts_and_unlike_trainings_are_said(runs):
    for run, epochs in zip(runs, (4, 8), strict=True):
        write_result(run.path, run.best.config, epochs=epochs)
        write_result(run.path, run.best.config, name="other_result_test.json", seeds=2)
    question = summarize([run.path for run in runs])["questions"][0]
    assert any("different epochs: no fair comparison" in note for note in question["notes"])
    (method,) = question["methods"]
    tests = [run["winner"]["tests"] for run in method["runs"]]
    assert [[one["epochs"] for one in of_run] for of_run in tests] == [[4, 4], [8, 4]]
    assert [len(one["confusion"]) for one in tests[0]] == [1, 2]


def test_the_confusion_matrix_or_why_there_is_none(runs):
    run = runs[0]
    path = write_result(run.path, run.best.config)
    ((one,),), _ = read_results([run])
    assert one["confusion"] == [[[1, 1], [1, 1]]] and one["unread"] is None
    assert one["classes"][1] == {"precision": 0.5, "recall": 0.5, "images": 2}
    predictions = run.path / "result_test_0.npz"
    predictions.write_bytes(predictions.read_bytes()[:40])
    assert "cannot be read" in read_results([run])[0][0][0]["unread"]
    predictions.unlink()
    ((one,),), _ = read_results([run])
    assert one["confusion"] is None and "are not there" in one["unread"]
    np.savez(predictions, scores=np.array(SCORES), labels=np.array([0, 7, 1, 1]))
    assert "do not fit" in read_results([run])[0][0][0]["unread"]
    assert path.is_file()


def test_predictions_of_another_evaluation_are_noticed(tmp_path):
    part = {"seed": 0, "metrics": {}, "sha256": "0" * 64}
    path = write_result(tmp_path, {}, by_seed=[part])
    with pytest.raises(InputError, match="not those of this result"):
        read_predictions({"predictions": "result_test_0.npz", "by_seed": [part]}, path)
    with pytest.raises(InputError, match="names no predictions"):
        confusion({"predictions": None, "dataset": {}}, path)
    for odd in (["a"], 3):
        with pytest.raises(InputError, match="no list of objects"):
            read_predictions({"predictions": "result_test_0.npz", "by_seed": odd}, path)


def test_precision_and_recall_of_classes():
    matrix = np.array([[[3, 1, 0], [0, 2, 0], [1, 1, 0]]])
    classes = per_class(matrix)
    assert classes[0] == {"precision": 0.75, "recall": 0.75, "images": 4}
    assert classes[1] == {"precision": 0.5, "recall": 1.0, "images": 2}
    assert classes[2] == {"precision": 0.0, "recall": 0.0, "images": 2}  # never predicted
