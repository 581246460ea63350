"""`predict.py`: the same pixels as in training, its output, its mistakes, alone elsewhere."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

import predict
from tests.command_line import ROOT, complaint
from tests.networks import NETWORKS, make_model
from vision import folders, reading

EXIF_ORIENTATION = 0x0112


def picture(width, height, seed=0):
    """Smooth colours with noise, so that no two crops or rotations are alike."""
    rng = np.random.default_rng(seed)
    across, down = (
        np.linspace(0, 200, width)[None, :, None],
        np.linspace(0, 55, height)[:, None, None],
    )
    pixels = across + down + rng.integers(0, 40, (height, width, 3))
    return Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8))


def rotated(path):
    exif = Image.Exif()
    exif[EXIF_ORIENTATION] = 6
    picture(40, 25).save(path, exif=exif)


def transparent(path):
    image = picture(30, 20).quantize(16)
    image.save(path, transparency=bytes([0, 128, *[255] * 14]))


def deep(path):
    Image.fromarray((np.arange(600, dtype=np.uint16) * 109).reshape(20, 30)).save(path)


def shares(path):
    Image.fromarray(np.linspace(0, 1, 600, dtype=np.float32).reshape(20, 30)).save(path)


ODD = {
    "rotated.jpg": rotated,
    "cmyk.jpg": lambda path: picture(33, 21).convert("CMYK").save(path),
    "palette.png": transparent,
    "deep.png": deep,
    "shares.tiff": shares,
    "long.png": lambda path: picture(300, 5).save(path),
    "high.png": lambda path: picture(3, 200).save(path),
    "tiny.png": lambda path: picture(1, 1).save(path),
    "grey.png": lambda path: picture(20, 30).convert("L").save(path),
    "faint.webp": lambda path: picture(20, 30).convert("RGBA").save(path),
    "bits.png": lambda path: picture(20, 30).convert("1").save(path),
    "exact.png": lambda path: picture(16, 16).save(path),
}


@pytest.mark.parametrize("crop", reading.CROPS)
@pytest.mark.parametrize("name", ODD)
def test_pixels_are_those_of_the_training(tmp_path, name, crop):
    ODD[name](tmp_path / name)
    for size in (8, 16):
        ours = predict.read_image(tmp_path / name, size, crop)
        assert ours.shape == (size, size, 3) and ours.dtype == np.uint8
        assert np.array_equal(ours, reading.read_image(tmp_path / name, size, crop))


def test_the_images_are_odd_indeed(tmp_path):
    for name, save in ODD.items():
        save(tmp_path / name)
    opened = {name: Image.open(tmp_path / name) for name in ODD}
    assert opened["rotated.jpg"].getexif()[EXIF_ORIENTATION] == 6
    assert opened["cmyk.jpg"].mode == "CMYK" and opened["deep.png"].mode.startswith("I")
    assert opened["palette.png"].mode == "P" and "transparency" in opened["palette.png"].info
    upright = predict.read_image(tmp_path / "rotated.jpg", 16)
    with Image.open(tmp_path / "rotated.jpg") as file:
        file.convert("RGB").save(tmp_path / "lying.png")
    assert not np.array_equal(upright, predict.read_image(tmp_path / "lying.png", 16))


def test_what_the_training_refuses_is_refused(tmp_path):
    for name, pixels in (
        ("faint.tiff", np.full((5, 5), 3, np.int32)),
        ("nan.tiff", np.full((5, 5), np.nan, np.float32)),
    ):
        Image.fromarray(pixels).save(tmp_path / name)
        with pytest.raises(ValueError) as theirs:
            reading.read_image(tmp_path / name, 8)
        with pytest.raises(predict.Mistake) as ours:
            predict.read_image(tmp_path / name, 8)
        assert str(ours.value) == str(theirs.value)


def test_lists_are_those_of_the_training():
    assert predict.SUFFIXES == folders.SUFFIXES and predict.CROPS == reading.CROPS


# ----------------------------------------------------------------------------------- the command


@pytest.fixture
def model(tmp_path):
    config, size, classes = NETWORKS["plain"]
    return save_model(tmp_path / "network.onnx", config, size, classes)


def save_model(path, config, size, classes, **facts):
    """facts: metadata."""
    path.write_bytes(make_model(config, size, classes, **facts)[1].SerializeToString())
    return path


@pytest.fixture
def photos(tmp_path):
    for name in ("b/2.png", "b/10.png", "a.jpg", ".hidden.png"):
        (tmp_path / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(20, 12, seed=len(name)).save(tmp_path / "photos" / name)
    (tmp_path / "photos" / "notes.txt").write_text("no image")
    return tmp_path / "photos"


def run(*arguments):
    return predict.main([str(word) for word in arguments])


def test_a_folder_in_a_table(model, photos, capsys):
    assert run(model, photos) == 0
    out, err = capsys.readouterr()
    head, *lines = out.splitlines()
    assert head.split() == ["file", "answer", "probabilities"] and err == ""
    assert [line.split()[0] for line in lines] == [
        str(photos / name) for name in ("a.jpg", "b/2.png", "b/10.png")
    ]
    assert all(line.count("class ") == 4 for line in lines)


def test_json_and_csv_say_the_same(model, photos, capsys):
    assert run(model, photos, "--json", "--top", 2) == 0
    answers = json.loads(capsys.readouterr().out)
    assert run(model, "--csv", "--top", 2, photos) == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows[0] == ["file", "answer", "class_1", "probability_1", "class_2", "probability_2"]
    for one, row in zip(answers, rows[1:], strict=True):
        first, second = one["classes"]
        assert row[:3] == [one["file"], one["answer"], first["class"]]
        assert float(row[3]) == first["probability"] >= second["probability"]
        assert one["answer"] == first["class"]


def test_probabilities_are_those_of_the_network(model, photos, capsys):
    import onnxruntime

    assert run(model, photos / "a.jpg", "--json", "--top", 3) == 0
    (answer,) = json.loads(capsys.readouterr().out)
    pixels = reading.read_image(photos / "a.jpg", 8)[None]
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    expected = session.run(["probabilities"], {"pixels": pixels})[0][0]
    found = {part["class"]: part["probability"] for part in answer["classes"]}
    assert found == pytest.approx({f"class {i}": p for i, p in enumerate(expected)}, abs=1e-6)


def test_below_the_threshold_it_is_not_sure(tmp_path, photos, capsys):
    for threshold, sure in (("0.99", False), ("0.01", True)):
        file = save_model(tmp_path / "net.onnx", *NETWORKS["plain"], threshold=threshold)
        assert run(file, photos / "a.jpg", "--json") == 0
        (answer,) = json.loads(capsys.readouterr().out)
        assert (answer["answer"] == answer["classes"][0]["class"]) is sure
        assert (answer["answer"] == "not sure") is not sure


@pytest.mark.parametrize("crop", reading.CROPS)
def test_the_crop_of_the_network_is_used(tmp_path, crop, monkeypatch):
    file = save_model(tmp_path / "net.onnx", *NETWORKS["plain"], crop=crop)
    picture(30, 8).save(tmp_path / "long.png")
    seen = []
    monkeypatch.setattr(
        predict.Network,
        "_probabilities",
        lambda _, pixels: seen.append(pixels) or np.full((len(pixels), 3), 1 / 3),
    )
    assert run(file, tmp_path / "long.png") == 0
    assert np.array_equal(seen[0][0], reading.read_image(tmp_path / "long.png", 8, crop))


def test_bad_files_are_told_and_skipped(model, photos, capsys):
    assert run(model, photos / "notes.txt", photos / "a.jpg", photos / "gone.png", "--csv") == 1
    out, err = capsys.readouterr()
    assert [line.split(",")[0] for line in out.splitlines()[1:]] == [str(photos / "a.jpg")]
    first, second = err.splitlines()
    assert "notes.txt" in first and "gone.png" in second and "skipped" in first


def test_more_images_than_a_batch(model, photos, capsys, monkeypatch):
    monkeypatch.setattr(predict, "BATCH", 2)
    assert run(model, photos, photos / "a.jpg", "--json") == 0
    answers = json.loads(capsys.readouterr().out)
    assert len(answers) == 4 and answers[0] == answers[3]


def test_mistakes_are_one_sentence(tmp_path, model, photos, capsys):
    assert "network.onnx" in complaint(capsys, predict, [tmp_path / "no.onnx", photos])
    assert "IMAGE_OR_FOLDER" in complaint(capsys, predict, [model])
    assert "did you mean --json" in complaint(capsys, predict, [model, photos, "--jsn"])
    assert "nearest is 3" in complaint(capsys, predict, [model, photos, "--top", 9])
    assert "whole number" in complaint(capsys, predict, [model, photos, "--top", "x"])
    assert "one of them" in complaint(capsys, predict, [model, photos, "--json", "--csv"])
    (tmp_path / "empty").mkdir()
    assert "no image in" in complaint(capsys, predict, [model, tmp_path / "empty"])
    assert "ONNX Runtime" in complaint(capsys, predict, [photos / "notes.txt", photos])
    wrong = save_model(tmp_path / "wrong.onnx", *NETWORKS["plain"], crop="round")
    assert "centre, pad, stretch" in complaint(capsys, predict, [wrong, photos])
    bare = save_model(tmp_path / "bare.onnx", *NETWORKS["plain"], image_size="big")
    assert "main.py --export" in complaint(capsys, predict, [bare, photos])


def test_what_is_not_installed_is_named(model, photos, capsys, monkeypatch):
    monkeypatch.setitem(predict.PACKAGES, "no_such_package", "no-such-package")
    err = complaint(capsys, predict, [model, photos])
    assert "pip install no-such-package" in err


ALONE = """
import runpy, sys
sys.argv = ["predict.py", "network.onnx", "-", "--json"]
try:
    runpy.run_path("predict.py", run_name="__main__")
except SystemExit as end:
    ours = {"torch", "vision", "utils", "cnn", "engine", "scipy"} & set(sys.modules)
    sys.exit(str(ours) if ours else end.code)
"""


def test_it_works_alone_on_another_machine(tmp_path, model, photos):
    """A copy of one file and the network, isolated from the project: no torch, nothing of ours."""
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.copy(ROOT / "predict.py", elsewhere)
    shutil.copy(model, elsewhere / "network.onnx")
    shutil.copy(photos / "a.jpg", elsewhere)
    environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTHON")}
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE],
        input="a.jpg\n",
        cwd=elsewhere,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert json.loads(done.stdout)[0]["file"] == "a.jpg"
