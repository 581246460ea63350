"""Convolutions with a 3x3 or 5x5 kernel in a quarter or a sixth of the products, on a CPU.

Winograd's minimal filtering, F(4x4, 3x3) and F(4x4, 5x5) in the words of Lavin and Gray 2016,
"Fast Algorithms for Convolutional Neural Networks", section 4: a tile of 4x4 outputs needs 36
products a pair of channels instead of 144, of a window of 6x6 inputs and of the kernel, both
transformed; with a 5x5 kernel 64, of a window of 8x8, instead of 400. What remains are products of
matrices. The sums are the same but for rounding: in float32 outputs and gradients differ by about
1e-5 of their largest value (7x7 would by 1e-4). docs/LOG.md has the rates.
"""

import functools
from collections.abc import Iterator
from typing import Any

import numpy as np
import torch
from numpy.polynomial.polynomial import polyfromroots
from torch.autograd.function import once_differentiable
from torch.nn import functional

TILE = 4  # side in pixels
POINTS = {3: (0, 1, -1, 2, -2), 5: (0, 1, -1, 0.5, -0.5, 2, -2)}  # by kernel; and infinity


def convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W), (D, C, K, K), (D,) -> (N, D, H, W), channels_last; padding K // 2.

    K is 3 or 5, H and W are multiples of 4.
    """
    return _Winograd.apply(x, weight, bias, torch.is_grad_enabled())


def window(kernel: int) -> int:
    """Side in pixels of the inputs that a tile of outputs depends on."""
    return TILE + kernel - 1


@functools.cache
def _transforms(
    kernel: int, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Of products to outputs (16, W^2), of kernels (W^2, K^2) and of windows (W^2, W^2).

    By the method of Toom and Cook: outputs are A^T ((G g G^T) * (B^T d B)) A, by element, where
    each row of G and B^T stands for the value of a polynomial at a point, the last for infinity.
    Rows and columns in one go: for pixels in one dimension, B^T d B is the Kronecker product of
    B^T with itself times d.
    """
    points, side = np.array(POINTS[kernel]), window(kernel)
    # A^T, G and B^T.
    a, g, b = np.zeros((TILE, side)), np.zeros((side, kernel)), np.zeros((side, side))
    a[:, :-1] = np.vander(points, TILE, increasing=True).T
    g[:-1] = np.vander(points, kernel, increasing=True)
    a[-1, -1] = g[-1, -1] = 1
    for i, point in enumerate(points):
        others = np.delete(points, i)
        g[i] /= np.prod(point - others)
        b[i, :-1] = polyfromroots(others)
    b[-1] = polyfromroots(points)
    outputs, kernels, windows = (
        torch.from_numpy(np.kron(one, one)).to(dtype) for one in (a, g, b)
    )
    return outputs, kernels, windows


def _parts(images: int, tiles: int, pairs: int) -> Iterator[slice]:
    """Images that are done at a time, if each has so many tiles.

    Few, so that what is made of them stays in the processor's cache; more for many pairs of
    channels, whose kernels do not fit into it and are read anew each time.
    """
    step = max(1, (64 if pairs < 32768 else 256) // tiles)
    return (slice(start, start + step) for start in range(0, images, step))


class _Winograd(torch.autograd.Function):
    """See `convolve`. Backwards go the same steps, each transposed."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, learning: bool
    ) -> torch.Tensor:
        (n, c, height, width), d = x.shape, len(weight)
        rows, columns = height // TILE, width // TILE
        kernel, side = weight.shape[-1], window(weight.shape[-1])
        of_outputs, of_kernels, of_windows = _transforms(kernel, x.dtype)
        kernels = of_kernels @ weight.permute(2, 3, 1, 0).reshape(kernel**2, c * d)
        kernels = kernels.view(side**2, c, d)
        border = [kernel // 2] * 4
        padded = functional.pad(x.permute(0, 2, 3, 1), [0, 0, *border])
        windows = padded.unfold(1, side, TILE).unfold(2, side, TILE).permute(4, 5, 0, 1, 2, 3)
        out = torch.empty((n, d, height, width), dtype=x.dtype, memory_format=torch.channels_last)
        placed, seen = out.permute(0, 2, 3, 1).view(n, rows, TILE, columns, TILE, d), []
        for part in _parts(n, rows * columns, c * d):
            values = of_windows @ windows[:, :, part].reshape(side**2, -1)
            values = values.view(side**2, -1, c)
            if learning:
                seen.append(values)
            tiles = of_outputs @ torch.bmm(values, kernels).view(side**2, -1)
            tiles = tiles.view(TILE, TILE, -1, rows, columns, d).permute(2, 3, 0, 4, 1, 5)
            torch.add(tiles, bias, out=placed[part])
        ctx.save_for_backward(kernels, *seen)
        ctx.kernel = kernel
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        kernels, *seen = ctx.saved_tensors
        (n, d, height, width), c, kernel = gradient.shape, kernels.shape[1], ctx.kernel
        rows, columns, side = height // TILE, width // TILE, window(kernel)
        transforms = _transforms(kernel, gradient.dtype)
        of_outputs, of_kernels, of_windows = (t.t() for t in transforms)
        tiles = gradient.permute(0, 2, 3, 1).reshape(n, rows, TILE, columns, TILE, d)
        tiles = tiles.permute(2, 4, 0, 1, 3, 5)
        by_kernels = torch.zeros_like(kernels)
        # One more tile on either axis than there are: the last windows reach over the border.
        padded = gradient.new_zeros(n, rows + 1, TILE, columns + 1, TILE, c)
        for part, values in zip(_parts(n, rows * columns, c * d), seen, strict=True):
            blame = of_outputs @ tiles[:, :, part].reshape(TILE**2, -1)
            blame = blame.view(side**2, -1, d)
            by_kernels.baddbmm_(values.transpose(1, 2), blame)
            by_windows = of_windows @ torch.bmm(blame, kernels.transpose(1, 2)).view(side**2, -1)
            _overlay(padded[part], by_windows.view(side, side, -1, rows, columns, c))
        inside = (slice(kernel // 2, kernel // 2 + pixels) for pixels in (height, width))
        by_x = padded.view(n, height + TILE, width + TILE, c)[:, *inside]
        by_weight = (of_kernels @ by_kernels.view(side**2, -1)).view(kernel, kernel, c, d)
        return (
            by_x.permute(0, 3, 1, 2).contiguous(memory_format=torch.channels_last),
            by_weight.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last),
            gradient.sum((0, 2, 3)),
            None,
        )


def _overlay(image: torch.Tensor, windows: torch.Tensor) -> None:
    """Adds windows (W, W, N, rows, columns, C) where they belong in zeros.

    image: (N, rows + 1, 4, columns + 1, 4, C). Each window covers a tile, and the first pixels of
    the tiles after it: W is 8 at most.
    """
    rows, columns = windows.shape[3:5]
    windows, over = windows.permute(2, 3, 0, 4, 1, 5), len(windows) - TILE
    image[:, :rows, :, :columns] = windows[:, :, :TILE, :, :TILE]
    image[:, 1:, :over, :columns] += windows[:, :, TILE:, :, :TILE]
    image[:, :rows, :, 1:, :over] += windows[:, :, :TILE, :, TILE:]
    image[:, 1:, :over, 1:, :over] += windows[:, :, TILE:, :, TILE:]
