"""The GPUs of this machine, found by a subprocess: the caller never initialises CUDA.

A process that initialises CUDA holds some hundred megabytes of a GPU, and in exclusive mode no
other process can use that GPU. The main process of a search therefore uses this module.
`python -m training.gpus` prints the answer.
"""

import json
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch

from training.device import MEMORY_SHARE, NO_GPU, no_cuda, refusal
from utils import InputError

ROOT = Path(__file__).resolve().parent.parent
ASK_SECONDS = 180.0  # the first process to use a GPU may have to wait until its driver has started
CONTEXT_BYTES = 700 * 10**6  # of a GPU for each process: CUDA itself and its libraries
LEAST_BYTES = 200 * 10**6  # of a GPU for a small network and its batch
USUAL_BYTES = 1300 * 10**6  # of a GPU for a network of usual size
USABLE = 0.95  # share of free memory: other processes may take a little more


def devices(name: str, images: int = 0) -> list[dict[str, Any]]:
    """The devices of 'auto', 'cpu' or 'cuda' on this machine, an entry for each.

    images: bytes that each process needs for its images. device: 'cpu' or 'cuda'. note: a message
    for the user, or ''. For a GPU also:
    facts: what results may depend on, equal (but for the memory) for all returned GPUs; others
    stay idle.
    slots: number of parallel trials that fit into the memory of each GPU. variables: environment
    of a process that sees only this GPU. free, total: bytes of its memory.
    InputError for 'cuda' without a usable GPU.
    """
    found = _probe_in_subprocess() if name != "cpu" and torch.cuda.device_count() else []
    usable = [one for one in found if one["why"] is None]
    if not usable:
        why = found[0]["why"] if found else NO_GPU
        if name == "cuda":
            raise InputError(no_cuda(why))
        return [{"device": "cpu", "note": f"{why}: training on the CPU" if found else ""}]
    # The memory of two cards of one model may differ by some megabytes.
    kinds = [{**one["facts"], "memory_bytes": 0} for one in usable]
    alike = [one for one, kind in zip(usable, kinds, strict=True) if kind == kinds[0]]
    idle = [one for one in found if one not in alike]
    note = ""
    if idle:
        why = idle[0]["why"] or f"{idle[0]['facts']['name']} is not the same as the first"
        note = f"{len(idle)} of {len(found)} GPUs stay idle: {why}"
    slots = min(_slots(one, images) for one in alike)
    return [{"device": "cuda", "note": note, "slots": slots, **one} for one in alike]


def environments(gpus: Sequence[Mapping[str, Any]], workers: int) -> list[dict[str, str]]:
    """Environments to assign to the workers in turn: a GPU each, and a share of its memory.

    The shares exclude what each process needs besides its tensors. All are equal, set by the GPU
    with the least free memory: whether a network fits must not depend on the worker. InputError
    if a share is too small.
    """
    each = -(-workers // len(gpus))
    fullest = min(gpus, key=lambda gpu: gpu["free"])
    name, free = fullest["facts"]["name"], fullest["free"]
    if fullest["exclusive"] and each > 1:
        raise InputError(
            f"{workers} worker(s): {name} is in exclusive mode, which allows one process; "
            f"use --workers {len(gpus)} or auto"
        )
    share = USABLE * free / each - CONTEXT_BYTES
    if share < LEAST_BYTES:
        most = int(USABLE * free / (CONTEXT_BYTES + LEAST_BYTES))
        allowed = f"at most {most} a GPU" if most else "none"
        raise InputError(
            f"{workers} worker(s): {name} has {free / 1e9:.1f} GB of free memory, enough for "
            f"{allowed}; use fewer --workers or --device cpu"
        )
    return [{**gpu["variables"], MEMORY_SHARE: f"{share / gpu['total']:.6f}"} for gpu in gpus]


def _slots(gpu: Mapping[str, Any], images: int) -> int:
    """The number of parallel trials: by free memory, or 1 in exclusive mode."""
    by_memory = int(USABLE * gpu["free"] / (CONTEXT_BYTES + USUAL_BYTES + images))
    return 1 if gpu["exclusive"] else max(1, by_memory)


def _probe_in_subprocess() -> list[dict[str, Any]]:
    """The result of `_probe_gpus` in a subprocess."""
    words = [sys.executable, "-m", "training.gpus"]
    try:
        asked = subprocess.run(
            words, cwd=ROOT, capture_output=True, text=True, timeout=ASK_SECONDS, check=True
        )
        return json.loads(asked.stdout.splitlines()[-1])
    except subprocess.TimeoutExpired:
        return [{"why": f"the GPU did not answer in {ASK_SECONDS:.0f} seconds"}]
    except (subprocess.CalledProcessError, IndexError, ValueError) as error:
        said = getattr(error, "stderr", "").strip().splitlines() or [str(error)]
        return [{"why": f"the GPU cannot be used ({said[-1]})"}]


def _probe_gpus() -> list[dict[str, Any]]:
    """Each GPU that this process sees: why it cannot train, if so, and its facts."""
    try:
        torch.cuda.init()
    except (RuntimeError, AssertionError) as error:  # such as a driver that is too old
        return [{"why": f"CUDA cannot start ({str(error).splitlines()[0].rstrip('.')})"}]
    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")]
    names = named[:count] if named[0] else [str(number) for number in range(count)]
    driver, exclusive = _driver()
    found = []
    for number, name in enumerate(names):
        why = refusal(number)
        known = torch.cuda.get_device_properties(number)
        free, total = torch.cuda.mem_get_info(number) if why is None else (0, known.total_memory)
        facts = {
            "name": known.name,
            "compute_capability": f"{known.major}.{known.minor}",
            "multiprocessors": known.multi_processor_count,
            "memory_bytes": known.total_memory,
            "cuda": torch.version.cuda,
            "cudnn": torch.backends.cudnn.version(),
            "driver": driver,
        }
        entry = {"why": why, "facts": facts, "free": free, "total": total, "exclusive": exclusive}
        found.append({**entry, "variables": {"CUDA_VISIBLE_DEVICES": name}})
    return found


def _driver() -> tuple[str | None, bool]:
    """The driver's version, and whether a GPU is in exclusive mode, from nvidia-smi.

    With CUDA's multi-process service several processes share a GPU in that mode, too.
    """
    words = ["nvidia-smi", "--query-gpu=driver_version,compute_mode", "--format=csv,noheader"]
    try:
        said = subprocess.run(words, capture_output=True, text=True, timeout=60, check=True).stdout
    except (OSError, subprocess.SubprocessError):
        return None, False
    shared = os.path.exists(os.environ.get("CUDA_MPS_PIPE_DIRECTORY", "/tmp/nvidia-mps"))
    return said.partition(",")[0].strip() or None, "Exclusive" in said and not shared


if __name__ == "__main__":
    json.dump(_probe_gpus(), sys.stdout)
