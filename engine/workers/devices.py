"""The devices on which a search trains: asked of those who train, before the search begins."""

import logging
from collections.abc import Mapping, Sequence
from typing import Any

from engine.cli.settings import Settings
from engine.workers.executor import cluster
from utils import InputError

log = logging.getLogger("nas")
Devices = Sequence[Mapping[str, Any]]
FIRST_WITH_BFLOAT16 = 8.0  # compute capability from which on cuDNN has convolutions in it


def resolve_devices(target: Any, settings: Settings) -> Devices:
    """The devices that those who train have here, and use from now on.

    The target's method `devices` says which there are on a machine: an entry each, with `device`
    (its kind), `note` (what should be told), `facts` (what results may depend on, of a GPU) and
    `slots` (trainings at a time). InputError if what the settings ask for is not there.
    """
    found = _found(target, settings)
    if settings.dtype == "bfloat16" and not has_bfloat16(found[0]):
        raise InputError(
            f"--dtype bfloat16: {found[0]['facts']['name']} has no convolutions in it, which "
            f"need compute capability {FIRST_WITH_BFLOAT16}; allowed are float32 and tf32"
        )
    return found


def has_bfloat16(device: Mapping[str, Any]) -> bool:
    """Whether networks can train there in bfloat16."""
    facts = device.get("facts") or {}
    return float(facts.get("compute_capability", FIRST_WITH_BFLOAT16)) >= FIRST_WITH_BFLOAT16


def _found(target: Any, settings: Settings) -> Devices:
    """See `resolve_devices`."""
    if settings.scheduler is None or settings.device == "cpu":
        return target.devices()
    answers = cluster().devices_of(settings.scheduler, target)
    _check_alike(answers, settings.allow_inexact)
    found = min(answers.values(), key=lambda one: one[0]["device"] == "cpu")  # a GPU, if any has
    if all(one[0]["device"] == found[0]["device"] for one in answers.values()):
        target.settle(found)  # else each worker goes on to choose for itself
    return found


def facts(found: Devices) -> dict[str, Any]:
    """What run.json notes of them; they are all of one kind."""
    return {"device": found[0]["device"], "gpu": found[0].get("facts")}


def tell(found: Devices) -> None:
    """Says which GPUs train, and what should be known of the others."""
    for one in found:
        if one["note"]:
            log.warning("NOTE: %s", one["note"])
    if found[0]["device"] != "cpu":
        log.info("device: %d x %s", len(found), found[0]["facts"]["name"])


def _check_alike(answers: Mapping[str, Devices], may_differ: bool) -> None:
    """InputError if workers of a cluster have different kinds of devices, unless that may be."""
    kinds = {str(found[0].get("facts") or found[0]["device"]): at for at, found in answers.items()}
    if len(kinds) > 1:
        words = "; ".join(f"{kind} at {where}" for kind, where in kinds.items())
        if not may_differ:
            raise InputError(
                f"--scheduler: the workers have different devices ({words}), so that results "
                "would depend on who trains what; --allow_inexact lets them"
            )
        log.warning("NOTE: the workers have different devices (%s)", words)
