"""Layers of the networks that PyTorch has in another form: exact, or faster on a CPU."""

import torch
from torch import nn

from vision import taps, winograd
from vision.ways import fastest_way


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
        way = fastest_way(*sizes, len(x), *x.shape[2:])
        if way == "torch":
            return super().forward(x)
        convolve = winograd.convolve if way == "winograd" else taps.convolve
        return convolve(x, self.weight, self.bias)
