"""`predict.py`: the pixels of training, output, mistakes, and use on another machine."""

import csv
import io
import json
import os
import shutil
import subprocess
import sys

import numpy as np
import onnxruntime
import pytest
from PIL import Image

import predict
from tests.command_line import ROOT, call, complaint
from tests.networks import NETWORKS, make_model
from vision.data import open_data, open_train


def picture(width, height, seed=0):
    pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.mark.parametrize("crop", predict.CROPS)
def test_pixels_are_those_of_the_training(tmp_path, crop):
    for name in ("a/1.png", "a/2.png", "b/1.png", "b/2.png"):
        (file := tmp_path / "woods" / name).parent.mkdir(parents=True, exist_ok=True)
        picture(40, 25, seed=len(list(tmp_path.rglob("*.png")))).save(file)
    root, cache = tmp_path / "woods", tmp_path / "cache"
    images, _ = open_train(open_data(str(root), image_size=8, crop=crop, cache_dir=cache))
    pixels = predict.read_image(root / images.names[0], 8, crop)
    assert np.array_equal(pixels, images.pixels[0])


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
    return call(predict, *arguments)


def test_a_folder_in_natural_order_as_a_table(model, photos, capsys):
    assert run(model, photos) == 0
    out, err = capsys.readouterr()
    head, *lines = out.splitlines()
    assert head.split() == ["file", "answer", "probabilities"] and err == ""
    assert [line.split()[0] for line in lines] == [
        str(photos / name) for name in ("a.jpg", "b/2.png", "b/10.png")
    ]
    assert all(line.count("class ") == 4 for line in lines)


def test_digits_of_other_scripts_are_text():
    assert sorted(["１", "a", "10", "2"], key=predict.natural) == ["2", "10", "a", "１"]


def test_linked_folders_are_read_once_and_names_need_not_be_text(model, photos, tmp_path):
    (photos / "c").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    (photos / "c" / "back").parent.resolve().mkdir()
    (tmp_path / "elsewhere" / "back").symlink_to(photos, target_is_directory=True)
    picture(9, 9).save(tmp_path / "elsewhere" / "4.png")
    odd = os.fsencode(tmp_path / "elsewhere") + b"/M\xfcnchen.png"
    os.rename(tmp_path / "elsewhere" / "4.png", odd)
    (photos / "d").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    strict = {**os.environ, "PYTHONIOENCODING": "utf-8:strict"}
    for place, given, count in ((photos, b"", 4), ("-", odd, 1)):
        words = [sys.executable, predict.__file__, model, place, "--csv"]
        done = subprocess.run(words, input=given, capture_output=True, env=strict)
        assert done.returncode == 0, done.stderr
        assert done.stdout.count(b"\n") == 1 + count and b"/M\xfcnchen.png" in done.stdout


def test_json_and_csv_say_what_the_network_says(model, photos, capsys, monkeypatch):
    monkeypatch.setattr(predict, "BATCH", 2)  # of three images
    assert run(model, photos, "--json", "--top", 2) == 0
    answers = json.loads(capsys.readouterr().out)
    assert len(answers) == 3 and run(model, "--csv", "--top", 2, photos) == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))
    assert rows[0] == ["file", "answer", "class_1", "probability_1", "class_2", "probability_2"]
    session = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    for one, row in zip(answers, rows[1:], strict=True):
        pixels = predict.read_image(one["file"], 8)[None]
        expected = session.run(["probabilities"], {"pixels": pixels})[0][0]
        order = np.argsort(-expected)[:2]
        first, second = one["classes"]
        assert [first["class"], second["class"]] == [f"class {i}" for i in order]
        found = [first["probability"], second["probability"]]
        assert found == pytest.approx(expected[order].tolist(), abs=1e-6)
        assert row[:3] == [one["file"], one["answer"], first["class"]]
        assert [float(row[3]), float(row[5])] == found and one["answer"] == first["class"]


def test_below_the_threshold_it_is_not_sure(tmp_path, photos, capsys):
    for threshold, sure in (("0.99", False), ("0.01", True)):
        file = save_model(tmp_path / "net.onnx", *NETWORKS["plain"], threshold=threshold)
        assert run(file, photos / "a.jpg", "--json") == 0
        (answer,) = json.loads(capsys.readouterr().out)
        assert (answer["answer"] == answer["classes"][0]["class"]) is sure
        assert (answer["answer"] == "not sure") is not sure


