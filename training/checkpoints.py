"""Training states on disk."""

from pathlib import Path
from typing import Any

import torch

from utils import replacing


def read_state(path: str | Path | None, key: str, epochs: int) -> list[dict[str, Any]]:
    """The saved folds of the training `key`, from the first on; empty without a usable state.

    epochs: a state with more epochs is not used.
    """
    if path is None or not Path(path).exists():
        return []
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        return saved["folds"] if saved["key"] == key and saved["epochs"] <= epochs else []
    except Exception:  # torch.load does not document what a damaged file raises
        return []


def on_cpu(state: Any) -> Any:
    """The state with its tensors in host memory, so that those of earlier folds leave the GPU."""
    if isinstance(state, torch.Tensor):
        return state.cpu()
    if isinstance(state, dict):
        return {name: on_cpu(value) for name, value in state.items()}
    return [on_cpu(value) for value in state] if isinstance(state, list) else state


def write_state(path: Path, state: dict[str, Any]) -> str | None:
    """Replaces the file atomically; returns an error message if that fails.

    A state only saves time: without it, training restarts, with the same result.
    """
    try:
        with replacing(path) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        return f"not saved: {str(error).splitlines()[0]}"
    return None
