"""What may change when a run resumes, and where its images are."""

import os
from collections.abc import Iterator, Mapping
from typing import Any

from engine.cli.settings import FIELDS, Settings, of_record, resolve
from engine.storage.environment import CALCULATE
from utils import InputError

# Settings that may change on a resume: budgets, and what no trial's result depends on. A
# fingerprint identifies the images, and the run keeps a copy of its space.
MAY_DIFFER = (
    *("max_time", "grace", "max_total_epochs", "max_generations", "verbosity", "workers"),
    *("scheduler", "trial_timeout", "max_memory_gb", "max_checkpoint_gb", "dataset"),
    *("allow_inexact", "data_dir", "space"),
    *("wandb", "wandb_project", "wandb_entity", "wandb_group", "wandb_tags"),
)
INEXACTLY = ("device", "threads")  # may change with allow_inexact only


class Refused(InputError):
    """A run cannot resume so. The command line adds the flag to the message."""


def place_of_images(
    record: Mapping[str, Any], given: Mapping[str, Any], flags: str
) -> dict[str, Any]:
    """The settings that find the images of a run again, unless `given` names a place.

    InputError if their folder no longer exists; the message adds --dataset to `flags`.
    """
    if {"dataset", "data_dir"} & set(given):
        return {"dataset": Settings.dataset, "data_dir": None}
    data = record.get("data")
    if not isinstance(data, dict) or not {"kind", "root"} <= set(data):  # not recorded
        return {}
    kind, root = data["kind"], data["root"]
    if root is not None and not os.path.isdir(root):
        raise InputError(
            f"the images of this run were in {root}, which no longer exists: if they have moved, "
            f"{flags} --dataset NEW finds them in the folder NEW"
        )
    if kind == "folder":
        return {"dataset": root, "data_dir": None}
    return {"dataset": kind, "data_dir": root}  # not `auto`, which may find others


def resumed(record: Mapping[str, Any], given: Mapping[str, Any]) -> Settings:
    """The settings of the run with this run.json, updated; InputError for a forbidden change."""
    if not isinstance(record.get("settings"), dict):
        raise Refused("the run.json of this run has no settings")
    began = of_record(record["settings"]) | {"allow_inexact": False}  # consent is per session
    kept, settings = resolve(began), resolve(began, given)
    allowed_now = MAY_DIFFER + (INEXACTLY if settings.allow_inexact else ())
    for name in FIELDS:
        old, new = getattr(kept, name), getattr(settings, name)
        if name == "constraints":  # compared as numbers, not as text
            same = settings.ranking().constraints == kept.ranking().constraints
        else:
            same = new == old
        if not same and name not in allowed_now:
            hint = "; --allow_inexact permits it" if name in INEXACTLY else ""
            raise Refused(
                f"{name} is {old!r} in this run and cannot become {new!r}; only "
                f"{', '.join(MAY_DIFFER)} may differ{hint}"
            )
    return settings


def differences(
    before: Mapping[str, Any], after: Mapping[str, Any]
) -> Iterator[tuple[str, Any, Any]]:
    """(what, before, after) for each change after which results may not be identical."""
    noted = before.get("versions") or {}  # an unrecorded version is not known to differ
    versions = [("versions", name) for name in CALCULATE if name in noted]
    facts = [(name,) for name in ("training_version", "model_version", "device", "processor")]
    same = before.get("device") == after.get("device")  # else the device itself is reported
    gpu = [("gpu", name) for name in after.get("gpu") or {}] if same else []
    for path in (("data", "fingerprint"), *facts, *gpu, *versions):
        old: Any = before
        new: Any = after
        for name in path:
            old, new = ((one or {}).get(name, {}) for one in (old, new))
        if old != new:
            yield " ".join(path), old or "not recorded", new
