"""The network: configuration -> PyTorch module, and its exact size and cost without building it.

`conv -> ReLU -> [batch norm] -> max pool 2x2`, repeated; global average pooling or flatten; then
`linear -> ReLU -> dropout`, repeated; then the classifier. Convolutions keep the side (padding
kernel // 2), each pooling halves it, rounded down.

A configuration is a dict with the keys of configs/space.json: `n_conv_layers`,
`n_channels_conv_<i>`, `kernel_size`, `use_BN`, `global_avg_pooling`, `n_fc_layers`,
`n_channels_fc_<i>`, `dropout_rate`.
"""

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from torch import nn

from vision.layers import Convolution, Dropout, Flatten, GlobalAveragePool
from vision.ways import fastest_way
from vision.winograd import TILE, window


class Shapes(NamedTuple):
    """The layers with weights, in order: all that size and cost depend on."""

    convolutions: list[
        tuple[int, int, int]
    ]  # channels in, channels out, side of the output in pixels
    linears: list[tuple[int, int]]  # features in, features out; the last one is the classifier


def shapes(config: Mapping[str, Any], image_size: int = 16, num_classes: int = 17) -> Shapes:
    """Shapes of all layers with weights.

    ValueError if the image is too small for that many poolings.
    """
    convolutions, channels, side = [], 3, image_size
    for i in range(config["n_conv_layers"]):
        if side < 2:
            raise ValueError(
                f"{config['n_conv_layers']} poolings need images of "
                f"{2 ** config['n_conv_layers']} pixels or more, not {image_size}"
            )
        convolutions.append((channels, config[f"n_channels_conv_{i}"], side))
        channels, side = config[f"n_channels_conv_{i}"], side // 2
    widths = [channels if config["global_avg_pooling"] else channels * side * side]
    widths += [config[f"n_channels_fc_{i}"] for i in range(config["n_fc_layers"])] + [num_classes]
    return Shapes(convolutions, list(zip(widths[:-1], widths[1:], strict=True)))


def count_parameters(
    config: Mapping[str, Any], image_size: int = 16, num_classes: int = 17
) -> int:
    """Trainable parameters, exactly as in the built network (running statistics are none)."""
    convolutions, linears = shapes(config, image_size, num_classes)
    area, per_channel = (
        config["kernel_size"] ** 2,
        3 if config["use_BN"] else 1,
    )  # bias, scale and shift
    return sum(
        outputs * (inputs * area + per_channel) for inputs, outputs, _ in convolutions
    ) + sum(outputs * (inputs + 1) for inputs, outputs in linears)


def count_macs(config: Mapping[str, Any], image_size: int = 16, num_classes: int = 17) -> int:
    """Multiply-adds of one forward pass of one image.

    Convolutions and linear layers, biases not counted.
    """
    convolutions, linears = shapes(config, image_size, num_classes)
    area = config["kernel_size"] ** 2
    return sum(
        inputs * outputs * area * side * side for inputs, outputs, side in convolutions
    ) + sum(inputs * outputs for inputs, outputs in linears)


def layer_table(
    config: Mapping[str, Any], image_size: int = 16, num_classes: int = 17
) -> list[dict[str, Any]]:
    """Name, output of one image ([C, H, W] or [features]), parameters and multiply-adds of layers.

    ReLU and dropout have no row: they change no shape and count nothing. The sums of the columns
    are `count_parameters` and `count_macs`.
    """
    convolutions, linears = shapes(config, image_size, num_classes)
    area, rows = config["kernel_size"] ** 2, []

    def add(name: str, output: list[int], parameters: int = 0, macs: int = 0) -> None:
        row = {"name": name, "output": output, "parameters": parameters, "macs": macs}
        rows.append(row)

    for i, (inputs, outputs, side) in enumerate(convolutions):
        weights, output = inputs * outputs * area, [outputs, side, side]
        add(f"conv_{i}", output, weights + outputs, weights * side * side)
        if config["use_BN"]:
            add(f"batch_norm_{i}", output, 2 * outputs)
        add(f"max_pool_{i}", [outputs, side // 2, side // 2])
    add("global_avg_pool" if config["global_avg_pooling"] else "flatten", [linears[0][0]])
    for i, (inputs, outputs) in enumerate(linears):
        name = f"fc_{i}" if i < len(linears) - 1 else "classifier"
        add(name, [outputs], outputs * (inputs + 1), inputs * outputs)
    return rows


def count_activations(
    config: Mapping[str, Any], image_size: int = 16, num_classes: int = 17
) -> tuple[int, int, int]:
    """Floats of a training step: kept of an image, an image's largest output, and of kernels.

    Kept are the outputs of ReLU, batch norm, pooling and dropout, the places of the maxima (two
    floats each, one for four pixels), and the dropout mask. A convolution in Winograd's way (by
    `batch_size`, too; float32 on a CPU) keeps windows in place of its input, and the transformed
    kernels.
    """
    convolutions, linears = shapes(config, image_size, num_classes)
    outputs = [channels * side * side for _, channels, side in convolutions]
    pooled = sum(channels * (side // 2) ** 2 for _, channels, side in convolutions)
    kept = 6 * image_size * image_size + (2 if config["use_BN"] else 1) * sum(outputs) + 3 * pooled
    kernels = 0
    for inputs, channels, side in convolutions:
        kernel = config["kernel_size"]
        if fastest_way(inputs, channels, kernel, config["batch_size"], side, side) == "winograd":
            # In place of inputs, which are counted among what is pooled.
            kept += int((window(kernel) ** 2 / TILE**2 - 1) * inputs * side**2)
            kernels += window(kernel) ** 2 * inputs * channels
    return kept + sum(3 * width for _, width in linears), max(outputs), kernels


def assemble(
    config: Mapping[str, Any],
    image_size: int = 16,
    num_classes: int = 17,
    dropout_generator: torch.Generator | None = None,
) -> nn.Sequential:
    """The layers on the meta device: shapes without memory, values or random draws."""
    convolutions, linears = shapes(config, image_size, num_classes)
    kernel = config["kernel_size"]
    layers: list[nn.Module] = []
    with torch.device("meta"):
        for inputs, outputs, _ in convolutions:
            layers += [Convolution(inputs, outputs, kernel), nn.ReLU(inplace=True)]
            layers += [nn.BatchNorm2d(outputs)] if config["use_BN"] else []
            layers += [nn.MaxPool2d(2)]
        layers += [GlobalAveragePool() if config["global_avg_pooling"] else Flatten()]
        for inputs, outputs in linears[:-1]:
            layers += [nn.Linear(inputs, outputs), nn.ReLU()]
            layers += [Dropout(config["dropout_rate"], dropout_generator)]
        layers += [nn.Linear(*linears[-1])]
    return nn.Sequential(*layers)


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
    device. `dropout_generator` must be on the device on which the network will train.
    """
    network = assemble(config, image_size, num_classes, dropout_generator).to_empty(device="cpu")
    _initialise(network, init_generator)
    return network.to(memory_format=torch.channels_last)


@torch.no_grad()
def _initialise(network: nn.Module, generator: torch.Generator) -> None:
    for module in network.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(module.weight[0].numel())
            module.weight.uniform_(-bound, bound, generator=generator)
            module.bias.uniform_(-bound, bound, generator=generator)
        elif isinstance(module, nn.BatchNorm2d):
            module.reset_parameters()
