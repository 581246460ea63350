"""`main.py` with several seeds, and comparisons of results."""

import shutil

import numpy as np
import pytest

import main
from evaluation.results import differences
from tests.command_line import (
    METRICS,
    SMALL,
    call,
    complaint,
    evaluate,
    make_folder,
    read,
    save,
    told,
)
from vision.metrics import macro_precision, top_k_accuracy

pytestmark = pytest.mark.usefixtures("no_flowers")


@pytest.fixture(scope="module")
def compared(tmp_path_factory):
    """Three configurations, two seeds, on the test split: (folder of results, output).

    The classes are so similar that no network is always right.
    """
    home = tmp_path_factory.mktemp("compared")
    make_folder(home / "woods", contrast=12)
    channels = {"small": 16, "other": 24, "wide": 48}
    files = [
        save(home / f"{n}.json", {**SMALL, "n_channels_conv_0": c}) for n, c in channels.items()
    ]
    arguments = ["-t", "True", "--seeds", 7, 3, "-e", 3, "--dataset", home / "woods", "-p", 0.4]
    place = ["--output", home / "out", "--image_size", 8]
    words = ["-c", *files, *arguments, *place]
    with told(home) as out:
        assert call(main, *words) == 0
    return home / "out", out.getvalue()


def result_files(home):
    return [home / f"{name}_result_test.json" for name in ("small", "other", "wide")]


def test_each_seed_is_trained_and_kept(compared):
    for file in result_files(compared[0]):
        result = read(file)
        assert result["seeds"] == [7, 3] == [one["seed"] for one in result["by_seed"]]
        for one in result["by_seed"]:
            stored = np.load(file.parent / one["predictions"])
            assert stored["seed"] == one["seed"]
            scores, labels = stored["scores"], stored["labels"]
            assert one["metrics"]["top1"] == top_k_accuracy(scores, labels, 1)
            assert one["metrics"]["precision"] == macro_precision(scores.argmax(1), labels, 3)
        for name, value in result["metrics"].items():
            assert value == np.mean([one["metrics"][name] for one in result["by_seed"]])
            low, high = result["intervals"][name]
            assert low <= value <= high
        first, second = (one["metrics"] for one in result["by_seed"])
        assert first["loss"] != second["loss"]
        limits = {limit["text"]: limit for limit in result["constraints"]}
        assert limits["num_params <= 20000000"]["met"]
        assert limits["precision >= 0.4"]["bound"] is not None


def test_a_seed_among_several_gives_what_it_gives_alone(compared, tmp_path):
    home = compared[0].parent
    arguments = ["-t", "-e", 3, "--seed", 3, "--dataset", home / "woods", "--image_size", 8]
    arguments += ["-c", home / "wide.json", "--output", tmp_path / "alone.json"]
    assert call(main, *arguments) == 0
    among = read(compared[0] / "wide_result_test.json")["by_seed"][1]
    assert read(tmp_path / "alone.json")["metrics"] == among["metrics"]
    assert (tmp_path / "alone_predictions.npz").exists()


def pair_lines(text):
    return text[text.index("Pairs, on the same") :].splitlines()


def test_pairs_are_told_in_words(compared):
    home, out = compared
    lines = pair_lines(out)
    assert "corrected for 3 pairs (Holm)" in out and "95 % interval" in out
    assert "no fair comparison" not in out
    assert sum(" and " in line and line.endswith(".json:") for line in lines) == 3
    first, second = (read(file)["metrics"]["top1"] for file in result_files(home)[:2])
    assert lines[4].startswith(f"    top-1 {first - second:+.4f}, p ") and "corrected" in lines[4]


