"""The environment that a run's results depend on: versions, machine, code."""

import itertools
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

CPUINFO = Path("/proc/cpuinfo")
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
    try:
        text = CPUINFO.read_text(errors="replace")
    except OSError:
        text = ""
    core = itertools.takewhile(bool, text.splitlines())  # the first one
    words = (line.partition(":") for line in core)
    known = {key.strip(): value.strip() for key, _, value in words}
    if "model name" not in known:
        return platform.processor() or platform.machine()
    numbers = [f"{key.removeprefix('cpu ')} {known[key]}" for key in NUMBERS if key in known]
    vectors = ["AVX-512"] if "avx512f" in known.get("flags", "").split() else []
    return ", ".join([known["model name"], *numbers, *vectors])
