"""The embedded flowers: reproducible, consistent between sizes, and neither trivial nor noise."""

import functools

import numpy as np
import pytest

from vision import synthetic
from vision.synthetic import IMAGES_PER_SPECIES, SPECIES, draw_flowers


@pytest.fixture(scope="module", autouse=True)
def drawn_once():
    """Drawings do not depend on the size of the images: all tests share them."""
    draw = synthetic._draw_species
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(synthetic, "_draw_species", functools.cache(draw))
        yield draw


@pytest.fixture(scope="module")
def flowers(drawn_once):
    return draw_flowers(16, 0)


def test_every_species_has_its_images_in_order_and_none_twice(flowers):
    images, labels = flowers
    assert images.shape == (1360, 16, 16, 3) and images.dtype == np.uint8
    assert images.min() < 20 and images.max() > 235
    assert len(set(SPECIES)) == 17 and labels.dtype == np.int64
    assert labels.tolist() == [label for label in range(17) for _ in range(IMAGES_PER_SPECIES)]
    assert len({image.tobytes() for image in images}) == len(images)


def test_a_seed_gives_the_same_bytes_and_another_draws_every_image_anew(
    flowers, drawn_once, monkeypatch
):
    monkeypatch.setattr(synthetic, "_draw_species", drawn_once)
    monkeypatch.setattr(synthetic, "_TABLE", synthetic._TABLE[:2])
    np.random.seed(7)
    state = np.random.get_state()[1].copy()
    first = flowers[0][: 2 * IMAGES_PER_SPECIES]
    assert draw_flowers(16, 0)[0].tobytes() == first.tobytes()
    assert np.array_equal(np.random.get_state()[1], state)
    assert (draw_flowers(16, 1)[0] != first).any(axis=(1, 2, 3)).all()


def test_sizes_show_the_same_drawings_and_large_ones_are_smooth(flowers):
    """Beyond the size of the drawings too; what is difficult is drawn, not sprinkled."""
    half = draw_flowers(32, 0)[0].reshape(1360, 16, 2, 16, 2, 3).mean((2, 4))
    assert np.abs(half - flowers[0]).max() <= 1.5  # grey levels, from rounding twice
    large = draw_flowers(80, 0)[0]
    assert large.shape == (1360, 80, 80, 3)
    part = large[::4]
    smaller = part.reshape(-1, 16, 5, 16, 5, 3).mean((2, 4))
    assert np.abs(smaller - flowers[0][::4]).mean() < 3
    for axis in (1, 2):
        assert np.median(np.abs(np.diff(part.astype(np.int16), axis=axis))) <= 4


def test_images_of_a_species_differ_in_light_colour_and_place(flowers):
    """No species can be told by a fixed exposure, hue or position."""
    for label, name in enumerate(SPECIES):
        images = flowers[0][flowers[1] == label] / 255.0
        means = images.mean((1, 2))
        assert means.mean(1).std() > 0.05, f"light of {name}"
        assert (means - means.mean(1, keepdims=True)).std(0).max() > 0.02, f"colour of {name}"
        apart = np.abs(images[::2] - images[1::2]).mean((1, 2, 3))
        assert np.median(apart) > 0.12, f"place and pose of {name}"


def test_a_linear_model_tells_species_apart_but_is_not_enough():
    """Ridge regression on pixels of 8x8 images, 60 of a species to fit and 20 to test."""
    images, labels = draw_flowers(8, 0)
    pixels = images.reshape(len(images), -1) / 255 - 0.5
    test = np.arange(len(labels)) % 4 == 3
    inputs, wanted = pixels[~test], np.eye(len(SPECIES))[labels[~test]]
    weights = np.linalg.solve(inputs.T @ inputs + 10 * np.eye(192), inputs.T @ wanted)
    best = np.argsort(-pixels[test] @ weights, axis=1)[:, :3]
    top3 = (best == labels[test, None]).any(axis=1).mean()
    assert 2 * 3 / 17 < top3 < 0.75  # chance is 3 of 17
