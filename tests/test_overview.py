"""The description of a data set before a search."""

import pytest

from tests.flower_folders import write_image
from vision.data import open_data, open_train
from vision.overview import overview

pytestmark = pytest.mark.usefixtures("no_flowers")


def told(root, counts, cache, size=(32, 24), crop="centre"):
    for name, count in counts.items():
        for number in range(count):
            write_image(root / "train" / name / f"{number}.png", number, size)
    source = open_data(str(root), image_size=8, crop=crop, cache_dir=cache)
    return overview(source, open_train(source)[0])


@pytest.mark.parametrize(
    ("counts", "size", "crop", "words"),
    [
        (
            {"ash": 3, "oak": 3},
            (32, 24),
            "centre",
            ["2, 3 training", "24 to 32", "image_size 16 keeps", "25% cut off"],
        ),
        ({"ash": 2, "oak": 3}, (32, 24), "pad", ["2, from 2 ('ash') to 3", "24 to 32", None]),
        ({"ash": 2, "oak": 8}, (9, 9), "centre", ["2, from 2", "9x9 pixels", "right in 80%"]),
    ],
)
def test_classes_sizes_and_what_an_uneven_folder_does_to_metrics(
    tmp_path, cache, counts, size, crop, words
):
    lines = told(tmp_path / "woods", counts, cache, size, crop)
    text = "\n".join(lines)
    assert all(word in text for word in words if word)
    assert ("cut off" in text) == ("25% cut off" in words)
    assert ("--image_size" in text) == (min(size) >= 16)
    assert ("always answers 'oak'" in text) == ("right in 80%" in words)
