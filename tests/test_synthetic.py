"""The embedded flowers: reproducible, consistent between sizes, and neither trivial nor noise."""

from __future__ import annotations

import numpy as np
import pytest

from vision.synthetic import IMAGES_PER_SPECIES, SPECIES, draw_flowers


@pytest.fixture(scope="module")
def flowers() -> tuple[np.ndarray, np.ndarray]:
    return draw_flowers(16, 0)


@pytest.fixture(scope="module")
def top3(flowers) -> float:
    """Top-3 accuracy of a linear model on raw pixels, 60 images a species to fit, 20 to test."""
    linear_model = pytest.importorskip("sklearn.linear_model", reason="scikit-learn is missing")
    images, labels = flowers
    pixels = images.reshape(len(images), -1).astype(np.float32) / 255
    test = np.arange(len(labels)) % 4 == 3
    # Stronger regularisation than scikit-learn's default: fits faster, and no less accurate.
    model = linear_model.LogisticRegression(C=0.1, max_iter=200, tol=1e-2)
    model.fit(pixels[~test], labels[~test])
    best = np.argsort(-model.decision_function(pixels[test]), 1)[:, :3]
    return float((best == labels[test, None]).any(1).mean())


def test_shapes_and_types(flowers):
    images, labels = flowers
    assert images.shape == (1360, 16, 16, 3) and images.dtype == np.uint8
    assert labels.shape == (1360,) and labels.dtype == np.int64
    assert images.min() < 20 and images.max() > 235


def test_every_species_has_its_images_in_order(flowers):
    _, labels = flowers
    assert len(set(SPECIES)) == 17 and all(SPECIES)
    assert labels.tolist() == [label for label in range(17) for _ in range(IMAGES_PER_SPECIES)]


def test_same_seed_same_bytes_and_no_global_stream(flowers):
    np.random.seed(7)
    state = np.random.get_state()[1].copy()
    again, labels = draw_flowers(16, 0)
    assert again.tobytes() == flowers[0].tobytes()
    assert labels.tobytes() == flowers[1].tobytes()
    assert np.array_equal(np.random.get_state()[1], state)


def test_another_seed_draws_every_image_anew(flowers):
    other, _ = draw_flowers(16, 1)
    assert (other != flowers[0]).any(axis=(1, 2, 3)).all()


def test_no_image_twice(flowers):
    assert len({image.tobytes() for image in flowers[0]}) == len(flowers[0])


def test_sizes_show_the_same_drawings(flowers):
    images, labels = draw_flowers(32, 0)
    assert images.shape == (1360, 32, 32, 3) and np.array_equal(labels, flowers[1])
    smaller = images.reshape(1360, 16, 2, 16, 2, 3).mean((2, 4))
    assert np.abs(smaller - flowers[0]).max() <= 1.5  # grey levels, from rounding twice


def test_large_pictures_are_smooth_rather_than_noisy(flowers):
    """Beyond the size of the drawings too; what is difficult is drawn, not sprinkled."""
    images = draw_flowers(80, 0)[0]
    assert images.shape == (1360, 80, 80, 3)
    smaller = images.reshape(1360, 16, 5, 16, 5, 3).mean((2, 4))
    assert np.abs(smaller - flowers[0]).mean() < 3  # grey levels
    for axis in (1, 2):
        assert np.median(np.abs(np.diff(images[::4].astype(np.int16), axis=axis))) <= 4


@pytest.mark.parametrize(("size", "seed"), [(0, 0), (-16, 0), (16, -1)])
def test_impossible_arguments_are_refused(size, seed):
    with pytest.raises(ValueError, match="image_size"):
        draw_flowers(size, seed)


@pytest.mark.parametrize("label", range(17), ids=SPECIES)
def test_images_of_a_species_differ_in_light_colour_and_place(flowers, label):
    """No species can be told by a fixed exposure, hue or position."""
    images = flowers[0][flowers[1] == label] / 255.0
    means = images.mean((1, 2))
    assert means.mean(1).std() > 0.05, "light"
    assert (means - means.mean(1, keepdims=True)).std(0).max() > 0.02, "colour"
    apart = np.abs(images[::2] - images[1::2]).mean((1, 2, 3))
    assert np.median(apart) > 0.12, "place and pose"


def test_species_can_be_told_apart(top3):
    assert top3 > 2 * 3 / 17  # chance is 3 of 17


def test_a_linear_model_is_not_enough(top3):
    assert top3 < 0.75
