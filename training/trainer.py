"""The training of a network, which resumes exactly from a state in memory or on disk."""

import contextlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from training.augmentation import Augmentation, as_floats
from training.device import layout
from training.network import assemble, build_network
from utils import derive_seed

SCORING_BATCH = 256  # images; fixed, so that scores never depend on a setting
SCHEDULE_FREE = "schedule-free"
OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}


class Normalization(NamedTuple):
    """Mean and standard deviation per channel of the training images, scaled to [0, 1]."""

    mean: Sequence[float]
    std: Sequence[float]


class Normalize(nn.Module):
    """(N, 3, S, S) in [0, 1] -> mean 0 and variance 1 per channel over the training images."""

    def __init__(self, normalization: Normalization):
        super().__init__()
        self.register_buffer("mean", torch.tensor(normalization.mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(normalization.std).view(3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.std  # type: ignore[operator]


class Trainer:
    """Weights, optimizer, generators and epochs done, which are saved and restored together.

    config: a network (`cnn.layers`) and its training: `batch_size`, `learning_rate_init`, and if
    present `weight_decay`, `label_smoothing` and the fields of `Augmentation`.
    optimizer: 'adam' or 'adamw' with a constant learning rate, or 'schedule-free': AdamW with an
    average of its weights, which is measured (Defazio et al. 2024).
    dtype: 'float32', 'tf32' (float32 without such a GPU) or 'bfloat16' (in layers that support
    it; weights, moments and loss stay float32).
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        image_size: int,
        num_classes: int,
        normalization: Normalization,
        optimizer: str,
        device: torch.device,
        seed: int,
        dtype: str = "float32",
    ):
        self.batch_size = int(config["batch_size"])
        self.device = device
        self.epochs = 0
        self.order = torch.Generator().manual_seed(derive_seed(seed, "order"))
        self.dropout = torch.Generator(device).manual_seed(derive_seed(seed, "dropout"))
        self.augment = torch.Generator(device).manual_seed(derive_seed(seed, "augmentation"))
        self.augmentation = Augmentation.of(config)
        self.fill = torch.tensor(normalization.mean, device=device)
        weights = torch.Generator().manual_seed(derive_seed(seed, "weights"))
        sizes = config, image_size, num_classes
        built = build_network(*sizes, init_generator=weights, dropout_generator=self.dropout)
        self.layout = layout(device, dtype)
        self.network = nn.Sequential(Normalize(normalization), *built).to(device)
        self.network.to(memory_format=self.layout)
        self.average: nn.Module | None = None
        if optimizer == SCHEDULE_FREE:  # the average of the weights is measured
            bare = assemble(*sizes).to_empty(device=device)
            self.average = nn.Sequential(Normalize(normalization).to(device), *bare)
            self.average.to(memory_format=self.layout)
        self.optimizer = self._optimizer(optimizer, config)
        self.label_smoothing = float(config.get("label_smoothing", 0.0))
        self.bfloat16 = dtype == "bfloat16"

    def _optimizer(self, name: str, config: Mapping[str, Any]) -> torch.optim.Optimizer:
        rate, parameters = config["learning_rate_init"], list(self.network.parameters())
        if name != SCHEDULE_FREE:
            return OPTIMIZERS[name](parameters, lr=rate, fused=True)
        from schedulefree import AdamWScheduleFree  # the others do not need the package

        # Biases and norms have no weight decay (Loshchilov and Hutter 2019).
        decay = config.get("weight_decay", 0.0)
        groups = [
            {"params": [p for p in parameters if p.ndim > 1], "weight_decay": decay},
            {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
        ]
        optimizer = AdamWScheduleFree(groups, lr=rate)
        optimizer.train()  # permanently: a copy is measured
        return optimizer

    def _reduced(self) -> contextlib.AbstractContextManager[Any]:
        if self.bfloat16:
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def train_epoch(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """A pass over images and labels in random order, the last batch smaller.

        images: uint8 (N, S, S, 3). labels: (N,). A last batch of one image is skipped: batch norm
        may get a single value per channel there.
        Nothing here waits for the device.
        """
        self.network.train()
        order = torch.randperm(len(labels), generator=self.order)
        batches = order.to(self.device, non_blocking=True).split(self.batch_size)
        if len(batches) > 1 and len(batches[-1]) == 1:
            batches = batches[:-1]
        for numbers in batches:
            x, weights = self.augmentation.batch(images, numbers, self.fill, self.augment)
            with self._reduced():
                logits = self.network(x.contiguous(memory_format=self.layout))
            self.optimizer.zero_grad(set_to_none=True)
            self._loss(logits.float(), labels[numbers], weights).backward()
            self.optimizer.step()
        self.epochs += 1

    def _loss(
        self, logits: torch.Tensor, labels: torch.Tensor, weights: torch.Tensor | None
    ) -> torch.Tensor:
        """Mean cross entropy; weights: the share of the previous image in each image (mixup)."""
        smoothing = self.label_smoothing
        if weights is None:
            return nn.functional.cross_entropy(logits, labels, label_smoothing=smoothing)
        own, other = (
            nn.functional.cross_entropy(logits, y, label_smoothing=smoothing, reduction="none")
            for y in (labels, labels.roll(1))
        )
        return torch.lerp(own, other, weights).mean()

    def measured(self, images: torch.Tensor) -> nn.Module:
        """The network that is measured and saved, in evaluation mode.

        With averaged weights, the statistics of batch norm are recomputed for them from the
        training images, uint8 (N, S, S, 3), in their order. The training state does not change.
        """
        if self.average is None:
            return self.network.eval()
        self.average.load_state_dict(self.network.state_dict())
        self._average_weights()
        norms = [one for one in self.average.modules() if isinstance(one, nn.BatchNorm2d)]
        if norms:
            self._compute_statistics(self.average.eval(), norms, images)
        return self.average.eval()

    @torch.no_grad()
    def _average_weights(self) -> None:
        """Sets the weights of `average` to x, where the network has y = (1 - b) z + b x.

        As `AdamWScheduleFree.eval`, but in a copy: converting back would round.
        """
        assert self.average is not None
        pairs = zip(self.network.parameters(), self.average.parameters(), strict=True)
        copies = dict(pairs)
        for group in self.optimizer.param_groups:
            for parameter in group["params"]:
                state = self.optimizer.state[parameter]
                if "z" in state:
                    weight = 1 - 1 / group["betas"][0]
                    copies[parameter].copy_(torch.lerp(parameter, state["z"], weight))

    @torch.no_grad()
    def _compute_statistics(
        self, network: nn.Module, norms: Sequence[nn.BatchNorm2d], images: torch.Tensor
    ) -> None:
        for norm in norms:
            norm.reset_running_stats()
            norm.train()
        with self._reduced():
            batches = images.chunk(-(-len(images) // SCORING_BATCH))
            for number, batch in enumerate(batches, start=1):
                for norm in norms:  # the mean over batches; momentum=None waits for the device
                    norm.momentum = 1 / number
                network(self._laid(batch))

    @torch.no_grad()
    def scores(self, images: torch.Tensor, training_images: torch.Tensor) -> np.ndarray:
        """Logits, float32 (n, K), of uint8 images (n, S, S, 3); changes no state or generator.

        training_images: passed to `measured`.
        """
        network = self.measured(training_images)
        with self._reduced():
            scores = [network(self._laid(batch)) for batch in images.split(SCORING_BATCH)]
            return torch.cat(scores).float().cpu().numpy()

    def _laid(self, images: torch.Tensor) -> torch.Tensor:
        """uint8 (n, S, S, 3) -> floats (n, 3, S, S), in the memory format of the weights."""
        return as_floats(images).permute(0, 3, 1, 2).contiguous(memory_format=self.layout)

    def state(self) -> dict[str, Any]:
        """All that an exact resume needs: tensors and plain types only."""
        return {
            "epochs": self.epochs,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "order": self.order.get_state(),
            "dropout": self.dropout.get_state(),
            "augment": self.augment.get_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Restores the result of `state`, from the CPU or any device."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.order.set_state(state["order"].cpu())
        self.dropout.set_state(state["dropout"].cpu())
        self.augment.set_state(state["augment"].cpu())
        self.epochs = state["epochs"]
