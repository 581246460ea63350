"""The environment that a run's results depend on: versions, machine, code."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from utils import first_processor

NUMBERS = ("cpu family", "model")
CALCULATE = ("torch", "numpy", "scipy", "ConfigSpace", "schedulefree")  # results depend on them
PACKAGES = (*CALCULATE, "torchvision", "pillow")


def environment() -> dict[str, Any]:
    """Versions, machine and code revision, for run.json."""
    try:
        where, command = Path(__file__).resolve().parent, ["git", "rev-parse", "HEAD"]
        git = subprocess.run(command, cwd=where, timeout=10, capture_output=True, text=True)
        revision = git.stdout.strip() or None
    except (OSError, subprocess.TimeoutExpired):
        revision = None
    versions = {"python": platform.python_version(), **{n: version(n) for n in PACKAGES}}
    return {
        "versions": versions,
        "machine": platform.platform(),
        "processor": processor_name(),
        "git_revision": revision,
    }


def version(package: str) -> str | None:
    """The version of a package, or None if it is not installed."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def processor_name() -> str:
    """The processor's model, family and vector units; the last bits of results depend on them.

    Several generations, whose vector units round differently, can have the same model name.
    """
    known = first_processor()
    if "model name" not in known:
        return platform.processor() or platform.machine()
    numbers = [f"{key.removeprefix('cpu ')} {known[key]}" for key in NUMBERS if key in known]
    vectors = ["AVX-512"] if "avx512f" in known.get("flags", "").split() else []
    return ", ".join([known["model name"], *numbers, *vectors])
