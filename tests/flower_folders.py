"""Folders of images like those of users, for tests of data sources."""

from pathlib import Path

import numpy as np
from PIL import Image
from scipy.io import savemat

# A small Flowers-17 in the published form: each class of 80 numbers has only these images.
TRAIN_NUMBERS = [80 * label + offset for label in range(17) for offset in (1, 10, 2)]
TEST_NUMBERS = [80 * label + offset for label in range(17) for offset in (5,)]


def write_image(path: Path, value: int = 0, size=(16, 16), mode: str = "RGB") -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, (value % 256, value // 256, 7)).convert(mode).save(path)


def make_train_test(root: Path, classes=("1", "2", "10"), n_train: int = 3) -> Path:
    for label, name in enumerate(classes):
        for number in range(n_train):
            write_image(root / "train" / name / f"image_{number + 8}.png", 10 * label + number)
        write_image(root / "test" / name / "image_1.png", 100 + label)
    return root


def make_published(root: Path) -> Path:
    for number in TRAIN_NUMBERS + TEST_NUMBERS:
        write_image(root / "jpg" / f"image_{number:04d}.jpg", number, size=(24, 16))
    splits = {}
    for split in (1, 2, 3):  # splits 2 and 3: train has 2 images of each class, test also 2
        keep = 3 if split == 1 else 2
        train = [n for i, n in enumerate(TRAIN_NUMBERS) if i % 3 < keep]
        test = TEST_NUMBERS + [n for n in TRAIN_NUMBERS if n not in train]
        for name, numbers in (("trn", train[::2]), ("val", train[1::2]), ("tst", test)):
            splits[f"{name}{split}"] = np.array([numbers[::-1]], dtype=np.uint16)
    savemat(root / "datasplits.mat", splits)
    return root


def make_flowers102(root: Path) -> Path:
    """Two classes in the form of Flowers-102: each even number belongs to the first."""
    for number in range(1, 9):
        write_image(root / "jpg" / f"image_{number:05d}.jpg", 10 * number)
    savemat(root / "imagelabels.mat", {"labels": np.array([[2, 1] * 4], np.uint8)})
    parts = {"trnid": [4, 1], "valid": [3, 2], "tstid": [8, 5, 6, 7]}
    savemat(root / "setid.mat", {n: np.array([v], np.uint16) for n, v in parts.items()})
    return root