def test_results_are_compared_without_training(compared, capsys, monkeypatch):
    """The same tables in any order of rows; no data set is opened."""
    home, out = compared
    monkeypatch.setattr(main, "open_target", None)
    assert call(main, "--compare", *result_files(home)) == 0
    again = capsys.readouterr().out
    for file in result_files(home):
        name = file.name.removesuffix("_result_test.json")
        again = again.replace(str(file), str(home.parent / f"{name}.json"))
    assert pair_lines(again) == pair_lines(out)
    numbers = [line.split()[1:] for line in out.splitlines() if "95 % interval" in line]
    assert numbers == [line.split()[1:] for line in again.splitlines() if "95 % inter" in line]
    assert out.count("bootstrap bound") == again.count("bootstrap bound") == 3


def test_results_that_do_not_compare(compared, tmp_path, capsys):
    shutil.copytree(compared[0], tmp_path, dirs_exist_ok=True)
    file = tmp_path / "other_result_test.json"
    result = read(file)
    (part, last), others = result["by_seed"], "wide_predictions_test_seed_7.npz"
    others_images = {**result["dataset"], "test_fingerprint": "sha256:0"}
    for change, *words in (
        ({"split": "cv"}, "folds", "test split"),
        ({"dataset": others_images}, "different images"),
        ({"seeds": [7, 4]}, "predictions", "not those"),
        ({"by_seed": [part | {"predictions": "gone.npz"}, last]}, "gone.npz", "No such file"),
        ({"by_seed": [part | {"predictions": others}, last]}, others, "not those"),
        ({"by_seed": [{"seed": 7, "predictions": others}, last]}, "by_seed", "evaluate again"),
        ({"by_seed": ["a"]}, "by_seed", "evaluate again"),
        ({"by_seed": 3}, "by_seed", "evaluate again"),
    ):
        save(file, {**result, **change})
        err = complaint(capsys, main, ["--compare", *result_files(tmp_path)])
        assert all(word in err for word in (*words, file.name)), err


def test_other_differences_of_results_are_noted(compared):
    result = read(result_files(compared[0])[0])
    smaller = {"dataset": {**result["dataset"], "image_size": 9}}
    said = " ".join(differences([result, {**result, "epochs": 9, "optimizer": "adam"} | smaller]))
    assert "no fair comparison" in said and "different optimizers" in said
    assert "at different sizes" in said and "on other images" not in said
    assert "different seeds" not in said


def test_seeds_on_the_folds_share_the_folds(folder, config, capsys):
    other = save(config.with_name("other.json"), {**SMALL, "kernel_size": 5})
    assert evaluate("-c", config, other, "-e", 1, "--seeds", 1, 2, "--dataset", folder) == 0
    assert "on the same 18 images" in capsys.readouterr().out
    result = read(config.parent / "small_result_cv.json")
    one, two = (np.load(config.parent / part["predictions"]) for part in result["by_seed"])
    for name in ("names", "labels", "fold"):
        assert np.array_equal(one[name], two[name])
    for name in METRICS:
        by_fold = [fold[name] for fold in result["folds"]]
        assert result["metrics"][name] == pytest.approx(np.mean(by_fold))
    alone = config.parent / "alone.json"
    common = ["-e", 1, "--dataset", folder, "--output", alone]
    assert evaluate("-c", config, "--seed", 2, *common) == 0  # other folds
    err = complaint(capsys, main, ["--compare", config.parent / "small_result_cv.json", alone])
    assert "folds differ" in err


def test_a_diverged_training_got_nothing_right(folder, config, capsys):
    wild = save(config.with_name("wild.json"), {**SMALL, "learning_rate_init": 1e30})
    arguments = ["-t", "-e", 4, "--seeds", 1, 2, "--dataset", folder]
    assert evaluate("-c", config, wild, *arguments) == 0
    out = capsys.readouterr().out
    right = read(config.parent / "small_result_test.json")["metrics"]["top1"]
    assert f"top-1 {right:+.4f}" in out and "nan..nan" in out and "MISSED (not measured)" in out
    result = read(config.parent / "wild_result_test.json")
    assert result["intervals"]["top3"] == [None, None]
    assert [limit["met"] for limit in result["constraints"]] == [True, False]
