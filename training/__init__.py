"""TRAINS: networks as PyTorch modules, how they are trained, and on what device."""
