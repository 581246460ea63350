"""The figures of the first version: precision by batch, and its networks trained again."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.published import precision_per_batch, published_order, row
from tests.command_line import evaluate
from utils import read_json

pytestmark = pytest.mark.usefixtures("no_flowers")


def by_loops(predicted, labels, classes, batch_size):
    total = 0.0
    for start in range(0, len(labels), batch_size):
        batch = list(zip(predicted, labels, strict=True))[start : start + batch_size]
        precisions = []
        for one in range(classes):
            hits = [label == one for guess, label in batch if guess == one]
            precisions.append(sum(hits) / len(hits) if hits else 0.0)
        total += len(batch) * sum(precisions) / classes
    return total / len(labels)


@settings(max_examples=25, deadline=None)
@given(st.integers(1, 6), st.integers(1, 40), st.integers(1, 50), st.integers(0, 2**32 - 1))
def test_precision_per_batch_is_that_of_the_loop(classes, images, batch_size, seed):
    rng = np.random.default_rng(seed)
    predicted, labels = rng.integers(0, classes, (2, images))
    value = precision_per_batch(predicted, labels, classes, batch_size)
    assert value == pytest.approx(by_loops(predicted, labels, classes, batch_size), abs=1e-12)


def test_published_order_is_by_text():
    names = [f"{label}/image_{i}.jpg" for label in (1, 2, 10, 11) for i in (9, 10)]
    assert [names[i] for i in published_order(names)] == [
        *("1/image_10.jpg", "1/image_9.jpg", "10/image_10.jpg", "10/image_9.jpg"),
        *("11/image_10.jpg", "11/image_9.jpg", "2/image_10.jpg", "2/image_9.jpg"),
    ]


def test_a_network_stands_beside_its_published_figures(folder, config):
    """Of SMALL, whose batches are larger than the test part: the whole split is one batch."""
    assert evaluate("-c", config, "-t", "-e", 1, "--dataset", folder) == 0
    file = config.parent / "result_test.json"
    now = read_json(file)["metrics"]
    then = {"test_top3": 0.75, "test_precision_batch": 0.5}
    top3, precision = f"{now['top3']:.3f}", f"{now['precision']:.3f}"
    assert row("small", then, file) == (
        f"| small | 0.750 \\| {top3} | 0.500 \\| {precision} | {precision} |"
    )
