"""Image files in folders: which form a folder has, which files are in its parts, one file decoded.

The listing of the training part never looks at the test part: with the layout train/<class>/ +
test/<class>/ nothing below test/ is opened, listed or asked for, not even whether it exists.
"""

import hashlib
import os
import re
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps
from scipy.io import loadmat

from utils import InputError
from vision.download import BASE_URL, SPLITS

FLOWERS17_CLASSES = (  # in the order of the class numbers; the archive has none of these names
    "daffodil", "snowdrop", "lily of the valley", "bluebell", "crocus", "iris", "tiger lily",
    "tulip", "fritillary", "sunflower", "daisy", "colts' foot", "dandelion", "cowslip",
    "buttercup", "windflower", "pansy",
)  # fmt: skip
PER_CLASS = 80  # images of a class, in the order of their numbers
TEST_SHARE = 0.25  # of a class, where a folder of class folders is divided here
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".gif", ".webp", ".ppm", ".tif", ".tiff")
FORMS = "train/<class>/ and test/<class>/, <class>/, or jpg/ with datasplits.mat"

File = tuple[int, str, Path]  # label, name such as "1/image_0001.jpg", where it is


def find_layout(root: Path) -> tuple[str, tuple[str, ...]]:
    """("train_test" | "published" | "class_folders", class names in the order of the labels)."""
    if os.path.isdir(root / "train") and (classes := _class_folders(root / "train")):
        layout = "train_test"
    elif os.path.isdir(root / "jpg") and os.path.isfile(root / SPLITS):
        return "published", FLOWERS17_CLASSES
    else:
        layout, classes = "class_folders", _class_folders(root)
        if classes == ("jpg",):
            raise InputError(f"jpg/ is there, but not {SPLITS} (to be had from {BASE_URL})")
        if {"train", "test"} <= set(classes):
            raise InputError("train/ holds no class folders, so no image has a label")
    if len(classes) < 2:
        raise InputError(f"{len(classes)} class folders, where at least 2 are needed, as {FORMS}")
    return layout, classes


def list_files(root: Path, layout: str, part: str, split: int) -> list[File]:
    """The files of `part`, "train" or "test", by label, then by natural file name.

    `split` is one of those published; class folders are divided by it, too. Raises InputError
    if a class has no image to train with, or if the test part has none at all.
    """
    if layout == "published":
        return _published_files(root, part, split)
    if layout == "class_folders":
        return _divided_files(root, part, split)
    classes = _class_folders(root / "train")
    present = classes if part == "train" else _class_folders(root / "test")
    if not present:
        raise InputError(f"{root / part} holds no class folders")
    if unknown := set(present) - set(classes):
        raise InputError(f"{root / part} has the class {min(unknown)!r}, which train/ has not")
    files = []
    for name in present:
        images = _images(root / part / name, 1)
        files += [(classes.index(name), f"{name}/{i}", root / part / name / i) for i in images]
    return files


def fingerprint_files(files: list[File]) -> str:
    """Of names, sizes and contents: the same on each machine, whatever the folder is called.

    With the published layout the names carry the numbers of the split.
    """
    digest = hashlib.sha256()
    for _, name, path in sorted(files, key=lambda file: file[1]):
        try:
            content = path.read_bytes()
        except OSError as error:
            raise InputError(f"{path} cannot be read ({error.strerror})") from error
        line = f"{name}\0{len(content)}\0{hashlib.sha256(content).hexdigest()}\n"
        digest.update(line.encode(errors="surrogateescape"))
    return "sha256:" + digest.hexdigest()


def decode(path: Path, size: int) -> np.ndarray:
    """The central square of an image, antialiased to uint8 (size, size, 3)."""
    try:
        with Image.open(path) as file:
            image = ImageOps.exif_transpose(file)
        if image.mode.startswith("I"):  # 16 bits, which Pillow would clip to white
            image = Image.fromarray((np.asarray(image) // 257).clip(0, 255).astype(np.uint8))
        if image.mode == "P":  # a palette with transparency is not converted in one step
            image = image.convert("RGBA")
        image = image.convert("RGB")
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
        # Pillow's bilinear filter widens when it reduces; at the same size it only copies.
        return np.array(image.resize((size, size), Image.Resampling.BILINEAR))
    except Exception as error:  # Pillow's readers raise nearly anything on a broken file
        raise InputError(f"{path} cannot be decoded as an image ({error})") from error


def _divided_files(root: Path, part: str, split: int) -> list[File]:
    """One part of a folder of class folders, each class divided by a permutation of its own."""
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
    """One part of jpg/image_0001.jpg ... by datasplits.mat, which counts from 1."""
    path = root / SPLITS
    try:
        splits = loadmat(path)
        trn, val, tst = (splits[f"{n}{split}"].ravel().astype(int) for n in ("trn", "val", "tst"))
    except Exception as error:  # scipy has half a dozen types of error for a broken file
        raise InputError(f"{path} cannot be read ({error})") from error
    numbers = np.concatenate([trn, val, tst]) - 1
    n_images = PER_CLASS * len(FLOWERS17_CLASSES)
    if not len(numbers) or numbers.min() < 0 or numbers.max() >= n_images:
        raise InputError(f"{path} has numbers outside of 1 to {n_images}")
    if len(set(numbers)) < len(numbers):
        raise InputError(f"{path} has an image twice in split {split}")
    n_train = len(trn) + len(val)
    files = []
    for number in sorted(numbers[:n_train] if part == "train" else numbers[n_train:]):
        label, image = int(number) // PER_CLASS, f"image_{number + 1:04d}.jpg"
        if not os.path.isfile(root / "jpg" / image):
            raise InputError(f"{root / 'jpg' / image} is missing")
        files.append((label, f"{label + 1}/{image}", root / "jpg" / image))
    return files


def _class_folders(folder: Path) -> tuple[str, ...]:
    """Class folders in the order of their labels: by number if all are numbers, else as text."""
    names = _scan(folder, folders=True)
    return tuple(names if all(re.fullmatch("[0-9]+", n) for n in names) else sorted(names))


def _images(folder: Path, at_least: int) -> list[str]:
    names = [n for n in _scan(folder, folders=False) if Path(n).suffix.lower() in SUFFIXES]
    if len(names) < at_least:
        known = " ".join(SUFFIXES)
        raise InputError(f"{folder} holds {len(names)} images, not at least {at_least} ({known})")
    return names


def _scan(folder: Path, folders: bool) -> list[str]:
    """Names of the folders or of the files in `folder`, in natural order, without hidden ones."""
    try:
        with os.scandir(folder) as entries:
            names = [e.name for e in entries if e.is_dir() == folders]
    except OSError as error:
        raise InputError(f"{folder} cannot be read ({error.strerror})") from error
    return sorted((n for n in names if not n.startswith((".", "__"))), key=_natural)


def _natural(name: str) -> tuple:
    """Sort key by which image_2 comes before image_10; the name itself settles ties."""
    return [int(p) if p.isdecimal() else p for p in re.split(r"([0-9]+)", name)], name
