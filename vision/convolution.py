"""Convolutions whose large weights learn by matrix products when they train on a CPU.

oneDNN computes the gradient of the weights at about two thirds of the rate of the outputs' on wide
layers, and multiplies the zeros of the border, too. Here each tap of the kernel is a few products
of all images' values that it meets inside the image. docs/LOG.md has the rates.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

LARGE = 1_000_000  # weights; oneDNN is as fast on narrow layers, or faster


class Convolution(nn.Conv2d):
    """(N, C, H, W) -> (N, D, H, W): stride 1, an odd kernel, padding kernel // 2."""

    def __init__(self, inputs: int, outputs: int, kernel: int):
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        by_products = (
            self.weight.numel() >= LARGE
            and x.device.type == "cpu"
            and torch.is_grad_enabled()
            and not torch.is_autocast_enabled("cpu")
            and not torch.compiler.is_compiling()
        )
        return _ByProducts.apply(x, self.weight, self.bias) if by_products else super().forward(x)


class _ByProducts(torch.autograd.Function):
    """The usual convolution with another way to its weights' gradient."""

    @staticmethod
    def forward(
        ctx: Any, x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor
    ) -> torch.Tensor:
        ctx.save_for_backward(x, weight)
        return functional.conv2d(x, weight, bias, padding=weight.shape[-1] // 2)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        by_x = None
        if ctx.needs_input_grad[0]:
            padding = weight.shape[-1] // 2
            by_x = torch.nn.grad.conv2d_input(x.shape, weight, gradient, padding=padding)
        return by_x, _by_weight(x, gradient, weight.shape[-1]), gradient.sum((0, 2, 3))


def _by_weight(x: torch.Tensor, gradient: torch.Tensor, kernel: int) -> torch.Tensor:
    """The gradient of the weights (D, C, K, K), from x (N, C, H, W) and gradient (N, D, H, W)."""
    # As (H, W, N, C), the values of all images in a part of a row are one matrix.
    x, gradient = x.permute(2, 3, 0, 1).contiguous(), gradient.permute(2, 3, 0, 1).contiguous()
    height, width, _, inputs = x.shape
    taps = x.new_zeros(kernel, kernel, inputs, gradient.shape[-1])
    columns = list(_overlaps(width, kernel))
    for i, rows_in, rows_out in _overlaps(height, kernel):
        for j, columns_in, columns_out in columns:
            for row_in, row_out in zip(rows_in, rows_out, strict=True):
                seen = x[row_in, columns_in.start : columns_in.stop].flatten(0, 1)
                learnt = gradient[row_out, columns_out.start : columns_out.stop].flatten(0, 1)
                taps[i, j].addmm_(seen.t(), learnt)
    return taps.permute(3, 2, 0, 1).contiguous(memory_format=torch.channels_last)


def _overlaps(side: int, kernel: int) -> Iterator[tuple[int, range, range]]:
    """Of a kernel on a side of that many pixels: tap, pixels it reads, pixels it adds to."""
    for tap in range(kernel):
        offset = tap - kernel // 2
        if abs(offset) < side:
            reads = range(max(offset, 0), side + min(offset, 0))
            yield tap, reads, range(reads.start - offset, reads.stop - offset)
