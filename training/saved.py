"""A trained network as a file without code (safetensors): weights, and metadata as text."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import nn

from training.network import assemble
from training.trainer import SCORING_BATCH, Normalization, Normalize
from utils import InputError, replacing


def save_network(path: Path, network: nn.Module, facts: Mapping[str, str]) -> None:
    """Writes the network to a file, atomically.

    facts: texts for its metadata; `load_network` needs `config`, `image_size` and `classes`.
    """
    weights = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    with replacing(path) as temporary:
        temporary.write_bytes(save(weights, metadata=dict(facts)))


def load_network(path: str | Path) -> nn.Sequential:
    """The network in a file of `main.py --export` or `-m`, on the CPU in evaluation mode.

    It maps float images (N, 3, S, S), RGB from 0 to 1, to logits (N, K). InputError if the file
    is missing or does not contain such a network.
    """
    try:
        with safe_open(path, "pt") as file:
            facts = file.metadata() or {}
            weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        config, classes = json.loads(facts["config"]), json.loads(facts["classes"])
        bare = assemble(config, int(facts["image_size"]), len(classes)).to_empty(device="cpu")
        network = nn.Sequential(Normalize(Normalization([0.0] * 3, [1.0] * 3)), *bare)
        network.load_state_dict(weights)
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}") from None
    except (SafetensorError, LookupError, TypeError, ValueError, RuntimeError) as error:
        words = str(error).splitlines()[0]
        raise InputError(f"{path} holds no network of this program: {words}") from None
    return network.to(memory_format=torch.channels_last).eval()


@torch.no_grad()
def logits_of(network: nn.Module, pixels: np.ndarray) -> np.ndarray:
    """Logits in float32 (N, K), computed on the CPU; pixels: uint8 (N, S, S, 3)."""
    images = torch.from_numpy(pixels).permute(0, 3, 1, 2)
    return torch.cat([network(x.float() / 255) for x in images.split(SCORING_BATCH)]).numpy()
