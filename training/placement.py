"""Images on a device: its choice, and when CUDA is initialised."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from training import gpus
from training.device import choose_device


class ImagesOnDevice:
    """Images and labels, copied once to the device of the process that first uses them.

    pixels: uint8 (N, S, S, 3). labels: int64 (N,). device: 'auto', 'cpu' or 'cuda'.
    Construction, pickling and `devices` do not initialise CUDA.
    """

    def __init__(self, pixels: np.ndarray, labels: np.ndarray, device: str):
        self.pixels, self.labels, self.device_name = pixels, labels, device
        self._devices: list[dict[str, Any]] = []

    @property
    def data_bytes(self) -> int:
        """Memory for the images in each worker, and for those of a fold."""
        return 2 * self.pixels.nbytes

    @functools.cached_property
    def device(self) -> torch.device:
        """The device of this process; the first access initialises CUDA if it is a GPU."""
        return choose_device(self.device_name)

    @functools.cached_property
    def images(self) -> torch.Tensor:
        """uint8 (N, S, S, 3)."""
        return torch.from_numpy(self.pixels).to(self.device)

    @functools.cached_property
    def targets(self) -> torch.Tensor:
        """(N,), the labels."""
        return torch.from_numpy(self.labels).to(self.device)

    def take_device(self) -> None:
        """Runs in a worker before its first call: initialises CUDA, copies images to the GPU.

        An error here is not the outcome of a trial.
        """
        if self.device.type == "cuda":
            _ = self.images, self.targets

    def devices(self) -> list[dict[str, Any]]:
        """The devices of this machine (see `gpus.devices`), found once: workers use no others.

        InputError for 'cuda' without a usable GPU.
        """
        if not self._devices:
            self.set_devices(gpus.devices(self.device_name, self.data_bytes))
        return self._devices

    def set_devices(self, devices: Sequence[Mapping[str, Any]]) -> None:
        """Sets the devices, which may have been found on another machine."""
        self._devices = [dict(one) for one in devices]
        self.device_name = self._devices[0]["device"]

    def environments(self, workers: int) -> list[dict[str, str]]:
        """Environments to assign to `workers` workers in turn; a single empty one on a CPU."""
        on_gpus = self.devices()[0]["device"] == "cuda"
        return gpus.environments(self.devices(), workers) if on_gpus else [{}]
