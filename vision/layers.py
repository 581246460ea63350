"""Layers of the networks that PyTorch has in another form: exact, or faster on a CPU.

Wide convolutions with a 3x3 kernel go the way of winograd.py. Others with large weights, as oneDNN
does them on a CPU, are slow: their outputs are computed faster in PyTorch's default layout than in
channels_last, and the zeros of the border are left out of the outputs, but not of the gradients.
Here each tap of the kernel is a few products of the values of all images that it meets inside the
image. docs/LOG.md has the rates.
"""

from collections.abc import Iterator
from typing import Any

import torch
from torch import nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from vision import winograd

LARGE = 2_000_000  # weights; below, oneDNN is as fast as products a tap, or faster


class Dropout(nn.Module):
    """Inverted dropout that draws from a generator of its own.

    Torch's layer can use the global stream only.
    """

    def __init__(self, rate: float, generator: torch.Generator | None):
        super().__init__()
        self.keep = 1.0 - rate
        self.generator = generator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training:
            return x
        return x * torch.empty_like(x).bernoulli_(self.keep, generator=self.generator).div_(
            self.keep
        )


class GlobalAveragePool(nn.Module):
    """(N, C, H, W) -> (N, C). AdaptiveAvgPool2d has no deterministic backward pass on CUDA."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Over (N, H * W, C), so that the gradient, too, lies as channels_last: else each layer
        # below would convert it, which took a third of a wide network's time.
        return x.permute(0, 2, 3, 1).flatten(1, 2).mean(dim=1)


class Flatten(nn.Module):
    """(N, C, H, W) -> (N, H * W * C): of channels_last without a copy, gradient included."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


class Convolution(nn.Conv2d):
    """(N, C, H, W) -> (N, D, H, W): stride 1, an odd kernel, padding kernel // 2."""

    def __init__(self, inputs: int, outputs: int, kernel: int):
        super().__init__(inputs, outputs, kernel, padding=kernel // 2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        plain = x.device.type != "cpu" or torch.is_autocast_enabled("cpu")
        if plain or torch.compiler.is_compiling():
            return super().forward(x)
        sizes = self.in_channels, self.out_channels, self.kernel_size[0]
        if winograd.suits(*sizes, len(x), *x.shape[2:]):
            return winograd.convolve(x, self.weight, self.bias)
        if self.weight.numel() >= LARGE:
            return _Large.apply(x, self.weight, self.bias)
        return super().forward(x)


class _Large(torch.autograd.Function):
    """(N, C, H, W) -> (N, D, H, W), channels_last."""

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
