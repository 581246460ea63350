"""One image file as the pixels that a network sees: the same in training and in every export.

`read_image` depends on the file, the size and the crop only.
"""

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from utils import InputError

CROPS = ("centre", "pad", "stretch")


def read_image(path: Path, size: int, crop: str = "centre") -> np.ndarray:
    """An image, upright, antialiased to uint8 (size, size, 3), RGB; InputError if it is none.

    crop: how it becomes a square. "centre" cuts off what is outside the central square, "pad"
    keeps the whole image between black bars, "stretch" keeps it all without its proportions.
    """
    try:
        with Image.open(path) as file:
            kind, image = file.format, ImageOps.exif_transpose(file)
        if image.mode.startswith("I") or image.mode == "F":
            image = Image.fromarray(_eight_bits(np.asarray(image), image.mode, kind))
        if image.mode == "P":  # a palette with transparency is not converted in one step
            image = image.convert("RGBA")
        return np.array(_square(image.convert("RGB"), size, crop))
    except Exception as error:  # Pillow's readers raise nearly anything on a broken file
        raise InputError(f"{path} cannot be decoded as an image ({error})") from error


def _square(image: Image.Image, size: int, crop: str) -> Image.Image:
    """See `read_image`. Pillow's bilinear filter widens when it reduces: it antialiases."""
    width, height = size, size
    if crop == "centre":
        side = min(image.size)
        left, top = (image.width - side) // 2, (image.height - side) // 2
        image = image.crop((left, top, left + side, top + side))
    elif crop == "pad":
        width, height = (max(1, round(side * size / max(image.size))) for side in image.size)
    elif crop != "stretch":
        raise ValueError(f"crop is {crop!r}; allowed is {', '.join(CROPS)}")
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    if (width, height) == (size, size):
        return image
    framed = Image.new("RGB", (size, size))
    framed.paste(image, ((size - width) // 2, (size - height) // 2))
    return framed


def _eight_bits(pixels: np.ndarray, mode: str, kind: str | None) -> np.ndarray:
    """Pixels of 16 or 32 bits as uint8; Pillow itself would clip them to black or white.

    Of 32 bits the file does not say what white is: fractions are taken for shares of it, whole
    numbers for 16 bits, and ValueError tells what can be neither.
    """
    least, most = pixels.min(), pixels.max()
    words = f"its pixels of 32 bits go from {least:g} to {most:g}"
    if mode == "F":
        if not (0 <= least and most <= 1):  # nor if one is NaN
            raise ValueError(f"{words}; allowed are fractions from 0 to 1, or 8 or 16 bits")
        return np.round(pixels * 255).astype(np.uint8)
    unsure = mode == "I" and kind != "PPM" and 0 < most <= 255  # white would be all but black
    if least < 0 or most > 65535 or unsure:
        raise ValueError(f"{words}; allowed is up to 65535, and more than 255, or 8 or 16 bits")
    return (pixels // 257).astype(np.uint8)
