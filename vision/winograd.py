"""Convolutions with a 3x3 kernel in a quarter of the products, on a CPU.

Winograd's minimal filtering, F(4x4, 3x3) of Lavin and Gray 2016, "Fast Algorithms for
Convolutional Neural Networks", section 4: a tile of 4x4 outputs needs 36 products a pair of
channels instead of 144, of a window of 6x6 inputs and of the kernel, both transformed. What
remains are products of matrices. The sums are the same but for rounding: in float32 outputs and
gradients differ by about 1e-5 of their largest value. docs/LOG.md has the rates.
"""

import functools
from collections.abc import Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional

TILE, WINDOW, KERNEL = 4, 6, 3  # sides in pixels
# From which it pays: pairs of channels, channels on either side, and tiles of a batch, as kernels
# are transformed once for all of them.
PAIRS, CHANNELS, LEAST_TILES = 8192, 56, 48
TILES = 64  # at a time, so that what is made of them stays in the processor's cache

# The names are those of the paper: outputs are A^T ((G g G^T) * (B^T d B)) A, by element.
_A_T = [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]]
_G_24 = [[6, 0, 0], [-4, -4, -4], [-4, 4, -4], [1, 2, 4], [1, -2, 4], [0, 0, 24]]  # 24 G
_B_T = [
    *([4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0]),
    *([0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]),
]


def suits(inputs: int, outputs: int, kernel: int, images: int, height: int, width: int) -> bool:
    """Whether a convolution of so many channels on so many pixels is faster in this way."""
    wide = min(inputs, outputs) >= CHANNELS and inputs * outputs >= PAIRS
    whole = height % TILE == 0 and width % TILE == 0
    tiles = images * (height // TILE) * (width // TILE)
    return kernel == KERNEL and wide and whole and tiles >= LEAST_TILES


def convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W), (D, C, 3, 3), (D,) -> (N, D, H, W), channels_last; padding 1.

    H and W are multiples of 4.
    """
    return _Winograd.apply(x, weight, bias, torch.is_grad_enabled())


@functools.cache
def _transforms(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of products to outputs (16, 36), of kernels (36, 9) and of windows (36, 36).

    Rows and columns in one go: for pixels in one dimension, B^T d B is the Kronecker product of
    B^T with itself times d.
    """
    a, g, b = (torch.tensor(rows, dtype=torch.float64) for rows in (_A_T, _G_24, _B_T))
    outputs, kernels, windows = (torch.kron(one, one).to(dtype) for one in (a, g / 24, b))
    return outputs, kernels, windows


def _parts(images: int, tiles: int) -> Iterator[slice]:
    """Images that are done at a time, if each has so many tiles."""
    step = max(1, TILES // tiles)
    return (slice(start, start + step) for start in range(0, images, step))


class _Winograd(torch.autograd.Function):
    """See `convolve`. Backwards go the same steps, each transposed."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, learning: bool
    ) -> torch.Tensor:
        (n, c, height, width), d = x.shape, len(weight)
        rows, columns = height // TILE, width // TILE
        of_outputs, of_kernels, of_windows = _transforms(x.dtype)
        kernels = of_kernels @ weight.permute(2, 3, 1, 0).reshape(KERNEL**2, c * d)
        kernels = kernels.view(WINDOW**2, c, d)
        padded = functional.pad(x.permute(0, 2, 3, 1), (0, 0, 1, 1, 1, 1))
        windows = padded.unfold(1, WINDOW, TILE).unfold(2, WINDOW, TILE).permute(4, 5, 0, 1, 2, 3)
        out = torch.empty((n, d, height, width), dtype=x.dtype, memory_format=torch.channels_last)
        placed, seen = out.permute(0, 2, 3, 1).view(n, rows, TILE, columns, TILE, d), []
        for part in _parts(n, rows * columns):
            values = of_windows @ windows[:, :, part].reshape(WINDOW**2, -1)
            values = values.view(WINDOW**2, -1, c)
            if learning:
                seen.append(values)
            tiles = of_outputs @ torch.bmm(values, kernels).view(WINDOW**2, -1)
            tiles = tiles.view(TILE, TILE, -1, rows, columns, d).permute(2, 3, 0, 4, 1, 5)
            torch.add(tiles, bias, out=placed[part])
        ctx.save_for_backward(kernels, *seen)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        kernels, *seen = ctx.saved_tensors
        (n, d, height, width), c = gradient.shape, kernels.shape[1]
        rows, columns = height // TILE, width // TILE
        of_outputs, of_kernels, of_windows = (t.t() for t in _transforms(gradient.dtype))
        tiles = gradient.permute(0, 2, 3, 1).reshape(n, rows, TILE, columns, TILE, d)
        tiles = tiles.permute(2, 4, 0, 1, 3, 5)
        by_kernels = torch.zeros_like(kernels)
        # One more tile on either axis than there are: the last windows reach over the border.
        padded = gradient.new_zeros(n, rows + 1, TILE, columns + 1, TILE, c)
        for part, values in zip(_parts(n, rows * columns), seen, strict=True):
            blame = of_outputs @ tiles[:, :, part].reshape(TILE**2, -1)
            blame = blame.view(WINDOW**2, -1, d)
            by_kernels.baddbmm_(values.transpose(1, 2), blame)
            by_windows = of_windows @ torch.bmm(blame, kernels.transpose(1, 2)).view(WINDOW**2, -1)
            _overlay(padded[part], by_windows.view(WINDOW, WINDOW, -1, rows, columns, c))
        by_x = padded.view(n, height + TILE, width + TILE, c)[:, 1 : height + 1, 1 : width + 1]
        by_weight = (of_kernels @ by_kernels.view(WINDOW**2, -1)).view(KERNEL, KERNEL, c, d)
        return (
            by_x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last),
            by_weight.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last),
            gradient.sum((0, 2, 3)),
            None,
        )


def _overlay(image: torch.Tensor, windows: torch.Tensor) -> None:
    """Adds windows (6, 6, N, rows, columns, C) where they belong in zeros.

    image: (N, rows + 1, 4, columns + 1, 4, C). Each window covers a tile, and the first two pixels
    of the tiles after it.
    """
    rows, columns = windows.shape[3:5]
    windows, over = windows.permute(2, 3, 0, 4, 1, 5), WINDOW - TILE
    image[:, :rows, :, :columns] = windows[:, :, :TILE, :, :TILE]
    image[:, 1:, :over, :columns] += windows[:, :, TILE:, :, :TILE]
    image[:, :rows, :, 1:, :over] += windows[:, :, :TILE, :, TILE:]
    image[:, 1:, :over, 1:, :over] += windows[:, :, TILE:, :, TILE:]
