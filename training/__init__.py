"""TRAINS: networks as PyTorch modules, how they are trained, and on what device.

A trained network of `main.py --export DIR`, in one line:

    network = training.load_network("DIR/network.safetensors")
"""

from pathlib import Path

from torch import nn


def load_network(path: str | Path) -> nn.Sequential:
    """See `training.saved.load_network`."""
    from training import saved  # training itself needs no safetensors

    return saved.load_network(path)
