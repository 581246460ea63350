"""What workers bring, and what a search costs beside its trainings.

    python -m benchmarks.throughput --workers 1 2 --generations 7

Runs one search of configs/quick.json with each number of workers, and prints for each: epochs a
second; the share of the wall-clock that no worker spent in a training, from the start of the first
job (1 - busy seconds / (workers x wall)); and seconds a job beside its training. Then the same
for 500 jobs of a target that trains nothing, without and with states: the program's own part.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.settings import resolve
from optimizer import search
from search.space import Space

ROOT = Path(__file__).resolve().parent.parent


class Nothing:
    """A target whose trainings take no time; with `bytes_written`, each writes a state."""

    def __init__(self, bytes_written: int = 0):
        self.bytes_written = bytes_written

    def cheap(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The number of convolutions stands for the size."""
        return {"num_params": config["n_conv_layers"]}

    def evaluate(
        self, config: Mapping[str, Any], epochs: int, seed: int, state: str | None = None
    ) -> dict[str, Any]:
        """Metrics out of the seed."""
        if state is not None and self.bytes_written:
            Path(state).write_bytes(bytes(self.bytes_written))
        return {"top3": seed % 1000 / 1000, "precision": 0.5, **self.cheap(config)}


def real(workers: int, generations: int, seed: int) -> tuple[float, float]:
    """(epochs a second, share of the time that is no training) of the quick preset."""
    with tempfile.TemporaryDirectory() as runs:
        words = [sys.executable, str(ROOT / "optimizer.py"), "--config"]
        words += [str(ROOT / "configs" / "quick.json"), "--max_generations", str(generations)]
        words += ["--max_time", "1e6", "--seed", str(seed), "--workers", str(workers)]
        words += ["--runs_dir", runs, "--run_name", "timed"]
        subprocess.run(words, cwd=ROOT, check=True, stdout=subprocess.DEVNULL)
        lines = (Path(runs) / "timed" / "trials.jsonl").read_text().splitlines()
    trials = [json.loads(line) for line in lines]
    busy = sum(trial["observed"]["seconds"] for trial in trials)
    began = min(t["observed"]["elapsed"] - t["observed"]["seconds"] for t in trials)
    wall = max(t["observed"]["elapsed"] for t in trials) - began
    return sum(t["charged"] for t in trials) / wall, 1 - busy / (workers * wall)


def overhead(workers: str, bytes_written: int) -> float:
    """Seconds a job of a search that trains nothing, in a folder on disk."""
    space = Space.load(ROOT / "configs" / "space.json")
    given = {"pop_size": 8, "workers": workers, "seed": 1}
    times = []
    for generations in (1, 7):  # what they have in common includes starting workers
        settings = resolve({**given, "max_generations": generations})
        with tempfile.TemporaryDirectory() as folder:
            started = time.perf_counter()
            result = search(space, Nothing(bytes_written), settings, folder)
            times.append((time.perf_counter() - started, len(result.trials)))
    (short, few), (long, many) = times
    return (long - short) / (many - few)


def main() -> None:
    """Prints both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--generations", type=int, default=7)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    for workers in ("0", "1", "2"):
        plain, states = overhead(workers, 0), overhead(workers, 10**6)
        print(
            f"workers {workers}: {1000 * plain:.1f} ms a job beside its training, "
            f"{1000 * states:.1f} ms with a state of 1 MB",
            flush=True,
        )
    first = None
    for workers in given.workers:
        rate, idle = real(workers, given.generations, given.seed)
        first = first or rate
        print(
            f"workers {workers}: {rate:.2f} epochs a second, {rate / first:.2f} times the first, "
            f"{100 * idle:.1f} % of the workers' time was no training",
            flush=True,
        )


if __name__ == "__main__":
    main()
