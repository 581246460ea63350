"""The devices on which a search trains; the workers report them before the search starts."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from engine.cli.settings import Settings
from engine.workers.executor import cluster
from utils import InputError

log = logging.getLogger("nas")
Devices = Sequence[Mapping[str, Any]]
FIRST_WITH_BFLOAT16 = 8.0  # lowest compute capability with bfloat16 convolutions in cuDNN


def resolve_devices(target: Any, settings: Settings) -> Devices:
    """Finds the devices of the workers, and fixes them for the search.

    The target's method `devices` returns one entry per device of a machine: `device` (its kind),
    `note` (a message for the user), `facts` (properties of a GPU that results may depend on) and
    `slots` (parallel trainings). InputError if the requested device is missing.
    """
    if settings.scheduler is None or settings.device == "cpu":
        found = target.devices()
    else:
        answers = cluster().devices_of(settings.scheduler, target)
        _check_alike(answers, settings.allow_inexact)
        found = min(answers.values(), key=lambda one: one[0]["device"] == "cpu")  # rather a GPU
        if all(one[0]["device"] == found[0]["device"] for one in answers.values()):
            target.set_devices(found)  # else each worker chooses its own device
    if settings.dtype == "bfloat16" and not has_bfloat16(found[0]):
        raise InputError(
            f"--dtype bfloat16: {found[0]['facts']['name']} has no bfloat16 convolutions; they "
            f"need compute capability {FIRST_WITH_BFLOAT16}; allowed are float32 and tf32"
        )
    return found


def has_bfloat16(device: Mapping[str, Any]) -> bool:
    """Whether networks can train on a device in bfloat16."""
    facts = device.get("facts") or {}
    return float(facts.get("compute_capability", FIRST_WITH_BFLOAT16)) >= FIRST_WITH_BFLOAT16


def facts(found: Devices) -> dict[str, Any]:
    """The entries of run.json about the devices, which are all of one kind."""
    return {"device": found[0]["device"], "gpu": found[0].get("facts")}


def tell(found: Devices) -> None:
    """Logs the notes on the devices, each once, and the GPUs."""
    for note in dict.fromkeys(one["note"] for one in found if one["note"]):
        log.warning("NOTE: %s", note)
    if found[0]["device"] != "cpu":
        log.info("device: %d x %s", len(found), found[0]["facts"]["name"])


def _check_alike(answers: Mapping[str, Devices], may_differ: bool) -> None:
    """InputError if workers have different kinds of devices, unless `may_differ`."""
    kinds = {str(found[0].get("facts") or found[0]["device"]): at for at, found in answers.items()}
    if len(kinds) > 1:
        words = "; ".join(f"{kind} at {where}" for kind, where in kinds.items())
        if not may_differ:
            raise InputError(
                f"--scheduler: the workers have different devices ({words}), so that results "
                "would depend on the choice of worker; --allow_inexact permits this"
            )
        log.warning("NOTE: the workers have different devices (%s)", words)
