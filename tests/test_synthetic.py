"""The embedded flowers: reproducible, consistent between sizes, and neither trivial nor noise."""

import numpy as np
import pytest

from vision import synthetic
from vision.synthetic import IMAGES_PER_SPECIES, SPECIES, draw_flowers


@pytest.fixture(scope="module")
def flowers():
    return draw_flowers(16, 0)


def test_every_species_has_its_images_in_order_and_none_twice(flowers):
    images, labels = flowers
    assert images.shape == (1360, 16, 16, 3) and images.dtype == np.uint8
    assert images.min() < 20 and images.max() > 235
    assert len(set(SPECIES)) == 17 and labels.dtype == np.int64
    assert labels.tolist() == [label for label in range(17) for _ in range(IMAGES_PER_SPECIES)]
    assert len({image.tobytes() for image in images}) == len(images)


def test_a_seed_gives_the_same_bytes_and_another_draws_every_image_anew(flowers, monkeypatch):
    monkeypatch.setattr(synthetic, "_TABLE", synthetic._TABLE[:2])
    first = flowers[0][: 2 * IMAGES_PER_SPECIES]
    assert draw_flowers(16, 0)[0].tobytes() == first.tobytes()
    assert (draw_flowers(16, 1)[0] != first).any(axis=(1, 2, 3)).all()


def test_a_linear_model_tells_species_apart_but_is_not_enough(flowers):
    """Ridge regression on pixels of 8x8 images, 60 per species to fit and 20 to test."""
    images, labels = flowers
    pixels = images.reshape(-1, 8, 2, 8, 2, 3).mean((2, 4)).reshape(len(images), -1) / 255 - 0.5
    test = np.arange(len(labels)) % 4 == 3
    inputs, wanted = pixels[~test], np.eye(len(SPECIES))[labels[~test]]
    weights = np.linalg.solve(inputs.T @ inputs + 10 * np.eye(192), inputs.T @ wanted)
    best = np.argsort(-pixels[test] @ weights, axis=1)[:, :3]
    top3 = (best == labels[test, None]).any(axis=1).mean()
    assert 2 * 3 / 17 < top3 < 0.75  # chance is 3 of 17
