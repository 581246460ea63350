"""Which way of a convolution is the fastest on this CPU; docs/LOG.md has the measurements.

They were made with one thread. By the processor's kind, never by timing: results differ in their
last bits between ways, and must not depend on noise.
"""

import functools
from typing import Literal

from utils import first_processor
from vision.winograd import TILE

Way = Literal["winograd", "taps", "torch"]


@functools.cache
def fast_convolutions() -> bool:
    """Whether PyTorch's convolutions are more than twice as fast as its products of matrices here.

    So on AMD's family 26, and presumably later ones: oneDNN uses their vectors of 512 bits, MKL
    does not. A virtual machine may hide these.
    """
    known = first_processor()
    family = known.get("cpu family", "")
    recent = known.get("vendor_id") == "AuthenticAMD" and family.isdecimal() and int(family) >= 26
    return recent and "avx512f" in known.get("flags", "").split()


def fastest_way(
    inputs: int, outputs: int, kernel: int, images: int, height: int, width: int
) -> Way:
    """Of a convolution from so many channels to so many, on a batch of images.

    Winograd's way needs whole tiles, and many of them, as kernels are transformed once for all.
    """
    pairs, tiles = inputs * outputs, images * height * width // TILE**2
    whole, large = height % TILE == width % TILE == 0, pairs * kernel**2 >= 2_000_000
    if fast_convolutions():
        least = {3: 150_000, 5: 16_384}.get(kernel)
        wide = least is not None and pairs >= least and inputs >= 56 and outputs >= 128
        few_products = wide and whole and tiles >= 128
        by_taps = large and kernel == 7 and height == width == 4 and images >= 8
    else:
        wide = kernel in (3, 5) and pairs >= 8192 and min(inputs, outputs) >= 56
        few_products = wide and whole and tiles >= 48
        by_taps = large
    return "winograd" if few_products else "taps" if by_taps else "torch"
