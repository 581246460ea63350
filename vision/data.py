"""Flowers-17, any folder of images, or the embedded flowers: as uint8 arrays in memory.

`open_data` resolves a data set and checks it, `open_train` and `open_test` read the images;
vision/folders.py reads the layout of folders. Reading training images does not touch test images.
The source is never written to: decoded images go to `cache_dir`, downloads beside it.
"""

import functools
import hashlib
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from utils import InputError, first_few, nearest
from vision.decoding import DECODING, read_files
from vision.download import flowers17
from vision.folders import FLOWERS17_CLASSES, FORMS, find_layout, left_out, list_files

DEFAULT_CACHE = Path(__file__).resolve().parent.parent / "data" / "cache"
KEYWORDS = ("auto", "flowers17", "synthetic")
DRAWING_SEED = 0  # the embedded flowers are one data set, the same for every seed of a run
TEST_DRAWINGS = 20  # of each species


@dataclass(frozen=True, eq=False)
class Images:
    """Images in memory, ordered by label, then by natural file name."""

    pixels: np.ndarray  # uint8 (N, S, S, 3), RGB
    labels: np.ndarray  # int64 (N,), indices into DataSource.class_names
    names: tuple[str, ...]  # N names such as "1/image_0001.jpg" or "species/07"
    note: str = ""  # files beside them that were not read, if any


@dataclass(frozen=True)
class DataSource:
    """A resolved data set: plain data, for workers and for run.json."""

    kind: str  # "flowers17", "synthetic" or "folder"
    name: str  # for display, such as "Oxford Flowers-17" or the folder
    root: str | None  # absolute path of the folder, None if drawn
    layout: str  # "train_test", "published", "flowers102", "class_folders" or "drawn"
    split: int  # 1, 2 or 3; also determines the split of class folders and drawn images
    image_size: int  # S, pixels
    crop: str  # see `predict.read_image`; drawn images are square
    class_names: tuple[str, ...]  # by label
    note: str  # why `auto` fell back to the embedded flowers, files not read; else empty
    cache_dir: str

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    def to_dict(self) -> dict:
        """For run.json; without cache_dir, which says nothing about the data."""
        record = asdict(self) | {"class_names": list(self.class_names)}
        del record["cache_dir"]
        return record


def open_data(
    dataset: str = "auto",
    data_dir: str | Path | None = None,
    image_size: int = 16,
    split: int = 1,
    crop: str = "centre",
    cache_dir: str | Path | None = None,
) -> DataSource:
    """Find the data set; download Flowers-17 if it is requested and not found.

    `dataset` is auto, flowers17, synthetic or a folder. Raises InputError for every error that
    shows without decoding an image; test images are not looked for.
    """
    dataset, cache = str(dataset), Path(cache_dir or DEFAULT_CACHE).absolute()
    common = {"split": int(split), "image_size": int(image_size), "crop": crop}
    common["cache_dir"] = str(cache)
    if data_dir is not None and dataset not in ("auto", "flowers17"):
        raise InputError(
            f"--dataset {dataset} and --data_dir {data_dir} name two data sets: give only one"
        )
    if dataset == "synthetic":
        return _drawn("", common)
    if dataset not in KEYWORDS:
        if not os.path.isdir(dataset):
            raise InputError(
                f"--dataset {dataset!r} is neither auto, flowers17 or synthetic nor an existing "
                f"folder{nearest(dataset, KEYWORDS)}"
            )
        return _from_folder("--dataset", dataset, common, kind="folder")
    return _flowers17(dataset, data_dir, cache, common)


def open_train(source: DataSource) -> tuple[Images, str]:
    """The training images and their fingerprint, "sha256:..."; raises InputError."""
    return _open(source, "train")


def open_test(source: DataSource) -> tuple[Images, str]:
    """The test images and their fingerprint; only main.py may call this. Raises InputError."""
    return _open(source, "test")


def noted(source: DataSource, *parts: Images) -> DataSource:
    """The source with the notes of its opened parts."""
    notes = [source.note, *(part.note for part in parts)]
    return replace(source, note=" ".join(filter(None, dict.fromkeys(notes))))


def check_folds(labels: np.ndarray, folds: int, class_names: Sequence[str]) -> None:
    """InputError if a class has fewer images than parts are needed; see `parts_of`."""
    classes, counts = np.unique(labels, return_counts=True)
    fewest, label = int(counts.min()), int(classes[counts.argmin()])
    if fewest < (parts := parts_of(folds)):
        advice = f"use at most {fewest} folds"
        if fewest < 2:
            advice = "give it more images, or remove the class"
        raise InputError(
            f"--folds {folds} needs {parts} images of each class to train with, but class "
            f"{class_names[label]!r} has {fewest}: {advice}"
        )


def parts_of(folds: int) -> int:
    """The number of parts of the training images. A single fold is one of three parts."""
    return folds if folds > 1 else 3