def test_measures_are_those_of_the_folders(tmp_path, model, capsys):
    size, names = 8, [f"class {i}" for i in range(3)]
    for i in range(12):
        (file := tmp_path / "labelled" / names[i % 2] / f"{i}.png").parent.mkdir(
            parents=True, exist_ok=True
        )
        picture(size, size, seed=i).save(file)
    assert run(model, tmp_path / "labelled", "--json") == 0
    answers = json.loads(capsys.readouterr().out)
    pairs = [(one["file"].split("/")[-2], one["answer"]) for one in answers]
    assert run(model, tmp_path / "labelled", "--measure") == 0
    *lines, last = capsys.readouterr().out.splitlines()
    found = {line[:7].strip(): [float(word) for word in line[7:].split()] for line in lines[1:]}
    scores = {}
    for name in names:
        right = sum(pair == (name, name) for pair in pairs)
        true, said = (sum(pair[i] == name for pair in pairs) for i in (0, 1))
        scores[name] = [true, right / max(said, 1), right / max(true, 1)]
        assert found[name] == pytest.approx(scores[name], abs=1e-4)
    means = [sum(scores[name][i] for name in names[:2]) / 2 for i in (1, 2)]  # the third is absent
    assert found["mean"] == pytest.approx([12, *means], abs=1e-4)
    assert last == f"top-1: {sum(a == b for a, b in pairs) / 12:.4f}"
    picture(9, 9).save(tmp_path / "labelled" / "stray.png")
    assert "'labelled' is no class" in complaint(
        capsys, predict, [model, tmp_path / "labelled", "--measure"]
    )


def test_transparent_pixels_are_white(tmp_path):
    pixels = np.zeros((8, 8, 4), np.uint8)
    pixels[:, :4] = (10, 20, 30, 255)  # opaque; the other half hides black
    drawn = Image.fromarray(pixels)
    drawn.save(tmp_path / "rgba.png")
    drawn.quantize(4).save(tmp_path / "palette.png")
    Image.fromarray(pixels[..., 0]).save(tmp_path / "grey.png", transparency=0)
    for name in ("rgba", "palette", "grey"):
        read = predict.read_image(tmp_path / f"{name}.png", 8)
        assert (read[:, 4:] == 255).all() and (read[:, :4, 0] == 10).all(), name
    pixels[..., 3] = 0  # an unused channel, as of many TGA files
    Image.fromarray(pixels).save(tmp_path / "unused.png")
    read = predict.read_image(tmp_path / "unused.png", 8)
    assert np.array_equal(read, pixels[..., :3])


def test_the_crop_of_the_network_is_used(tmp_path, monkeypatch):
    file = save_model(tmp_path / "net.onnx", *NETWORKS["plain"], crop="pad")
    picture(30, 8).save(tmp_path / "long.png")
    seen = []
    monkeypatch.setattr(predict.Network, "answer", lambda _, files, top: seen.extend(files) or [])
    assert run(file, tmp_path / "long.png") == 0
    assert np.array_equal(seen[0][1], predict.read_image(tmp_path / "long.png", 8, "pad"))


def test_bad_files_are_told_and_skipped(model, photos, capsys):
    assert run(model, photos / "notes.txt", photos / "a.jpg", photos / "gone.png", "--csv") == 1
    out, err = capsys.readouterr()
    assert [line.split(",")[0] for line in out.splitlines()[1:]] == [str(photos / "a.jpg")]
    first, second = err.splitlines()
    assert "notes.txt" in first and "gone.png" in second and "skipped" in first


def test_mistakes_are_one_sentence(tmp_path, model, photos, capsys, monkeypatch):
    (tmp_path / "empty").mkdir()
    wrong = save_model(tmp_path / "wrong.onnx", *NETWORKS["plain"], crop="round")
    bare = save_model(tmp_path / "bare.onnx", *NETWORKS["plain"], image_size="big")
    for arguments, word in (
        ([tmp_path / "no.onnx", photos], "no.onnx"),
        ([model], "IMAGE_OR_FOLDER"),
        ([model, photos, "--jsn"], "arguments: --jsn; the flags are --help, --top, --json"),
        ([model, photos, "--top", 9], "nearest is 3"),
        ([model, photos, "--top", "x"], "--top: invalid int value: 'x'"),
        ([model, photos, "--json", "--csv"], "--csv: not allowed with argument --json"),
        ([model, tmp_path / "empty"], "no image in"),
        ([photos / "notes.txt", photos], "ONNX Runtime"),
        ([wrong, photos], "centre"),
        ([bare, photos], "--export"),
    ):
        assert word in complaint(capsys, predict, arguments)
    monkeypatch.setitem(predict.PACKAGES, "no_such_package", "no-such-package")
    assert "pip install no-such-package" in complaint(capsys, predict, [model, photos])


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
    """A copy of one file and the network, isolated from the project and from torch."""
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
