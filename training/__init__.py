"""TRAINS: networks as PyTorch modules, how they are trained, and on what device.

A trained network of `main.py --export DIR`, in one line:

    network = training.load_network("DIR/network.safetensors")
"""

from training.saved import load_network

__all__ = ["load_network"]
