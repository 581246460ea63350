"""Convolutions a tap of the kernel at a time, on a CPU: for large weights, where oneDNN is slow.

Outputs are computed faster in PyTorch's default layout than in channels_last there, and oneDNN
leaves the zeros of the border out of the outputs, but not of the gradients. Here each tap of the
kernel is a few products of the values of all images that it meets inside the image.
docs/LOG.md has the rates.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch.autograd.function import once_differentiable
from torch.nn import functional


def convolve(x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W), (D, C, K, K), (D,) -> (N, D, H, W), channels_last; K odd, padding K // 2."""
    return _Taps.apply(x, weight, bias)


class _Taps(torch.autograd.Function):
    """See `convolve`."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        out = functional.conv2d(
            x.contiguous(), weight.contiguous(), bias, padding=weight.shape[-1] // 2
        )
        return out.contiguous(memory_format=torch.channels_last)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, ...]:
        by_x, by_weight = _gradients(*ctx.saved_tensors, gradient)
        return by_x, by_weight, gradient.sum((0, 2, 3))


def _gradients(
    x: torch.Tensor, weight: torch.Tensor, gradient: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """With respect to x (N, C, H, W) and weight (D, C, K, K); gradient: (N, D, H, W)."""
    # As (H, W, N, C), the values of all images in a part of a row are one matrix.
    x, gradient = (values.permute(2, 3, 0, 1).contiguous() for values in (x, gradient))
    taps = weight.permute(2, 3, 1, 0).contiguous()
    by_x, by_tap = torch.zeros_like(x), torch.zeros_like(taps)
    (height, width), kernel = x.shape[:2], len(taps)
    columns = list(_overlaps(width, kernel))
    for i, rows_in, rows_out in _overlaps(height, kernel):
        for j, columns_in, columns_out in columns:
            for row_in, row_out in zip(rows_in, rows_out, strict=True):
                seen = row_in, slice(columns_in.start, columns_in.stop)
                blame = gradient[row_out, columns_out.start : columns_out.stop].flatten(0, 1)
                by_tap[i, j].addmm_(x[seen].flatten(0, 1).t(), blame)
                by_x[seen].flatten(0, 1).addmm_(blame, taps[i, j].t())
    return (
        by_x.permute(2, 3, 0, 1).contiguous(memory_format=torch.channels_last),
        by_tap.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last),
    )


def _overlaps(side: int, kernel: int) -> Iterator[tuple[int, range, range]]:
    """Of a kernel on a side of that many pixels: tap, pixels it reads, pixels it adds to."""
    for tap in range(kernel):
        offset = tap - kernel // 2
        if abs(offset) < side:
            reads = range(max(offset, 0), side + min(offset, 0))
            yield tap, reads, range(reads.start - offset, reads.stop - offset)
