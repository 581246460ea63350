"""Networks for timing the training on a machine."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Generator, nn

from training.network import Flatten, GlobalAveragePool, assemble
from utils import read_json

DEFAULT = Path(__file__).resolve().parent.parent / "configs" / "default.json"
_COMMON = {"global_avg_pooling": True, "use_BN": True, "n_fc_layers": 1, "dropout_rate": 0.05}
_MODERN: dict[str, Any] = {
    **{"convs_per_stage": 1, "kernel_size": 3, "activation": "relu", "dropout_rate": 0.0},
    **{"batch_size": 32, "learning_rate_init": 6e-3, "weight_decay": 0.5, "label_smoothing": 0.1},
    **{"flip": True, "shift": 0.125, "cutout": 0.15, "color": 0.2, "mixup": 0.0},
}
NETWORKS: dict[str, dict[str, Any]] = {
    "small": {
        **_COMMON,
        **{"n_conv_layers": 3, "n_channels_conv_0": 64, "n_channels_conv_1": 128},
        **{"n_channels_conv_2": 128, "kernel_size": 3, "n_channels_fc_0": 64},
        **{"batch_size": 64, "learning_rate_init": 1e-3},
    },
    "middle": {
        **_COMMON,
        **{"n_conv_layers": 2, "n_channels_conv_0": 351, "n_channels_conv_1": 109},
        **{"kernel_size": 5, "n_channels_fc_0": 226},
        **{"batch_size": 280, "learning_rate_init": 1.5e-3},
    },
    "modern": {
        **{**_MODERN, "block": "plain"},
        **{"n_stages": 3, "width_0": 32, "width_1": 80, "width_2": 160},
    },
    "separable": {
        **{**_MODERN, "block": "separable", "convs_per_stage": 2, "activation": "silu"},
        **{"n_stages": 3, "width_0": 40, "width_1": 96, "width_2": 192},
    },
}
PUBLISHED = ("small", "middle", "default")


def config_of(name: str) -> dict[str, Any]:
    """A configuration by its name; 'default' is configs/default.json."""
    return read_json(DEFAULT) if name == "default" else dict(NETWORKS[name])


def plain_network(
    config: Mapping[str, Any], image_size: int, num_classes: int, device: str = "cpu"
) -> nn.Sequential:
    """The network with PyTorch's own layers and memory format (dropout is ours, but alike)."""
    generator = Generator(device).manual_seed(1)
    network = assemble(config, image_size, num_classes, generator).to_empty(device=device)
    layers: list[nn.Module] = []
    for layer in network:
        if isinstance(layer, GlobalAveragePool):
            layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten()]
        elif isinstance(layer, Flatten):
            layers += [nn.Flatten()]
        elif isinstance(layer, nn.ReLU):
            layers += [nn.ReLU()]
        else:
            if isinstance(layer, nn.Conv2d | nn.Linear | nn.BatchNorm2d):
                layer.reset_parameters()
            layers += [layer]
    return nn.Sequential(*layers)
