"""Data sets: where they are found, how they are split, and that the test split stays unseen."""

import io
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import savemat

from tests.flower_folders import (
    TEST_NUMBERS,
    TRAIN_NUMBERS,
    make_flowers102,
    make_published,
    make_train_test,
    write_image,
)
from utils import InputError
from vision import decoding, folders
from vision.data import check_folds, noted, open_data, open_test, open_train, stratified_folds

pytestmark = pytest.mark.usefixtures("no_flowers")


def test_train_and_test_folders_are_taken_as_they_are(tmp_path, cache):
    root = make_train_test(tmp_path / "flowers")
    (root / "train" / "1" / "notes.txt").write_text("not an image")
    (root / "train" / "1" / "._image_9.png").write_text("left by another system")
    source = open_data(data_dir=root, cache_dir=cache)
    assert (source.kind, source.name, source.layout) == ("folder", str(root), "train_test")
    assert source.class_names == ("1", "2", "10") and source.num_classes == 3
    images, fingerprint = open_train(source)
    assert images.pixels.shape == (9, 16, 16, 3) and images.pixels.dtype == np.uint8
    assert images.labels.dtype == np.int64
    assert images.labels.tolist() == [0, 0, 0, 1, 1, 1, 2, 2, 2]  # by number, not 1, 10, 2
    assert images.names[:3] == ("1/image_8.png", "1/image_9.png", "1/image_10.png")
    assert images.pixels[:, 0, 0, 0].tolist() == [0, 1, 2, 10, 11, 12, 20, 21, 22]
    assert fingerprint.startswith("sha256:") and len(fingerprint) == 7 + 64
    test, test_fingerprint = open_test(source)
    assert test.labels.tolist() == [0, 1, 2] and test_fingerprint != fingerprint
    with pytest.raises(InputError, match="divided already .* use --split 1"):
        open_data(data_dir=root, split=2, cache_dir=cache)


def test_seventeen_numbered_classes_are_flowers17(tmp_path, cache):
    root = make_train_test(tmp_path, [str(n) for n in range(1, 18)], n_train=1)
    source = open_data("flowers17", root, cache_dir=cache)
    assert (source.kind, source.name) == ("flowers17", "Oxford Flowers-17")
    assert source.class_names[0] == "daffodil" and source.class_names[16] == "pansy"
    own = open_data(str(root), cache_dir=cache)
    assert (own.kind, own.class_names[0]) == ("folder", "1"), "nobody knows what is on them"
    write_image(root / "train" / "rose" / "1.png")  # not all names are numbers: sorted as text
    names = open_data(str(root), cache_dir=cache).class_names
    assert names == tuple(sorted([*map(str, range(1, 18)), "rose"]))


def test_published_split(tmp_path, cache):
    root = make_published(tmp_path / "published")
    source = open_data("flowers17", root, cache_dir=cache)
    assert (source.kind, source.layout) == ("flowers17", "published")
    assert source.class_names == folders.FLOWERS17_CLASSES
    train, first = open_train(source)
    assert len(train.names) == 17 * 3 and np.bincount(train.labels).tolist() == [3] * 17
    assert train.names[:4] == (
        "1/image_0001.jpg", "1/image_0002.jpg", "1/image_0010.jpg", "2/image_0081.jpg"
    )  # fmt: skip
    expected = [number % 256 for number in sorted(TRAIN_NUMBERS)]
    assert np.abs(train.pixels[:, 8, 8, 0].astype(int) - expected).max() <= 3  # JPEG
    test, _ = open_test(source)
    assert test.names == tuple(f"{n // 80 + 1}/image_{n:04d}.jpg" for n in TEST_NUMBERS)
    second = open_data("flowers17", root, split=2, cache_dir=cache)
    assert len(open_train(second)[0].names) == len(open_test(second)[0].names) == 17 * 2
    assert open_train(second)[1] != first


def test_published_split_that_cannot_be_true(tmp_path, cache):
    write_image(tmp_path / "jpg" / "image_0001.jpg")
    for trn, val, tst, sentence in (
        (1, 2, 2, "an image twice in split 1"),
        (0, 2, 3, "outside of 1 to 1360"),
        (1361, 2, 3, "outside of 1 to 1360"),
        (1, 4, 5, "image_0004.jpg is missing"),
    ):
        parts = {"trn1": trn, "val1": val, "tst1": tst}
        numbers = {name: np.array([[number]], np.uint16) for name, number in parts.items()}
        savemat(tmp_path / "datasplits.mat", numbers)
        with pytest.raises(InputError, match=sentence):
            open_data(data_dir=tmp_path, cache_dir=cache)


