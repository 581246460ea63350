"""Images on a device: which one it is, who starts CUDA, and when."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from training import gpus
from training.device import choose_device


class Placed:
    """Images and labels that lie on the device of the process that first asks for them, for good.

    pixels: uint8 (N, S, S, 3). labels: int64 (N,). device: 'auto', 'cpu' or 'cuda'.
    To construct one, to pickle it and to ask for `devices` does not touch CUDA.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, device: str):
        self.pixels, self.labels, self.device_name = pixels, labels, device
        self._devices: list[dict[str, Any]] = []

    @functools.cached_property
    def device(self) -> torch.device:
        """Of this process, which starts CUDA here if it is a GPU."""
        return choose_device(self.device_name)

    @functools.cached_property
    def images(self) -> torch.Tensor:
        """(N, S, S, 3), floats in [0, 1]."""
        return torch.from_numpy(self.pixels).to(self.device).float().div_(255)

    @functools.cached_property
    def targets(self) -> torch.Tensor:
        """(N,), the labels."""
        return torch.from_numpy(self.labels).to(self.device)

    def take_device(self) -> None:
        """In a worker, before its first call: starts CUDA, and puts the images on the GPU.

        What fails here is no result of a training.
        """
        if self.device.type == "cuda":
            _ = self.images, self.targets

    def devices(self) -> list[dict[str, Any]]:
        """Those of this machine (see `gpus.devices`), from now on settled: workers use no other.

        InputError for 'cuda' where no GPU can be used.
        """
        if not self._devices:
            self.settle(gpus.devices(self.device_name))
        return self._devices

    def settle(self, devices: Sequence[Mapping[str, Any]]) -> None:
        """Takes over what was found, maybe on another machine."""
        self._devices = [dict(one) for one in devices]
        self.device_name = self._devices[0]["device"]

    def environments(self, workers: int) -> list[dict[str, str]]:
        """Environment variables, to be dealt out to so many workers; one empty set on a CPU."""
        on_gpus = self.devices()[0]["device"] == "cuda"
        return gpus.environments(self.devices(), workers) if on_gpus else [{}]