def stratified_folds(
    labels: np.ndarray, n_folds: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Validation indices of each fold, sorted int64: together a partition of range(len(labels)).

    The sizes of folds differ by at most one, in each class and in total; see `check_folds`.
    """
    # Images are dealt to the folds in turn across classes, so that remainders spread evenly.
    order = np.concatenate(
        [rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]
    )
    return [np.sort(order[fold::n_folds]).astype(np.int64) for fold in range(n_folds)]


def _flowers17(dataset: str, data_dir: str | Path | None, cache: Path, common: dict) -> DataSource:
    """For "auto" and "flowers17": the given folder, else an earlier download, else a download."""
    origin, folder = "--data_dir", data_dir
    if folder is None and os.environ.get("FLOWERS17_DIR"):
        origin, folder = "FLOWERS17_DIR", os.environ["FLOWERS17_DIR"]
    if folder is not None:  # named by the user: an error in it is never hidden by a fallback
        source = _from_folder(origin, folder, common)
        if dataset == "flowers17" and source.kind != "flowers17":
            raise InputError(
                f"{origin} {folder} is not Flowers-17 (17 classes as train/<class>/, or jpg/ with "
                f"datasplits.mat): for a folder of your own, use --dataset {folder}"
            )
        return source
    try:
        return _from_folder("the earlier download", flowers17(cache.parent), common)
    except InputError as error:
        if dataset == "auto":
            return _drawn(
                f"Flowers-17 is not available ({error}): all results are on embedded, drawn "
                "flowers, not on photographs.",
                common,
            )
        raise InputError(
            f"--dataset flowers17 is not available ({error}): name its folder with --data_dir or "
            "with the environment variable FLOWERS17_DIR, or connect to the network for the "
            "download; or use --dataset synthetic"
        ) from error


def _drawn(note: str, common: dict) -> DataSource:
    from vision.synthetic import SPECIES

    return DataSource(
        kind="synthetic",
        name="embedded flowers (drawn, not photographs)",
        root=None,
        layout="drawn",
        class_names=tuple(SPECIES),
        note=note,
        **common,
    )


def _from_folder(origin: str, folder: str | Path, common: dict, kind: str = "") -> DataSource:
    """The source in `folder`; `origin` names the origin of that path in messages."""
    if not os.path.isdir(folder):
        raise InputError(f"{origin} {folder} is not an existing folder (with {FORMS})")
    root = Path(folder).absolute()
    try:
        layout, classes = find_layout(root)
        if layout in ("train_test", "flowers102") and common["split"] != 1:
            raise InputError(
                f"this is divided already (train/ and test/, or setid.mat), so --split "
                f"{common['split']} does not exist: use --split 1, or the published form with "
                "jpg/ and datasplits.mat"
            )
        list_files(root, layout, "train", common["split"])
    except InputError as error:
        raise InputError(f"{origin} {folder}: {error}") from error
    if not kind:
        flowers = layout == "published" or (layout == "train_test" and len(classes) == 17)
        kind = "flowers17" if flowers else "folder"
    if kind == "flowers17" and classes == tuple(str(number) for number in range(1, 18)):
        classes = FLOWERS17_CLASSES
    return DataSource(
        kind=kind,
        name="Oxford Flowers-17" if kind == "flowers17" else str(root),
        root=str(root),
        layout=layout,
        class_names=classes,
        note="",
        **common,
    )


def _open(source: DataSource, part: str) -> tuple[Images, str]:
    if source.root is None:
        return _draw(source, part)
    files = list_files(Path(source.root), source.layout, part, source.split)
    size, crop = source.image_size, source.crop
    place = hashlib.sha256(os.fsencode(os.path.realpath(source.root))).hexdigest()[:16]
    cache = f"{part}_{size}px_{crop}_split{source.split}_v{DECODING}_{place}.npz"
    found = read_files(files, size, crop, Path(source.cache_dir) / cache)
    kept = [file for file, usable in zip(files, found.usable, strict=True) if usable]
    labels = np.array([label for label, _, _ in kept], dtype=np.int64)
    notes = [left_out(Path(source.root), source.layout, part), found.note]
    absent = [name for i, name in enumerate(source.class_names) if i not in labels]
    if absent and part == "train":
        raise InputError(f"class {absent[0]} has no image that can be used: {found.note}")
    if absent:
        words = f"The {part} part has no image of {first_few(absent)}"
        notes.append(f"{words}: precision and recall are means over the others.")
    names = tuple(name for _, name, _ in kept)
    return Images(found.pixels, labels, names, " ".join(filter(None, notes))), found.fingerprint


@functools.lru_cache(maxsize=1)  # main.py opens both parts
def _drawings(image_size: int) -> tuple[np.ndarray, np.ndarray]:
    from vision.synthetic import draw_flowers

    return draw_flowers(image_size, DRAWING_SEED)


def _draw(source: DataSource, part: str) -> tuple[Images, str]:
    """One part of the embedded flowers; split 1 tests on the last 20 drawings of each species."""
    pixels, labels = _drawings(source.image_size)
    indices, names = [], []
    for label, species in enumerate(source.class_names):
        drawings = np.flatnonzero(labels == label)
        end = len(drawings) - TEST_DRAWINGS * (source.split - 1)
        for number, index in enumerate(drawings):
            if (end - TEST_DRAWINGS <= number < end) == (part == "test"):
                indices.append(index)
                names.append(f"{species}/{number:02d}")
    images = Images(pixels[indices], labels[indices].astype(np.int64), tuple(names))
    digest = hashlib.sha256(images.pixels.tobytes() + images.labels.tobytes())
    return images, "sha256:" + digest.hexdigest()