def test_class_folders_are_divided_by_split(tmp_path, cache):
    sizes = {"daisy": 2, "rose": 9, "tulip": 20}
    for name, size in sizes.items():
        for number in range(size):
            write_image(tmp_path / "own" / name / f"{number}.png", number)

    def opened(split):
        source = open_data(str(tmp_path / "own"), split=split, cache_dir=cache)
        assert (source.kind, source.layout) == ("folder", "class_folders")
        assert source.class_names == ("daisy", "rose", "tulip")
        return open_train(source), open_test(source)

    (train, fingerprint), (test, _) = opened(1)
    assert np.bincount(test.labels).tolist() == [1, 2, 5]
    assert np.bincount(train.labels).tolist() == [1, 7, 15]
    assert len({*train.names, *test.names}) == sum(sizes.values())
    assert opened(1)[0][1] == fingerprint and opened(1)[0][0].names == train.names
    assert opened(2)[0][1] != fingerprint and opened(2)[1][0].names != test.names


@pytest.mark.parametrize("form", ["class_folders", "train_test"])
def test_what_is_not_read_is_said(tmp_path, cache, form):
    root = make_train_test(tmp_path / "flowers", n_train=4)
    if form == "class_folders":
        root = root / "train"
    source = open_data(str(root), cache_dir=cache)
    assert noted(source, open_train(source)[0], open_test(source)[0]) == source
    top = root if form == "class_folders" else root / "train"
    write_image(top / "1" / "more" / "yet" / "5.png")
    write_image(top / "6.png")
    write_image(top / "2" / "7.JFIF")  # a rare image suffix is read
    for name in ("a.heic", "b.heic", "Thumbs.db"):
        (top / "2" / name).write_text("no image")
    (top / "around").symlink_to(top)
    (top / "10" / "here").symlink_to(".")
    os.mkfifo(top / "10" / "x.png")
    (top / "10" / "gone.png").symlink_to("nothing")
    (top / "10" / "loop.png").symlink_to("loop.png")
    os.symlink(tmp_path / "elsewhere", top / "11")  # a link to a class folder is a class
    write_image(tmp_path / "elsewhere" / "1.png")
    write_image(tmp_path / "elsewhere" / "2.png")
    images, _ = open_train(source := open_data(str(root), cache_dir=cache))
    assert source.class_names == ("1", "2", "10", "11")
    test = open_test(source)[0] if form == "class_folders" else images
    note = noted(source, images, test).note
    paths = "around", "10/gone.png", "10/here", "10/loop.png", "10/x.png"
    for words in (*("no class folder: 1;", "within class folders: 1;", ".db, .heic"), *paths):
        assert (str(top / words) if words in paths else words) in note, words


def test_a_folder_beside_train_and_test_is_said_to_be_left_out(tmp_path, cache):
    root = make_train_test(tmp_path / "flowers", n_train=4)
    write_image(root / "val" / "1" / "1.png")
    source = open_data(str(root), cache_dir=cache)
    note = noted(source, open_train(source)[0]).note
    assert note == "Not read beside train and test: val."


def test_flowers_102_by_its_own_split(tmp_path, cache):
    """Its labels are unordered, and its test split is larger than the training images."""
    root = make_flowers102(tmp_path / "flowers-102")
    source = open_data(str(root), cache_dir=cache)
    assert (source.kind, source.layout, source.class_names) == ("folder", "flowers102", ("1", "2"))
    train, test = open_train(source)[0], open_test(source)[0]
    assert train.names == tuple(
        f"{c}/image_{n:05d}.jpg" for c, n in ((1, 2), (1, 4), (2, 1), (2, 3))
    )
    assert train.labels.tolist() == [0, 0, 1, 1] and test.labels.tolist() == [0, 0, 1, 1]
    assert np.abs(train.pixels[:, 8, 8, 0].astype(int) - [20, 40, 10, 30]).max() <= 3
    with pytest.raises(InputError, match="is not Flowers-17 .* use --dataset"):
        open_data("flowers17", root, cache_dir=cache)
    (root / "jpg" / "image_00002.jpg").unlink()
    with pytest.raises(InputError, match="00002.jpg is missing$"):
        open_data(str(root), cache_dir=cache)
    (root / "imagelabels.mat").write_text("nonsense")
    with pytest.raises(InputError, match="imagelabels.mat cannot be read"):
        open_data(str(root), cache_dir=cache)


