"""The PyTorch module of a network, and deterministic replacements for some PyTorch layers."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import nn

from cnn import Layer, layers


class Dropout(nn.Module):
    """Inverted dropout that draws from a given generator; torch's uses the global stream."""

    def __init__(self, rate: float, generator: torch.Generator | None):
        super().__init__()
        self.keep = 1.0 - rate
        self.generator = generator

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if not self.training or self.keep == 1:
            return x
        return x * torch.empty_like(x).bernoulli_(self.keep, generator=self.generator).div_(
            self.keep
        )


class GlobalAveragePool(nn.Module):
    """(N, C, H, W) -> (N, C). AdaptiveAvgPool2d has no deterministic backward pass on CUDA."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        # Over (N, H * W, C), so that the gradient is channels_last, too: otherwise each layer
        # below converts it, which took a third of a wide network's time.
        return x.permute(0, 2, 3, 1).flatten(1, 2).mean(dim=1)


class Flatten(nn.Module):
    """(N, C, H, W) -> (N, H * W * C): no copy of channels_last, gradient included."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.permute(0, 2, 3, 1).flatten(1)


class Residual(nn.Module):
    """The sum of two branches; an empty one is the identity."""

    def __init__(self, branch: nn.Sequential, shortcut: nn.Sequential):
        super().__init__()
        self.branch, self.shortcut = branch, shortcut

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.branch(x) + self.shortcut(x)


def assemble(
    config: Mapping[str, Any],
    image_size: int = 16,
    num_classes: int = 17,
    dropout_generator: torch.Generator | None = None,
) -> nn.Sequential:
    """The network on the meta device: shapes without memory, values or random draws."""
    dropout = Dropout(config["dropout_rate"], dropout_generator)
    with torch.device("meta"):
        return _sequential(layers(config, image_size, num_classes), dropout)


def build_network(
    config: Mapping[str, Any],
    image_size: int = 16,
    num_classes: int = 17,
    *,
    init_generator: torch.Generator,
    dropout_generator: torch.Generator,
) -> nn.Sequential:
    """The network on the CPU, channels_last, in training mode: (N, 3, S, S) -> logits (N, K).

    Weights are PyTorch's default initialisation, uniform within 1 / sqrt(fan in) (He et al. 2015
    with a = sqrt(5)), drawn from `init_generator` on the CPU, so that they are the same on every
    device. `dropout_generator` must be on the device on which the network trains.
    """
    network = assemble(config, image_size, num_classes, dropout_generator).to_empty(device="cpu")
    _initialise(network, init_generator)
    return network.to(memory_format=torch.channels_last)


def _sequential(found: Iterable[Layer], dropout: Dropout) -> nn.Sequential:
    return nn.Sequential(*(_module(layer, dropout) for layer in found))


def _module(layer: Layer, dropout: Dropout) -> nn.Module:
    """PyTorch's module of a layer."""
    match layer.kind:
        case "conv":
            shape = (layer.inputs, layer.outputs, layer.kernel, layer.stride, layer.kernel // 2)
            return nn.Conv2d(*shape, groups=layer.groups, bias=layer.bias)
        case "batch_norm":
            return nn.BatchNorm2d(layer.outputs)
        case "relu":
            return nn.ReLU(inplace=layer.side > 0)
        case "silu":
            return nn.SiLU()
        case "max_pool":
            return nn.MaxPool2d(2)
        case "avg_pool":
            return nn.AvgPool2d(layer.kernel, ceil_mode=True)
        case "global_avg_pool":
            return GlobalAveragePool()
        case "flatten":
            return Flatten()
        case "linear":
            return nn.Linear(layer.inputs, layer.outputs)
        case "dropout":
            return dropout
        case "residual":
            return Residual(*(_sequential(branch, dropout) for branch in layer.branches))
    raise ValueError(f"no module for a layer of kind {layer.kind!r}")


@torch.no_grad()
def _initialise(network: nn.Module, generator: torch.Generator) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(module.weight[0].numel())
            module.weight.uniform_(-bound, bound, generator=generator)
            if module.bias is not None:
                module.bias.uniform_(-bound, bound, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
