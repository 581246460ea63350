"""States of trainings on disk."""

from pathlib import Path
from typing import Any

import torch

from utils import replacing


def read_state(path: str | Path | None, key: str, epochs: int) -> list[dict[str, Any]]:
    """The saved folds of the training `key`, from the first on; none if there is no usable state.

    epochs: no fold may be trained further.
    """
    if path is None or not Path(path).exists():
        return []
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        return saved["folds"] if saved["key"] == key and saved["epochs"] <= epochs else []
    except Exception:  # torch.load documents no closed list of what a damaged file can raise
        return []


def write_state(path: Path, state: dict[str, Any]) -> str | None:
    """Replaces the file whole or not at all; returns why it could not, if so.

    A state saves time only: without it, training begins anew, to the same result.
    """
    try:
        with replacing(path) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        return f"not saved: {str(error).splitlines()[0]}"
    return None
