"""Random augmentation of training images, on the device, for a whole batch at once.

Every random number comes from the given generator. If any augmentation is on, the number of draws
depends on the batch size alone.
"""

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch

DRAWS = 9  # random numbers per image
GREY = (0.299, 0.587, 0.114)  # luma of red, green and blue (ITU-R BT.601)


@dataclass(frozen=True)
class Augmentation:
    """The strength of each augmentation; the defaults change nothing.

    flip: half of the images are mirrored, left to right.
    shift: up to this share of the side in each direction, with a reflected border (0 to below 1).
    cutout: a square of this share of the side takes the mean colour (DeVries and Taylor 2017).
    color: brightness, contrast and saturation change by factors of 1 - color to 1 + color.
    mixup: a share w of another image of the batch is mixed in, and w of its label (Zhang et al.
    2018). w is 0.5 u^(1/mixup) with u uniform in [0, 1]: close to their Beta(mixup, mixup), folded
    to [0, 0.5].
    """

    flip: bool = False
    shift: float = 0.0
    cutout: float = 0.0
    color: float = 0.0
    mixup: float = 0.0

    @classmethod
    def of(cls, config: Mapping[str, Any]) -> "Augmentation":
        """The augmentation of a configuration; hyperparameters that it lacks keep the default."""
        return cls(**{name: config[name] for name in cls.__dataclass_fields__ if name in config})

    def batch(
        self,
        images: torch.Tensor,
        numbers: torch.Tensor,
        fill: torch.Tensor,
        generator: torch.Generator,
    ) -> tuple[torch.Tensor, torch.Tensor | None]:
        """The augmented images: (B, 3, S, S), and the shares w (B,) with mixup, else None.

        images: uint8 (N, S, S, 3). numbers: (B,), indices. fill: (3,), the colour of cutouts.
        With w, image i contains the share w[i] of image i - 1 of the batch, cyclically.
        """
        if self == Augmentation():
            # The transposed view is channels_last without a copy.
            return as_floats(images[numbers]).permute(0, 3, 1, 2), None
        draws = torch.rand((DRAWS, len(numbers)), generator=generator, device=images.device)
        x = self._placed(images, numbers, draws[:3])
        if self.color:
            x = self._coloured(x, draws[3:6])
        if self.cutout:
            x = torch.where(self._holes(x, draws[6:8]), fill, x)
        weights = None
        if self.mixup:
            weights = 0.5 * draws[8] ** (1 / self.mixup)
            x = torch.lerp(x, x.roll(1, 0), weights[:, None, None, None])
        return x.permute(0, 3, 1, 2), weights

    def _placed(
        self, images: torch.Tensor, numbers: torch.Tensor, draws: torch.Tensor
    ) -> torch.Tensor:
        """Indexes, shifts and flips in one step: (B, S, S, 3) in [0, 1]."""
        side = images.shape[1]
        most = round(self.shift * side)
        offsets = (draws[:2] * (2 * most + 1)).long().clamp_(max=2 * most) - most
        places = torch.arange(side, device=images.device) + offsets[:, :, None]
        rows, columns = side - 1 - (side - 1 - places.abs()).abs()  # reflected at both ends
        if self.flip:
            columns = torch.where(draws[2, :, None] < 0.5, side - 1 - columns, columns)
        return as_floats(images[numbers[:, None, None], rows[:, :, None], columns[:, None, :]])

    def _coloured(self, x: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        factors = 1 + self.color * (2 * draws - 1)
        brightness, contrast, saturation = factors[:, :, None, None, None]
        x = x * brightness
        grey = (x * _luma(x.device)).sum(dim=3, keepdim=True)
        x = torch.lerp(grey, x, saturation)
        return torch.lerp(grey.mean(dim=(1, 2), keepdim=True), x, contrast)

    def _holes(self, x: torch.Tensor, draws: torch.Tensor) -> torch.Tensor:
        """Mask of the cutouts: (B, S, S, 1). The centre may be anywhere in the image."""
        side = x.shape[1]
        width = round(self.cutout * side)
        starts = (draws * side).long() - width // 2
        places = torch.arange(side, device=x.device)
        inside = (places >= starts[:, :, None]) & (places < starts[:, :, None] + width)
        return (inside[0][:, :, None] & inside[1][:, None, :])[..., None]


def as_floats(images: torch.Tensor) -> torch.Tensor:
    """uint8 -> floats in [0, 1]; for a batch, as all images take four times the memory so."""
    return images.float().div_(255)


@functools.cache
def _luma(device: torch.device) -> torch.Tensor:
    """GREY on a device: cached, as each copy from the host waits for the device."""
    return torch.tensor(GREY, device=device)
