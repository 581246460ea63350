"""What is told of a data set before a search."""

import numpy as np
import pytest

from tests.flower_folders import write_image
from vision.data import Images, open_data, open_train
from vision.overview import overview

pytestmark = pytest.mark.usefixtures("no_flowers")


def told(root, counts, cache, size=(32, 24), crop="centre"):
    for name, count in counts.items():
        for number in range(count):
            write_image(root / "train" / name / f"{number}.png", number, size)
    source = open_data(str(root), image_size=8, crop=crop, cache_dir=cache)
    return overview(source, open_train(source)[0])


def test_an_even_folder_takes_two_lines(tmp_path, cache):
    assert told(tmp_path / "woods", {"ash": 3, "oak": 3}, cache) == [
        "classes: 2, 3 training images each",
        "sizes: sides of 24 to 32 pixels, read as 8x8; the centre is kept, 25% cut off "
        "(--crop pad or stretch keeps all)",
    ]


def test_an_uneven_one_says_what_that_does_to_metrics(tmp_path, cache):
    classes, sizes, uneven = told(
        tmp_path / "woods", {"ash": 2, "elm": 5, "oak": 8}, cache, (9, 9)
    )
    assert classes == "classes: 3, from 2 ('ash') to 8 ('oak') training images each"
    assert sizes == "sizes: 9x9 pixels, read as 8x8"
    assert "always answers 'oak' is right in 53%" in uneven and "mean over classes" in uneven


def test_nothing_is_cut_off_where_all_is_kept(tmp_path, cache):
    lines = told(tmp_path / "woods", {"ash": 2, "oak": 3}, cache, crop="pad")
    assert lines[1] == "sizes: sides of 24 to 32 pixels, read as 8x8" and len(lines) == 2


def test_drawn_flowers_have_no_files(cache):
    source = open_data("synthetic", image_size=8, cache_dir=cache)
    images = Images(np.zeros((34, 8, 8, 3), np.uint8), np.repeat(np.arange(17), 2), ("",) * 34)
    assert overview(source, images) == ["classes: 17, 2 training images each"]
