"""Image files in folders: the layout of a folder, the files of its parts.

Listing the training part never accesses the test part: with the layout train/<class>/ +
test/<class>/ nothing below test/ is opened or listed, and whether it exists is not checked.
"""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from unicodedata import normalize

import numpy as np
from scipy.io import loadmat

from predict import SUFFIXES, natural
from utils import InputError, first_few
from vision.download import BASE_URL, SPLITS

FLOWERS17_CLASSES = (  # in the order of the class numbers; the archive has no names
    "daffodil", "snowdrop", "lily of the valley", "bluebell", "crocus", "iris", "tiger lily",
    "tulip", "fritillary", "sunflower", "daisy", "colts' foot", "dandelion", "cowslip",
    "buttercup", "windflower", "pansy",
)  # fmt: skip
PER_CLASS = 80  # images of a class, in the order of their numbers
TEST_SHARE = 0.25  # of each class, in the split of a folder of class folders
FLOWERS102 = "setid.mat", "imagelabels.mat"  # beside jpg/: the split, the label of each image
FORMS = "train/<class>/ and test/<class>/, <class>/, or jpg/ with datasplits.mat"

File = tuple[int, str, Path]  # label, name such as "1/image_0001.jpg", path


def find_layout(root: Path) -> tuple[str, tuple[str, ...]]:
    """(the layout, class names in the order of the labels).

    Layouts: "train_test", "class_folders", "published" (Flowers-17 as published), "flowers102".
    """
    if os.path.isdir(root / "train") and (classes := _class_folders(root / "train")):
        layout = "train_test"
    elif os.path.isdir(root / "jpg") and os.path.isfile(root / SPLITS):
        return "published", FLOWERS17_CLASSES
    elif os.path.isdir(root / "jpg") and all(os.path.isfile(root / n) for n in FLOWERS102):
        labels = _read_mat(root / FLOWERS102[1], "labels")[0]
        return "flowers102", tuple(map(str, range(1, max(labels, default=0) + 1)))
    else:
        layout, classes = "class_folders", _class_folders(root)
        if classes == ("jpg",):
            raise InputError(f"there is jpg/ but not {SPLITS} (download it from {BASE_URL})")
        if {"train", "test"} <= set(classes):
            raise InputError("train/ holds no class folders, so no image has a label")
    if len(classes) < 2:
        raise InputError(f"{len(classes)} class folders, where at least 2 are needed, as {FORMS}")
    return layout, classes


def list_files(root: Path, layout: str, part: str, split: int) -> list[File]:
    """The files of `part`, "train" or "test", by label, then by natural file name.

    `split` is a published one; it also determines the split of class folders. Raises InputError
    if a class has no image to train with, or if the test part is empty.
    """
    if layout == "published":
        return _published_files(root, part, split)
    if layout == "flowers102":
        return _flowers102_files(root, part)
    if layout == "class_folders":
        return _divided_files(root, part, split)
    classes = _class_folders(root / "train")
    present = classes if part == "train" else _class_folders(root / "test")
    if not present:
        raise InputError(f"{root / part} holds no class folders")
    if unknown := set(present) - set(classes):
        name, alike = min(unknown), {normalize("NFC", one) for one in classes}
        form = " in this form of Unicode: rename it" if normalize("NFC", name) in alike else ""
        raise InputError(f"{root / part} has the class {name!r}, which train/ has not{form}")
    files = []
    for name in present:
        images = _images(root / part / name, 1)
        files += [(classes.index(name), f"{name}/{i}", root / part / name / i) for i in images]
    return files


def refuse(complaints: Sequence[tuple[Path, str]], count: int) -> None:
    """InputError if there are complaints about some of `count` images."""
    if complaints:
        raise InputError(in_words(complaints, count))


def in_words(complaints: Sequence[tuple[Path, str]], count: int) -> str:
    """One or more complaints, (path, reason), about some of `count` images; names the first."""
    (path, reason), *others = complaints
    first = f"{path} {reason}"
    if not others:
        return first
    named = first_few([f"{other.parent.name}/{other.name}" for other, _ in others], 4)
    return f"{len(complaints)} of {count} images cannot be used: {first}; likewise {named}"


def _divided_files(root: Path, part: str, split: int) -> list[File]:
    """One part of a folder of class folders; a seeded permutation divides each class."""
    files = []
    for label, name in enumerate(_class_folders(root)):
        images = _images(root / name, 2)  # one to train and one to test
        n_test = min(max(round(TEST_SHARE * len(images)), 1), len(images) - 1)
        drawn = np.random.default_rng([split, label]).permutation(len(images)) < n_test
        for image, in_test in zip(images, drawn, strict=True):
            if in_test == (part == "test"):
                files.append((label, f"{name}/{image}", root / name / image))
    return files


