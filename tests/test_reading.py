"""Image files as pixels: modes, depths, rotation, and the three crops."""

import itertools
import struct

import numpy as np
import pytest
from PIL import Image, ImageOps

from predict import CROPS, Mistake, read_image
from tests.flower_folders import write_image


def test_every_kind_of_image_becomes_rgb(tmp_path):
    for mode in ("RGB", "RGBA", "L", "LA", "P", "1"):
        write_image(tmp_path / "image.png", 255, mode=mode)
        pixels = read_image(tmp_path / "image.png", 16)
        assert pixels.shape == (16, 16, 3) and pixels.dtype == np.uint8
        assert mode not in ("RGB", "RGBA") or (pixels == (255, 0, 7)).all()


def test_sixteen_bit_greyscale_keeps_its_brightness(tmp_path):
    Image.fromarray(np.full((8, 8), 257 * 100, np.uint16)).save(tmp_path / "image.png")
    assert (read_image(tmp_path / "image.png", 8) == 100).all()


@pytest.mark.parametrize("kind, white", [("F", 1.0), ("I", 65535)])
def test_thirty_two_bits_keep_their_brightness(tmp_path, kind, white):
    shares = np.tile(np.linspace(0, 1, 8), (8, 1)) * white
    pixels = shares.astype(np.float32 if kind == "F" else np.int32)
    Image.fromarray(pixels).save(tmp_path / "image.tif")
    decoded = read_image(tmp_path / "image.tif", 8)
    assert np.abs(decoded[:, :, 1] - np.linspace(0, 255, 8)).max() <= 1


def test_pixels_whose_white_nobody_knows_are_refused(tmp_path):
    for dtype, least, most in (
        (np.float32, 0, 255),
        (np.float32, -1, 1),
        (np.float32, 0, np.nan),
        (np.int32, 0, 255),
        (np.int32, -1, 300),
        (np.int32, 0, 65536),
    ):
        pixels = np.full((8, 8), least, dtype)
        pixels[4:] = most
        Image.fromarray(pixels).save(tmp_path / "image.tif")
        with pytest.raises(Mistake, match=r"image.tif cannot .* 32 bits go from .* allowed"):
            read_image(tmp_path / "image.tif", 8)


def test_central_square_is_cropped_and_the_resize_is_antialiased(tmp_path):
    stripes = np.zeros((64, 128, 3), np.uint8)
    stripes[:, :32] = stripes[:, 96:] = (255, 0, 0)  # outside of the central square
    stripes[:, 32:96:2] = 255  # finer than the result's pixels: must become an even grey
    Image.fromarray(stripes).save(tmp_path / "image.png")
    pixels = read_image(tmp_path / "image.png", 16)
    assert np.ptp(pixels, axis=2).max() == 0 and (np.abs(pixels[:, 2:-2] - 127.5) < 12).all()


def test_image_of_the_right_size_is_not_resampled(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 256, (16, 20, 3), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "image.png")
    assert np.array_equal(read_image(tmp_path / "image.png", 16), pixels[:, 2:18])


@pytest.mark.parametrize("size", [(64, 128), (128, 64)])
def test_pad_keeps_the_whole_image_between_black_bars(tmp_path, size):
    Image.new("RGB", size, (200, 100, 50)).save(tmp_path / "image.png")
    pixels = read_image(tmp_path / "image.png", 16, "pad")
    pixels = pixels if size[0] < size[1] else pixels.transpose(1, 0, 2)
    assert (pixels[:, 4:12] == (200, 100, 50)).all()
    assert not pixels[:, :4].any() and not pixels[:, 12:].any()


def test_stretch_keeps_all_and_centre_cuts_the_ends_off(tmp_path):
    ends = np.zeros((32, 128, 3), np.uint8)
    ends[:, 96:] = 255
    Image.fromarray(ends).save(tmp_path / "image.png")
    assert (read_image(tmp_path / "image.png", 8, "stretch")[:, 7] == 255).all()
    assert not read_image(tmp_path / "image.png", 8, "centre").any()


@pytest.mark.parametrize("crop", CROPS)
def test_every_shape_becomes_a_square(tmp_path, crop):
    for size in ((1, 1), (3000, 1), (1, 3000)):
        Image.new("RGB", size, (9, 9, 9)).save(tmp_path / "image.png")
        pixels = read_image(tmp_path / "image.png", 16, crop)
        assert pixels.shape == (16, 16, 3) and pixels.max() == 9


def test_an_image_that_lies_on_its_side_is_set_upright(tmp_path):
    pixels = np.zeros((8, 8, 3), np.uint8)
    pixels[0] = 255
    image = Image.fromarray(pixels)
    for turn, kind in itertools.product(range(1, 10), ("png", "tif")):  # 9 is none
        exif = Image.Exif()
        exif[0x0112] = turn
        image.save(file := tmp_path / f"image.{kind}", exif=exif)
        with Image.open(file) as saved:
            expected = np.asarray(ImageOps.exif_transpose(saved))
        assert np.array_equal(read_image(file, 8), expected)
    # The resolution (0x011A) as text makes Pillow's own function fail; the orientation is 6.
    entries = struct.pack("<HHHII", 2, 0x0112, 3, 1, 6) + struct.pack(
        "<HHI4s", 0x011A, 2, 4, b"no!"
    )
    odd = b"Exif\0\0II*\0\x08\0\0\0" + entries + bytes(4)
    image.save(tmp_path / "image.jpg", exif=odd, quality=95)
    assert (read_image(tmp_path / "image.jpg", 8)[:, 7] > 200).all()