@pytest.mark.parametrize("make", [make_train_test, make_published, make_flowers102])
def test_training_never_touches_the_test_part(tmp_path, cache, monkeypatch, make):
    root = make(tmp_path / "flowers")
    tests = {make_published: TEST_NUMBERS, make_flowers102: range(5, 9)}.get(make, [])
    test_numbers = [f"image_{n:0{4 if make is make_published else 5}d}.jpg" for n in tests]
    whole = open_train(open_data(data_dir=root, cache_dir=tmp_path / "other"))

    def guarded(function):
        def guard(path, *args, **kwargs):
            parts = Path(os.fspath(path)).parts if isinstance(path, (str, os.PathLike)) else ()
            assert "test" not in parts and not set(parts) & set(test_numbers), path
            return function(path, *args, **kwargs)

        return guard

    with monkeypatch.context() as patch:
        for name in ("stat", "lstat", "scandir", "listdir", "open"):
            patch.setattr(os, name, guarded(getattr(os, name)))
        patch.setattr("builtins.open", guarded(open))
        patch.setattr(io, "open", guarded(io.open))
        images, fingerprint = open_train(source := open_data(data_dir=root, cache_dir=cache))
        with pytest.raises(AssertionError):  # the guard sees reads
            open_test(source)
    assert fingerprint == whole[1] and np.array_equal(images.pixels, whole[0].pixels)


def test_test_parts_that_do_not_fit_the_training_part(tmp_path, cache):
    root = make_train_test(tmp_path / "flowers")
    source = open_data(data_dir=root, cache_dir=cache)
    shutil.rmtree(root / "test" / "2")
    first, fingerprint = open_train(source)
    assert first.note == ""
    assert "The test part has no image of 2: precision" in open_test(source)[0].note
    write_image(root / "test" / "11" / "image_1.png")
    with pytest.raises(InputError, match="test has the class '11', which train/ has not"):
        open_test(source)
    shutil.rmtree(root / "test")
    assert open_train(open_data(data_dir=root, cache_dir=cache))[1] == fingerprint
    with pytest.raises(InputError, match="flowers/test cannot be read"):
        open_test(source)


def test_broken_images_are_told_together(tmp_path, cache):
    root = make_train_test(tmp_path)
    path = root / "train" / "2" / "image_9.png"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(InputError, match="^[^;]*train/2/image_9.png cannot be decoded"):
        open_train(open_data(data_dir=root, cache_dir=cache))
    (root / "train" / "10" / "image_10.png").write_bytes(b"no image")
    with pytest.raises(InputError, match="^2 of 9 images .*2/image_9.png.*10/image_10.png"):
        open_train(open_data(data_dir=root, cache_dir=cache))
    for path in (root / "train").glob("*/*"):
        path.write_bytes(b"no image")
    with pytest.raises(InputError, match="^9 of 9 images .* and 4 more$"):
        open_train(open_data(data_dir=root, cache_dir=cache))


def test_images_are_decoded_once_and_a_broken_cache_is_rewritten(tmp_path, cache, monkeypatch):
    source = open_data(data_dir=make_train_test(tmp_path / "flowers"), cache_dir=cache)
    first, fingerprint = open_train(source)
    [stored] = cache.iterdir()
    assert stored.name.startswith("train_16px_centre_split1")
    whole = stored.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(decoding, "read_image", None)
        again, fingerprint_again = open_train(source)
    assert np.array_equal(first.pixels, again.pixels) and fingerprint == fingerprint_again
    other_array = io.BytesIO()
    np.savez(other_array, pixels=np.zeros(3))
    for broken in (b"", b"nonsense", whole[:-30], whole[:99] + b"?" + whole[100:],
                   other_array.getvalue()):  # fmt: skip
        stored.write_bytes(broken)
        assert np.array_equal(open_train(source)[0].pixels, first.pixels)
        assert stored.read_bytes() == whole and list(cache.iterdir()) == [stored]
    open_test(source)
    open_train(open_data(data_dir=tmp_path / "flowers", image_size=8, cache_dir=cache))
    open_train(open_data(data_dir=tmp_path / "flowers", crop="pad", cache_dir=cache))
    assert len(list(cache.iterdir())) == 4  # test split, size and crop have their own files


def test_a_changed_image_is_seen_through_the_cache_which_may_be_missing(tmp_path, cache):
    source = open_data(data_dir=make_train_test(tmp_path / "flowers"), cache_dir=cache)
    _, before = open_train(source)
    write_image(tmp_path / "flowers" / "train" / "1" / "image_8.png", 200)
    images, after = open_train(source)
    assert after != before and images.pixels[0, 0, 0, 0] == 200
    (tmp_path / "file").write_text("not a folder")
    uncached = open_data(data_dir=tmp_path / "flowers", cache_dir=tmp_path / "file" / "cache")
    assert np.array_equal(open_train(uncached)[0].pixels, images.pixels)