def _published_files(root: Path, part: str, split: int) -> list[File]:
    """One part of jpg/image_0001.jpg ... according to datasplits.mat, which counts from 1."""
    path = root / SPLITS
    parts = _read_mat(path, *(f"{name}{split}" for name in ("trn", "val", "tst")))
    n_images = PER_CLASS * len(FLOWERS17_CLASSES)
    labels = [number // PER_CLASS for number in range(n_images)]
    return _numbered_files(root, parts, part, labels, f"split {split} of {path}", digits=4)


def _flowers102_files(root: Path, part: str) -> list[File]:
    """One part of jpg/image_00001.jpg ... by setid.mat and imagelabels.mat, which count from 1."""
    split, labelled = (root / name for name in FLOWERS102)
    parts = _read_mat(split, "trnid", "valid", "tstid")
    labels = [label - 1 for label in _read_mat(labelled, "labels")[0]]
    files = _numbered_files(root, parts, part, labels, str(split), digits=5)
    if part == "train" and (lacking := set(range(max(labels) + 1)) - {file[0] for file in files}):
        raise InputError(f"{split} has no image of class {min(lacking) + 1} to train with")
    return files


def _numbered_files(
    root: Path,
    parts: Sequence[list[int]],
    part: str,
    labels: Sequence[int],
    where: str,
    digits: int,
) -> list[File]:
    """The numbered images of jpg/ that belong to `part`; parts: training, validation, test."""
    training, testing = [*parts[0], *parts[1]], parts[2]
    numbers = [*training, *testing]
    if not numbers or min(numbers) < 1 or max(numbers) > len(labels):
        raise InputError(f"{where} has numbers outside of 1 to {len(labels)}")
    if len(set(numbers)) < len(numbers):
        raise InputError(f"there is an image twice in {where}")
    files, missing = [], []
    for number in sorted(training if part == "train" else testing):
        label, image = labels[number - 1], f"image_{number:0{digits}d}.jpg"
        files.append((label, f"{label + 1}/{image}", root / "jpg" / image))
        if not os.path.isfile(files[-1][2]):
            missing.append((files[-1][2], "is missing"))
    refuse(missing, len(files))
    return sorted(files, key=lambda file: (file[0], file[2].name))


def _read_mat(path: Path, *names: str) -> list[list[int]]:
    """The integer arrays with these names in a MATLAB file."""
    try:
        found = loadmat(path)
        return [found[name].ravel().astype(int).tolist() for name in names]
    except Exception as error:  # scipy raises half a dozen types for a broken file
        raise InputError(f"{path} cannot be read ({error})") from error


def left_out(root: Path, layout: str, part: str) -> str:
    """A message about files beside the images of `part` that are not read; '' if none."""
    if layout not in ("train_test", "class_folders"):
        return ""  # their images are listed by number
    top = root / part if layout == "train_test" else root
    classes = [top / name for name in _class_folders(top)]
    inside = {folder: _entries(folder) for folder in (top, *classes)}
    loose = sum(map(_is_image, inside[top]["file"]))
    nested = [folder / name for folder in classes for name in inside[folder]["folder"]]
    deeper = sum(_is_image(n) for folder in nested for *_, names in os.walk(folder) for n in names)
    others = [n for folder in classes for n in inside[folder]["file"] if not _is_image(n)]
    kinds = first_few(sorted({Path(name).suffix.lower() or name for name in others}))
    odd = [str(folder / name) for folder in inside for name in inside[folder]["strange"]]
    found = {
        f"images in no class folder: {loose}": loose,
        f"images in folders within class folders: {deeper}": deeper,
        f"files of other kinds ({kinds}): {len(others)}": others,
        f"special files, broken links, links to a parent folder: {first_few(odd)}": odd,
    }
    words = "; ".join(one for one, there in found.items() if there)
    sentences = [f"Not read below {top}: {words}."] if words else []
    names = {*os.listdir(root)} - {"train", "test"} if layout == "train_test" else set()
    beside = [n for n in sorted(names) if n[0] not in "._" and os.path.isdir(root / n)]
    if beside:
        sentences.append(f"Not read beside train and test: {first_few(beside)}.")
    return " ".join(sentences)


def _class_folders(folder: Path) -> tuple[str, ...]:
    """Class folders in the order of their labels: numeric if all are numbers, else as text."""
    names = _entries(folder)["folder"]
    return tuple(names if all(re.fullmatch("[0-9]+", n) for n in names) else sorted(names))


def _images(folder: Path, at_least: int) -> list[str]:
    names = [name for name in _entries(folder)["file"] if _is_image(name)]
    if len(names) < at_least:
        known = " ".join(SUFFIXES)
        raise InputError(f"{folder} holds {len(names)} images, not at least {at_least} ({known})")
    return names


def _is_image(name: str) -> bool:
    return Path(name).suffix.lower() in SUFFIXES and not name.startswith((".", "__"))


def _entries(folder: Path) -> dict[str, list[str]]:
    """Names by kind (see `_kind`), in natural order, without hidden ones."""
    found: dict[str, list[str]] = {"file": [], "folder": [], "strange": []}
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if not entry.name.startswith((".", "__")):
                    found[_kind(entry)].append(entry.name)
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror})") from error
    return {kind: sorted(names, key=natural) for kind, names in found.items()}


def _kind(entry: os.DirEntry) -> str:
    """file, folder, or strange: a pipe, a broken link, or a link to a parent folder."""
    try:
        if entry.is_file():
            return "file"
        if not entry.is_dir():
            return "strange"
    except OSError:  # a link to itself
        return "strange"
    around = os.path.realpath(os.path.dirname(entry.path)) if entry.is_symlink() else ""
    return "strange" if Path(around).is_relative_to(os.path.realpath(entry.path)) else "folder"
