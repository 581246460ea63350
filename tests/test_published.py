"""The figures of the first version: precision by batch, and its networks trained again."""

import numpy as np
import pytest

from benchmarks.published import precision_per_batch, published_order, row
from tests.command_line import evaluate
from utils import read_json

pytestmark = pytest.mark.usefixtures("no_flowers")


def test_precision_per_batch_by_hand():
    """Batches of 3 and 2 images, 3 classes: (1/2 + 1 + 0) / 3 and (0 + 0 + 1/2) / 3."""
    guess, labels = np.array([0, 0, 1, 2, 2]), np.array([0, 1, 1, 2, 0])
    assert precision_per_batch(guess, labels, 3, 3) == pytest.approx((3 * 0.5 + 2 / 6) / 5)


def test_published_order_is_by_text():
    names = [f"{label}/image_{i}.jpg" for label in (1, 2, 10, 11) for i in (9, 10)]
    assert [names[i] for i in published_order(names)] == [
        *("1/image_10.jpg", "1/image_9.jpg", "10/image_10.jpg", "10/image_9.jpg"),
        *("11/image_10.jpg", "11/image_9.jpg", "2/image_10.jpg", "2/image_9.jpg"),
    ]


def test_a_network_stands_beside_its_published_figures(folder, config):
    """The network SMALL, whose batches are larger than the test split: it is one batch."""
    assert evaluate("-c", config, "-t", "-e", 1, "--dataset", folder) == 0
    file = config.parent / "result_test.json"
    now = read_json(file)["metrics"]
    then = {"test_top3": 0.75, "test_precision_batch": 0.5}
    top3, precision = f"{now['top3']:.3f}", f"{now['precision']:.3f}"
    assert row("small", then, file) == (
        f"| small | 0.750 \\| {top3} | 0.500 \\| {precision} | {precision} |"
    )
