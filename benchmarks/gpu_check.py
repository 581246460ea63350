"""Checks the program's promises on a GPU, and measures its speed: one table, some minutes.

    python -m benchmarks.gpu_check                         # or make gpu-check
    python -m benchmarks.gpu_check --device cpu --rehearse # the same checks, tiny, on a CPU

Needs torch 2.6 or later, numpy, scipy and ConfigSpace. Exit codes: 0 every promise holds, 1 one
fails, 2 no usable GPU. Figures have no verdict; a star marks the memory format that the program
uses. Checks that the GPU or its memory does not allow are left out, and a row says so.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch

from benchmarks import gpu_rates, gpu_steps
from benchmarks.gpu_promises import PROMISES, REHEARSAL, Scale
from engine.cli.command import command
from engine.workers.devices import FIRST_WITH_BFLOAT16, has_bfloat16
from engine.workers.executor import GPU_WORKER_BYTES
from engine.workers.machine import usable_memory
from training import gpus
from utils import InputError

FIGURES = {
    "by dtype": gpu_rates.by_dtype,
    "by workers": gpu_rates.by_workers,
    "by matrix rate": gpu_rates.by_matrix_rate,
    "against the plain way": gpu_rates.against_the_plain_way,
    "steps": gpu_steps.rows,
}


def row(*cells: str) -> None:
    """Prints a row of the table at once."""
    print("| " + " | ".join(cell.replace("|", "/").replace("\n", " ") for cell in cells) + " |")
    sys.stdout.flush()


def table(verdict: str, checks: Mapping[str, Callable[[], Any]]) -> bool:
    """Prints the row of each promise, or the rows of each group of figures; whether all held."""
    good, started = True, time.perf_counter()
    for name, check in checks.items():
        try:
            found = check()
            for what, words in [(name, found)] if isinstance(found, str) else found:
                row(what, verdict, words, f"{time.perf_counter() - started:.0f}")
                started = time.perf_counter()
        except Exception as error:  # any error is a broken promise
            if not isinstance(error, AssertionError):
                traceback.print_exc()
            seconds = f"{time.perf_counter() - started:.0f}"
            row(name, "FAILED", f"{type(error).__name__}: {error}", seconds)
            good, started = False, time.perf_counter()
    return good


def device(given: argparse.Namespace) -> Mapping[str, Any]:
    """The first device of `gpus.devices`; InputError if it cannot be checked."""
    if given.device == "cpu" and not given.rehearse:
        raise InputError("--device cpu is for --rehearse only: nothing is proved on a CPU")
    try:
        (first, *_) = gpus.devices(given.device)  # by a subprocess: see `one_journal`
    except InputError as error:
        words = str(error).rpartition(";")[0]
        raise InputError(f"{words}; --device cpu --rehearse runs the same checks, tiny") from None
    if first.get("exclusive"):
        name = first["facts"]["name"]
        raise InputError(f"{name} is in exclusive mode: the check needs several processes on it")
    return first


def possible(
    first: Mapping[str, Any], scale: Scale, sizes: gpu_rates.Sizes
) -> tuple[Scale, gpu_rates.Sizes]:
    """The sizes that this device supports; prints a row for each one that is left out."""
    if not has_bfloat16(first) and "bfloat16" in scale.dtypes:
        row("bfloat16", "left out", f"needs compute capability {FIRST_WITH_BFLOAT16}", "")
        scale = scale._replace(dtypes=tuple(a for a in scale.dtypes if a != "bfloat16"))
    if "slots" not in first:
        return scale, sizes
    slots = max(1, min(first["slots"], usable_memory() // GPU_WORKER_BYTES))
    fewer = scale._replace(workers=tuple(n for n in scale.workers if n <= slots))
    less = sizes._replace(workers=tuple(n for n in sizes.workers if n <= slots))
    out = sorted({*scale.workers, *sizes.workers} - {*fewer.workers, *less.workers})
    if out:
        many = ", ".join(map(str, out))
        row(f"workers {many}", "left out", f"free memory is enough for {slots} at a time", "")
    return fewer, less


def run(given: argparse.Namespace) -> int:
    """Prints the table; returns the exit code."""
    first = device(given)
    scale = Scale(given.device)
    if given.rehearse:
        scale = REHEARSAL._replace(device=given.device)
    sizes = gpu_rates.FEW if given.rehearse else gpu_rates.Sizes()
    started = time.perf_counter()
    row("what", "verdict", "seen", "s")
    row(*["---"] * 4)
    facts = first.get("facts", {"name": "CPU: a rehearsal"})
    words = ", ".join(f"{key} {value}" for key, value in facts.items())
    row("device", "noted", f"{words}, torch {torch.__version__}", "")
    scale, sizes = possible(first, scale, sizes)
    good = table("ok", {name: partial(PROMISES[name], scale) for name in given.only or PROMISES})
    if not given.only:
        figures = {name: partial(figure, scale, sizes) for name, figure in FIGURES.items()}
        good = table("measured", figures) and good
    total = f"{time.perf_counter() - started:.0f}"
    row("all", "ok" if good else "FAILED", "every promise holds" if good else "see above", total)
    return 0 if good else 1


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--device", default="cuda", choices=["cpu", "cuda"])
    parser.add_argument("--rehearse", action="store_true", help="tiny sizes, to see that it runs")
    parser.add_argument("--only", nargs="+", choices=list(PROMISES), help="only these promises")
    given = parser.parse_args(argv)
    return command("gpu_check.py", lambda: run(given))


if __name__ == "__main__":
    sys.exit(main())
