"""Reading many image files: what a start keeps for the next one, broken files, large JPEGs."""

import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from PIL.JpegImagePlugin import JpegImageFile

from tests.flower_folders import make_train_test, write_image
from utils import InputError
from vision import decoding
from vision.data import open_data, open_train
from vision.overview import overview

MANY = 120  # images of a class: one of 240 may be broken


@pytest.fixture
def source(tmp_path):
    root = make_train_test(tmp_path / "photos", ("ash", "oak"), n_train=MANY)
    return open_data(str(root), image_size=8, cache_dir=tmp_path / "cache")


def train_folder(source):
    return Path(source.root) / "train"


def decoded(monkeypatch, source):
    """The names of the files that are decoded when the training part is opened."""
    names = []

    def noting(path, size, crop):
        names.append(f"{path.parent.name}/{path.name}")
        return read_image(path, size, crop)

    with monkeypatch.context() as patch:
        read_image = decoding.read_image
        patch.setattr(decoding, "read_image", noting)
        opened = open_train(source)
    return opened, sorted(names)


def test_only_new_and_changed_files_are_read_again(source, monkeypatch):
    (first, before), names = decoded(monkeypatch, source)
    assert len(names) == 2 * MANY
    write_image(train_folder(source) / "ash" / "image_9.png", 200)
    write_image(train_folder(source) / "oak" / "new.png", 3)
    (train_folder(source) / "oak" / "image_8.png").unlink()
    (images, after), names = decoded(monkeypatch, source)
    assert names == ["ash/image_9.png", "oak/new.png"] and after != before
    assert images.pixels[images.names.index("ash/image_9.png"), 0, 0, 0] == 200
    kept = [name for name in images.names if name not in names]
    rows = [[one.names.index(name) for name in kept] for one in (first, images)]
    assert np.array_equal(first.pixels[rows[0]], images.pixels[rows[1]])
    assert decoded(monkeypatch, source)[1] == []


def test_an_interrupted_start_goes_on_where_it_was(source, monkeypatch):
    whole, _ = open_train(open_data(source.root, image_size=8, cache_dir=source.cache_dir + "2"))
    monkeypatch.setattr(decoding, "CHUNK", 50)
    read_image, seen = decoding.read_image, []

    def interrupted(path, size, crop):
        seen.append(path)
        if len(seen) > 120:
            raise KeyboardInterrupt
        return read_image(path, size, crop)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(decoding, "read_image", interrupted)
        open_train(source)
    (images, _), names = decoded(monkeypatch, source)
    assert 2 * MANY - 150 <= len(names) <= 2 * MANY - 100
    assert np.array_equal(images.pixels, whole.pixels)


def test_a_few_broken_images_are_left_out_and_told(source, monkeypatch):
    (whole, fingerprint), _ = decoded(monkeypatch, source)
    broken = train_folder(source) / "oak" / "image_20.png"
    broken.write_bytes(broken.read_bytes()[:40])
    images, other = open_train(source)
    assert fingerprint != other and images.note.startswith("Left out: ")
    assert "oak/image_20.png cannot be decoded" in images.note
    left = [i for i, name in enumerate(whole.names) if name != "oak/image_20.png"]
    assert images.names == tuple(whole.names[i] for i in left)
    assert np.array_equal(images.pixels, whole.pixels[left])
    assert np.array_equal(images.labels, whole.labels[left])
    for number in (21, 22):
        (train_folder(source) / "oak" / f"image_{number}.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="^3 of 240 images cannot be used: .*image_20.png"):
        open_train(source)


def test_a_class_whose_images_are_all_broken_is_refused(tmp_path):
    root = make_train_test(tmp_path / "photos", ("ash", "oak"), n_train=MANY)
    (root / "train" / "yew").mkdir()
    (root / "train" / "yew" / "one.png").write_bytes(b"no image")
    source = open_data(str(root), image_size=8, cache_dir=tmp_path / "cache")
    with pytest.raises(InputError, match="class yew has no image that can be used: .*yew/one.png"):
        open_train(source)


def test_a_large_jpeg_is_decoded_at_a_reduced_scale_to_nearly_equal_pixels(tmp_path, monkeypatch):
    ramp = np.linspace(0, 255, 1600).astype(np.uint8)
    picture = np.stack([np.tile(ramp, (1200, 1)), np.tile(ramp[:1200, None], 1600)], axis=2)
    picture = np.concatenate([picture, picture[:, :, :1] // 2], axis=2)
    Image.fromarray(picture).save(tmp_path / "large.jpg", quality=95)
    Image.fromarray(picture).save(tmp_path / "large.png")
    pair = (decoding.read_image(tmp_path / f"large.{kind}", 32) for kind in ("jpg", "png"))
    first, second = (image.astype(int) for image in pair)
    assert abs(first - second).max() <= 4
    monkeypatch.setattr(JpegImageFile, "draft", lambda *_: None)
    whole = decoding.read_image(tmp_path / "large.jpg", 32)
    assert not np.array_equal(whole, first), "it was decoded at its full scale"


def test_a_search_starts_beside_a_broken_image_and_another_codec_is_other_data(
    source, monkeypatch
):
    broken = train_folder(source) / "oak" / "image_20.png"
    broken.write_bytes(b"no image")
    images, fingerprint = open_train(source)
    assert any(line.startswith("sizes: 16x16") for line in overview(source, images))
    stored = Path(source.cache_dir)
    before = {path: path.stat().st_mtime_ns for path in stored.iterdir()}
    assert open_train(source)[1] == fingerprint
    assert {path: path.stat().st_mtime_ns for path in stored.iterdir()} == before
    with monkeypatch.context() as patch:  # a Pillow that reads it
        blank = np.zeros((8, 8, 3), np.uint8)
        patch.setattr(decoding, "read_image", lambda *_: blank)
        assert open_train(source)[1] != fingerprint


def test_files_that_change_names_are_read_again(source):
    """`mv` keeps the time of modification; two images have the same size."""
    oak = train_folder(source) / "oak"
    for name, value in (("image_8.png", 5), ("image_9.png", 9)):
        write_image(oak / name, value)
        os.utime(oak / name, (10**9, 10**9))
    first, before = open_train(source)
    (oak / "image_8.png").rename(oak / "x")
    (oak / "image_9.png").rename(oak / "image_8.png")
    (oak / "x").rename(oak / "image_9.png")
    images, after = open_train(source)
    assert before != after
    places = [images.names.index(f"oak/image_{number}.png") for number in (8, 9)]
    assert np.array_equal(images.pixels[places], first.pixels[places[::-1]])
