"""Training: networks as PyTorch modules, their optimization, and the device.

To load a trained network of `main.py --export DIR`:

    network = training.load_network("DIR/network.safetensors")
"""

from pathlib import Path

from torch import nn


def load_network(path: str | Path) -> nn.Sequential:
    """See `training.saved.load_network`."""
    from training import saved  # training itself needs no safetensors

    return saved.load_network(path)
