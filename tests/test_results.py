"""The result files that a report assigns to its runs, and their analysis."""

from unittest import mock

import numpy as np
import pytest

from engine.storage.run import identity
from evaluation.results import of_seed, write_predictions
from reports import charts_networks
from reports.reading import read_run
from reports.report import write
from reports.results import Result, _image, errors, read_results, winner_and_baseline
from tests.flower_folders import make_published
from tests.test_reports import stub_run
from utils import InputError, write_json
from vision.data import open_data, open_test

SCORES, LABELS = [[2, 1], [0, 1], [0, 3], [5, 4]], [0, 0, 1, 1]  # predicted: 0, 1, 1, 0


def predictions(names, labels=LABELS):
    held_out = {"scores": np.array(SCORES), "labels": np.array(labels)}
    return {**held_out, "names": np.array(names), "fold": np.zeros(4, int)}


def write_result(
    folder, config, seeds=1, name="result_test.json", names=("a", "b", "c", "d"), **changes
):
    """Writes a result of main.py and its predictions, one file per seed."""
    folder.mkdir(exist_ok=True)
    files = [folder / f"{name[:-5]}_{seed}.npz" for seed in range(seeds)]
    for file in files:
        write_predictions(file, predictions(names))
    result = {
        **{"config": config, "seeds": list(range(seeds)), "epochs": 4, "optimizer": "adamw"},
        **{"metrics": {"top3": 0.75, "precision": 0.5}, "split": "test", "constraints": []},
        **{"num_params": 10, "macs": 100},
        "dataset": {"name": "stubs", "class_names": ["<b>rose & co</b>", "lily"]},
        "by_seed": [of_seed(seed, {}, file) for seed, file in enumerate(files)],
    }
    write_json(folder / name, {**result, **changes})
    return folder / name


@pytest.fixture
def runs(space, tmp_path):
    """Two searches with the same winner; they differ in a budget that neither used up."""
    small = {"pop_size": 3, "max_generations": 0}
    return [
        read_run(stub_run(space, tmp_path / "runs", name, max_total_epochs=budget, **small))
        for name, budget in (("a", 10_000), ("b", 20_000))
    ]


def test_an_image_of_the_published_archive_is_found(tmp_path):
    make_published(tmp_path)
    source = open_data("flowers17", tmp_path, cache_dir=tmp_path / "cache")
    for name in open_test(source)[0].names:
        assert _image(source.to_dict(), name).is_file()


def files(found):
    return [[str(one.path) for one in of_run] for of_run in found]


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
    write_result(first.path.parent, first.best.config)  # of an unknown search
    found, left_out = read_results(runs)
    assert files(found) == [[], [str(own)]]
    assert left_out == []
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
    reasons = ("is not JSON", "not of the best configuration", "on other images (others)")
    for reason in (*reasons, "of none of these runs", "on the folds", "NaN"):
        assert any(reason in words for words in left_out), reason
    with pytest.raises(InputError, match="not a result of main.py"):
        read_results([run], [run.path / "run.json"])


def test_the_first_result_counts_and_unlike_trainings_are_said(runs, tmp_path, monkeypatch):
    for run, epochs in zip(runs, (4, 8), strict=True):
        write_result(run.path, run.best.config, epochs=epochs)
        write_result(run.path, run.best.config, name="other_result_test.json", seeds=2)
    found, left_out = read_results(runs)
    assert left_out == []  # two equal winners
    assert [[one.content["epochs"] for one in of_run] for of_run in found] == [[4, 4], [8, 4]]
    counts, wrong = errors(found[0][1])
    assert counts.sum() == 4 and len(wrong) == 2, "of the first seed"
    drawn = mock.Mock()
    monkeypatch.setattr("reports.page.write", drawn)
    write([run.path for run in runs], tmp_path / "report")
    (told,) = drawn.call_args.kwargs["experiments"]
    assert any("different numbers of epochs: no fair" in note for note in told["notes"])


def test_a_result_of_the_baseline_is_beside_that_of_the_winner(space, tmp_path):
    run = read_run(stub_run(space, tmp_path / "runs", "c", default_first=True, max_generations=1))
    assert run.best.trial != run.baseline.trial
    for name, one in (("opt_cfg", run.best), ("baseline", run.baseline)):
        found_by = identity(run.record)
        file = f"{name}_result_test.json"
        write_result(run.path.parent, one.config, name=file, found_by=found_by)
    found, left_out = read_results([run])
    assert [one.of_winner for one in found[0]] == [True, False] and left_out == []
    assert winner_and_baseline(found[0]) == (*found[0],)
    longer = write_result(run.path, run.best.config, epochs=8)  # is read before the others
    found, _ = read_results([run])
    assert str(found[0][0].path) == str(longer)
    assert winner_and_baseline(found[0]) == (*found[0][1:],), "trained alike"
    assert winner_and_baseline([found[0][0], found[0][2]]) == (found[0][0], None)
    assert winner_and_baseline([]) == (None, None)


def test_of_many_classes_those_with_the_most_mistakes_are_drawn():
    counts, names = 5 * np.eye(40, dtype=int), [f"species {i}" for i in range(40)]
    counts[3, 30], counts[7, 9] = 4, 1
    drawn = charts_networks.confusion(counts, names).to_dict()
    rows = drawn["data"]["values"]
    pairs = {(row["class"], row["answer"]): row["images"] for row in rows}
    assert pairs["species 3", "species 30"] == 4 and pairs["species 7", "species 9"] == 1
    assert len({row["class"] for row in rows}) == charts_networks.MAX_CLASSES == 20


def test_the_confusion_matrix_and_mistakes_or_why_there_are_none(runs, tmp_path):
    run = runs[0]
    names = ["a.jpg", "b.jpg", "c.jpg", "d.jpg"]
    image = tmp_path / "images" / "test" / "b.jpg"
    image.parent.mkdir(parents=True)
    image.write_bytes(b"")
    data = {"name": "stubs", "class_names": ["rose", "lily"], "root": str(tmp_path / "images")}
    stored = run.path / "result_test_0.npz"
    path = write_result(run.path, run.best.config, dataset=data, names=names)
    ((one,),), _ = read_results([run])
    counts, (first, second) = errors(one)  # equally confident
    assert counts.tolist() == [[1, 1], [1, 1]]
    assert (first.name, first.true, first.answer, first.file) == ("b.jpg", "rose", "lily", image)
    assert (second.name, second.true, second.answer) == ("d.jpg", "lily", "rose")
    assert second.file is None
    assert first.confidence == pytest.approx(1 / (1 + np.exp(-1)))
    stored.write_bytes(stored.read_bytes()[:40])
    with pytest.raises(InputError, match="not those of this result"):
        errors(one)
    stored.unlink()
    with pytest.raises(InputError, match="cannot be read: No such file"):
        errors(Result(path, one.content, True))