def test_auto_without_network_falls_back_and_says_so(cache):
    source = open_data(cache_dir=cache)
    assert (source.kind, source.name) == ("synthetic", "embedded flowers (drawn, not photographs)")
    assert (source.layout, source.root, source.num_classes) == ("drawn", None, 17)
    assert "Flowers-17 is not available" in source.note and "drawn flowers" in source.note
    assert open_data("synthetic", cache_dir=cache).note == ""


def test_embedded_flowers_are_divided_60_to_20(cache, drawings):
    source = open_data("synthetic", image_size=8, cache_dir=cache)
    train, fingerprint = open_train(source)
    assert train.pixels.shape == (1020, 8, 8, 3) and np.array_equal(train.pixels[7], drawings[7])
    assert np.bincount(train.labels).tolist() == [60] * 17
    assert train.names[7] == f"{source.class_names[0]}/07"
    tests = set()
    for split in (1, 2, 3):
        test, _ = open_test(open_data("synthetic", image_size=8, split=split, cache_dir=cache))
        assert np.bincount(test.labels).tolist() == [20] * 17
        assert split > 1 or not set(test.names) & set(train.names)
        tests |= set(test.names)
    assert len(tests) == 3 * 340
    train.pixels[:] = 0  # the caller owns the arrays
    again, same = open_train(source)
    assert again.pixels.any() and same == fingerprint


def test_wrong_arguments_are_told_in_a_sentence(cache):
    for arguments, sentence in (
        ({"dataset": "flowers71"}, "'flowers71' .*; did you mean flowers17?"),
        ({"data_dir": ""}, "--data_dir  is not an existing folder"),
        ({"dataset": "synthetic", "data_dir": "/nowhere"}, "two data sets: give only one"),
    ):
        with pytest.raises(InputError, match=sentence):
            open_data(**arguments, cache_dir=cache)


def test_folder_that_is_named_but_wrong_is_never_replaced(tmp_path, cache, monkeypatch):
    monkeypatch.setenv("FLOWERS17_DIR", "/nowhere")
    with pytest.raises(InputError, match="FLOWERS17_DIR /nowhere is not an existing folder"):
        open_data(cache_dir=cache)
    root = tmp_path / "flowers"
    monkeypatch.setenv("FLOWERS17_DIR", str(root))
    (root / "train" / "1").mkdir(parents=True)
    with pytest.raises(InputError, match="1 class folders, where at least 2 are needed"):
        open_data(cache_dir=cache)
    (root / "train" / "2").mkdir()
    with pytest.raises(InputError, match="train/1 holds 0 images"):
        open_data(cache_dir=cache)
    shutil.rmtree(root / "train")
    write_image(root / "train" / "1.png")
    write_image(root / "test" / "2.png")
    with pytest.raises(InputError, match="train/ holds no class folders"):
        open_data(cache_dir=cache)
    shutil.rmtree(root)
    write_image(root / "jpg" / "image_0001.jpg")
    with pytest.raises(InputError, match="not datasplits.mat"):
        open_data(cache_dir=cache)
    (root / "datasplits.mat").write_text("nonsense")
    with pytest.raises(InputError, match="datasplits.mat cannot be read"):
        open_data(cache_dir=cache)


@settings(max_examples=25)
@given(
    counts=st.lists(st.integers(5, 23), min_size=1, max_size=6),
    n_folds=st.integers(2, 5),
    seed=st.integers(0, 2**32),
)
def test_folds_are_an_even_partition(counts, n_folds, seed):
    labels = np.random.default_rng(seed).permutation(np.repeat(np.arange(len(counts)), counts))
    folds = stratified_folds(labels, n_folds, np.random.default_rng(seed))
    assert len(folds) == n_folds
    assert sorted(np.concatenate(folds)) == list(range(len(labels)))
    for fold in folds:
        assert fold.dtype == np.int64 and (np.diff(fold) > 0).all()
    assert np.ptp([len(fold) for fold in folds]) <= 1
    per_class = [np.bincount(labels[fold], minlength=len(counts)) for fold in folds]
    assert np.ptp(per_class, axis=0).max() <= 1
    again = stratified_folds(labels, n_folds, np.random.default_rng(seed))
    assert all(np.array_equal(a, b) for a, b in zip(folds, again, strict=True))


def test_folds_that_cannot_be_made():
    names = "daisy", "rose"
    for folds in (3, 1):  # a single fold is one of three
        with pytest.raises(InputError, match="class 'rose' has 2: use at most 2 folds"):
            check_folds(np.array([0, 0, 0, 1, 1]), folds, names)
    with pytest.raises(InputError, match="class 'rose' has 1: give it more images, or remove"):
        check_folds(np.array([0, 0, 0, 1]), 3, names)
    check_folds(np.array([0, 0, 1, 1]), 2, names)
