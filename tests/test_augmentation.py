"""Augmentation of training images: its effects, and its own generator."""

import numpy as np
import pytest
import torch

from training.augmentation import Augmentation, as_floats

SIDE, COUNT = 8, 200
FILL = torch.tensor([0.2, 0.5, 0.8])


def generator(seed=1):
    return torch.Generator().manual_seed(seed)


@pytest.fixture(scope="module")
def images():
    return as_floats(torch.randint(256, (COUNT, SIDE, SIDE, 3), generator=generator(9)))


def as_bytes(images):
    return (images * 255).round().to(torch.uint8)


def batch(images, seed=1, **what):
    numbers = torch.arange(COUNT)
    x, weights = Augmentation(**what).batch(as_bytes(images), numbers, FILL, generator(seed))
    assert x.shape == (COUNT, 3, SIDE, SIDE)
    assert x.is_contiguous(memory_format=torch.channels_last)
    return x.permute(0, 2, 3, 1), weights


def test_nothing_switched_on_changes_and_draws_nothing(images):
    given = generator()
    before = given.get_state()
    numbers = torch.tensor([5, 3, 3])
    x, weights = Augmentation().batch(as_bytes(images), numbers, FILL, given)
    assert torch.equal(x.permute(0, 2, 3, 1), images[numbers]) and weights is None
    assert torch.equal(given.get_state(), before)


def test_half_of_the_images_are_mirrored_and_the_others_are_as_they_were(images):
    x, _ = batch(images, flip=True)
    mirrored = [torch.equal(a, b.flip(1)) for a, b in zip(x, images, strict=True)]
    same = [torch.equal(a, b) for a, b in zip(x, images, strict=True)]
    assert all(a != b for a, b in zip(mirrored, same, strict=True))
    assert 0.35 < np.mean(mirrored) < 0.65


def test_shifts_are_whole_pixels_with_a_reflected_border(images):
    x, _ = batch(images, shift=0.25)
    padded = torch.nn.functional.pad(images.permute(0, 3, 1, 2), (2,) * 4, mode="reflect")
    padded = padded.permute(0, 2, 3, 1)
    shifted = torch.zeros(COUNT, dtype=torch.bool)
    for row in range(5):
        for column in range(5):
            window = padded[:, row : row + SIDE, column : column + SIDE]
            same = (x == window).flatten(1).all(dim=1)
            assert same.any(), f"no image is shifted by {row - 2} and {column - 2}"
            shifted |= same
    assert shifted.all()


def test_cutout_fills_a_square_with_the_mean_colour(images):
    x, _ = batch(images, cutout=0.5)
    holes = (x == FILL).all(dim=3)
    assert torch.equal(x[~holes], images[~holes])
    rows, columns = holes.any(dim=2).sum(dim=1), holes.any(dim=1).sum(dim=1)
    assert torch.equal(holes.sum(dim=(1, 2)), rows * columns)  # each hole is a rectangle
    assert rows.max() == columns.max() == 4 and rows.min() >= 2  # smaller only at the border


def test_colours_change_by_image_and_within_bounds(images):
    x, _ = batch(images, color=0.3)
    ratios = x.mean(dim=(1, 2, 3)) / images.mean(dim=(1, 2, 3))
    assert ratios.min() > 0.69 and ratios.max() < 1.31 and ratios.std() > 0.1
    grey = torch.full_like(images, 0.5)
    x, _ = batch(grey, color=0.3)
    assert torch.allclose(x, x.mean(dim=(1, 2, 3), keepdim=True).expand_as(x), atol=1e-6)


def test_mixup_mixes_in_the_image_before(images):
    x, weights = batch(images, mixup=0.5)
    w = weights[:, None, None, None]
    assert torch.allclose(x, (1 - w) * images + w * images.roll(1, 0), atol=1e-6)
    assert weights.min() >= 0 and weights.max() <= 0.5
    # The share of Beta(a, a) below x is close to (2 x)^a / 2 for a up to 1, at both ends.
    from scipy.stats import beta

    shares = np.minimum(draws := beta(0.5, 0.5).rvs(4000, random_state=1), 1 - draws)
    assert abs(weights.mean() - shares.mean()) < 0.05


def test_all_together_depend_on_their_generator_only(images):
    what = {"flip": True, "shift": 0.2, "cutout": 0.4, "color": 0.2, "mixup": 0.3}
    before = torch.get_rng_state()
    first, second, other = (batch(images, seed, **what)[0] for seed in (1, 1, 2))
    assert torch.equal(first, second) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), before)
