"""`main.py --export`: files, their content, mistakes before any training."""

import importlib.util
import json

import numpy as np
import onnx
import pytest
from safetensors import safe_open

import main
import predict
import training
from deploy import card
from evaluation.results import read_result
from tests.command_line import SMALL, call, complaint, evaluate, make_folder, read, save, told
from training.saved import logits_of

pytestmark = pytest.mark.usefixtures("no_flowers")
LIMITS = ["--constraints", "flash_kb <= 4", "ram_kb <= 1", "precision >= 0.5"]


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """An export with int8 and latency: its folder, the result's folder, the images, the output."""
    home = tmp_path_factory.mktemp("home")
    woods, out = make_folder(home / "woods"), home / "exported"
    config = save(home / "small.json", SMALL)
    flags = ["--dataset", woods, "--export", out, "--quantise", "--latency", *LIMITS]
    with told(home) as printed:
        assert evaluate("-c", config, "-t", "-e", 8, *flags) == 0
    return out, home, woods, printed.getvalue()


def test_the_files_and_what_they_say(exported):
    out, home, _, printed = exported
    assert {path.name for path in out.iterdir()} == {
        *("network.onnx", "network.int8.onnx", "network.safetensors", "check.npz", "card.md"),
        *("result_int8.json", "predictions_int8.npz"),
    }
    result, int8 = read(home / "result_test.json"), read(out / "result_int8.json")
    for name in ("network.onnx", "network.int8.onnx"):
        model = onnx.load(out / name)
        known = {prop.key: prop.value for prop in model.metadata_props}
        assert json.loads(known["classes"]) == ["alder", "birch", "cedar"]
        assert json.loads(known["config"]) == SMALL and known["image_size"] == "8"
        assert known["crop"] == "centre" and "threshold" not in known
        texts = [limit["text"] for limit in json.loads(known["limits"])]
        assert texts == ["flash_kb <= 4", "ram_kb <= 1", "precision >= 0.5"]
    assert json.loads(known["metrics"])["top1"] == int8["metrics"]["top1"]
    with safe_open(out / "network.safetensors", "np") as file:
        assert json.loads(file.metadata()["metrics"])["top1"] == result["metrics"]["top1"]
    for words in ("largest difference", "network.int8.onnx: median", "permutation"):
        assert words in printed


def test_predictions_are_those_of_the_evaluation(exported, capsys):
    """PyTorch and predict.py, each with its file, give the predictions of main.py."""
    out, home, folder, _ = exported
    stored = np.load(home / "predictions_test.npz")
    files = [folder / "test" / name for name in stored["names"]]
    network = training.load_network(out / "network.safetensors")
    logits = logits_of(network, np.stack([predict.read_image(file, 8) for file in files]))
    assert np.abs(logits - stored["scores"]).max() < 1e-4
    for name, scores in (
        ("network.onnx", stored["scores"]),
        ("network.int8.onnx", np.load(out / "predictions_int8.npz")["scores"]),
    ):
        assert call(predict, out / name, *files, "--json") == 0
        answers = [one["answer"] for one in json.loads(capsys.readouterr().out)]
        assert answers == [["alder", "birch", "cedar"][i] for i in scores.argmax(axis=1)]
        assert call(predict, out / name, folder / "test", "--measure") == 0
        right = (scores.argmax(axis=1) == stored["labels"]).mean()
        assert f"top-1: {right:.4f}" in capsys.readouterr().out


def test_a_port_can_be_checked_with_a_few_images(exported):
    out, home, folder, _ = exported
    check, stored = np.load(out / "check.npz"), np.load(home / "predictions_test.npz")
    assert (
        set(check) == {"names", "pixels", "network", "network.int8"} and len(check["names"]) == 8
    )
    for name, pixels, logits in zip(
        *(check[k] for k in ("names", "pixels", "network")), strict=True
    ):
        assert np.array_equal(predict.read_image(folder / "test" / name, 8), pixels)
        assert stored["scores"][stored["names"] == name][0] == pytest.approx(logits, abs=1e-4)


def test_int8_is_measured_by_the_same_limits_and_can_be_compared_later(exported, capsys):
    out, home, _, printed = exported
    files = home / "result_test.json", out / "result_int8.json"
    result, (int8, _) = read(files[0]), read_result(files[1])
    assert [one["text"] for one in int8["constraints"]] == [
        one["text"] for one in result["constraints"]
    ]
    assert int8["flash_kb"] == result["flash_kb"] and int8["ram_kb"] == result["ram_kb"]
    assert int8["constraints"][0]["met"] and printed.count("flash_kb <= 4 met") == 2
    assert set(int8["intervals"]) == set(result["intervals"])
    assert call(main, "--compare", *files) == 0
    out = capsys.readouterr().out
    assert "Pairs, on the same 9 images" in out and "corrected" not in out


def test_the_card(exported):
    out, home, *_ = exported
    text, result = (out / "card.md").read_text(), read(home / "result_test.json")
    for words in (
        *(
            "## Limits of use",
            "18 images to train, 9 to test",
            "load_network",
            "| alder, birch, cedar |",
        ),
        "python predict.py",
        f"| top1 | {result['metrics']['top1']:.4f}",
        "| flash_kb <= 4 |",
        f"| weights in int8, kB | {result['flash_kb']:.2f} |",
    ):
        assert words in text, words
    row = next(row for row in result["by_class"] if row["class"] == "birch")
    assert f"| birch | {row['support']} | {row['predicted']:g} | {row['correct']:g} |" in text


def test_the_card_repeats_a_resumed_search_with_its_last_budget():
    search = {"arguments": ["--max_generations", "1"], "sessions": [{}]}
    search["settings"] = {"max_time": 86400.0, "max_total_epochs": None, "max_generations": 4}
    assert [*card._command(search)] == ["optimizer.py", "--max_generations", "1"]
    resumed = [*card._command({**search, "method": "tpe", "sessions": [{}, {}]})]
    assert resumed[:2] == ["-m", "baselines"] and resumed[-2:] == ["--max_generations", "4"]
    assert "--max_total_epochs" not in resumed


def test_a_network_alone_without_int8(tmp_path, folder, config):
    """It deletes the files of an earlier export."""
    out = tmp_path / "alone"
    out.mkdir()
    (out / "network.int8.onnx").write_text("of an earlier export")
    assert evaluate("-c", config, "-t", "-e", 1, "--dataset", folder, "--export", out) == 0
    names = {path.name for path in out.iterdir()}
    assert names == {"network.onnx", "network.safetensors", "check.npz", "card.md"}
    assert "int8 verdict" not in (out / "card.md").read_text()


def test_a_diverged_network_is_not_exported(tmp_path, folder, config, capsys):
    save(config, {**SMALL, "learning_rate_init": 1e30})
    out = tmp_path / "out"
    flags = ["-c", config, "-t", "-e", 2, "--dataset", folder, "--image_size", 8, "--export", out]
    assert "diverged" in complaint(capsys, main, flags)
    assert list(out.iterdir()) == []


def test_mistakes_are_told_before_training(tmp_path, folder, config, monkeypatch, capsys):
    monkeypatch.setattr(main, "evaluate", None)
    out, wrong = tmp_path / "out", ["-c", config, "--dataset", folder, "--image_size", 8, "-t"]
    file = save(tmp_path / "file", "of somebody")
    assert "--export" in complaint(capsys, main, [*wrong, "--export", file])
    assert file.read_text() == "of somebody"
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    assert "requirements-export.txt" in complaint(capsys, main, [*wrong, "--export", out])
    assert not out.exists()
