"""Kills a search repeatedly, and checks that its result is that of an uninterrupted search.

    python benchmarks/crash.py --kills 25
    python benchmarks/crash.py --kills 25 --config configs/guided.json

Runs a small search on the embedded flowers as the reference, with two workers. Then runs the same
search with SIGKILL to the main process and to workers at random times, and resumes it each time.
Checks that both journals hold the same lines (apart from `meta`), that no line is repeated, that
the winner is the same, and that no process and no state is left. The exit code is 1 if a check
fails.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import psutil

ROOT = Path(__file__).resolve().parent.parent
SEARCH = "--dataset synthetic --image_size 8 --folds 2 --pop_size 4 --epochs 4 --min_epochs 1"
SEARCH += " --max_total_epochs 40 --seed 7 --workers 2"
LIMITS = ["--constraints", "num_params <= 1e5", "macs <= 3e5", "precision >= 0.05"]


def command(runs: Path, *more: str) -> subprocess.Popen:
    """Starts the optimizer; only its standard error is kept."""
    words = [sys.executable, str(ROOT / "optimizer.py"), "--runs_dir", str(runs), *more]
    return subprocess.Popen(words, cwd=runs, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)


def decided(run: Path) -> list[str]:
    """The journal's lines, sorted, without `meta`, which may differ between identical runs."""
    lines = [json.loads(line) for line in (run / "trials.jsonl").read_text().splitlines()]
    return sorted(json.dumps({**line, "meta": None}) for line in lines)


def workers_of(driver: subprocess.Popen) -> list[psutil.Process]:
    """The worker processes of a search, by process id."""
    try:
        children = psutil.Process(driver.pid).children(recursive=True)
        found = [child for child in children if "spawn_main" in " ".join(child.cmdline())]
    except psutil.Error:
        return []
    return sorted(found, key=lambda child: child.pid)


def left_over(pids: set[int], seconds: float = 20) -> set[int]:
    """The processes that still exist after `seconds`."""
    deadline = time.monotonic() + seconds
    while (left := {pid for pid in pids if psutil.pid_exists(pid)}) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.1)
    return left


def crash(runs: Path, words: list[str], kills: int, rng: np.random.Generator) -> dict[str, int]:
    """Runs and kills the search until it ends by itself; returns the numbers of kills."""
    counts, pids, began = {"main process": 0, "worker": 0, "unfinished journal": 0}, set(), False
    journal = runs / "crashed" / "trials.jsonl"
    while True:
        begin = [*words, "--run_name", "crashed"]
        driver = command(runs, *(["--resume", "crashed"] if began else begin))
        moment = time.monotonic() + rng.uniform(4, 12)
        killed_worker = counts["main process"] >= kills
        while driver.poll() is None:
            workers = workers_of(driver)
            pids |= {worker.pid for worker in workers}
            began = began or (journal.exists() and (runs / "crashed" / "run.json").exists())
            if not killed_worker and workers and rng.random() < 0.05:  # once per session
                workers[int(rng.integers(len(workers)))].kill()
                counts["worker"] += 1
                killed_worker = True
            if counts["main process"] < kills and began and time.monotonic() > moment:
                driver.kill()
                counts["main process"] += 1
                break
            time.sleep(0.1)  # finding the workers takes time
        error = driver.communicate()[1].decode()
        if began and not journal.read_bytes().endswith(b"\n") and journal.stat().st_size:
            counts["unfinished journal"] += 1
        if counts["main process"] and rng.random() < 0.2 and driver.returncode < 0:
            tear(journal)  # as a kill during a write does
            counts["unfinished journal"] += 1
        if driver.returncode == 0:
            break
        if driver.returncode > 0:
            sys.exit(f"the search ended with {driver.returncode}: {error}")
    left = left_over(pids)
    return {**counts, "processes seen": len(pids), "processes left": len(left)}


def tear(journal: Path) -> None:
    """Cuts the last line in the middle."""
    size = journal.stat().st_size
    if size:
        os.truncate(journal, size - 40)


def main() -> int:
    """Runs both searches, and prints the checks."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=25, help="kills of the main process")
    parser.add_argument("--seed", type=int, default=1, help="seed of the times of the kills")
    parser.add_argument("--config", help="a preset, such as configs/guided.json")
    given = parser.parse_args()
    words = [*SEARCH.split(), *LIMITS]
    words += ["--config", str(Path(given.config).resolve())] if given.config else []
    with tempfile.TemporaryDirectory() as folder:
        runs = Path(folder)
        reference = command(runs, *words, "--run_name", "whole")
        error = reference.communicate()[1].decode()
        if reference.returncode:
            sys.exit(f"the reference ended with {reference.returncode}: {error}")
        counts = crash(runs, words, given.kills, np.random.default_rng(given.seed))
        whole, crashed = decided(runs / "whole"), decided(runs / "crashed")
        winners = [(runs / name / "opt_cfg.json").read_text() for name in ("whole", "crashed")]
        checks = {
            "the same lines": whole == crashed,
            "no line twice": len(set(crashed)) == len(crashed),
            "the same winner": winners[0] == winners[1],
            "no process left": not counts["processes left"],
            "no state left": not (runs / "crashed" / "checkpoints").exists(),
        }
    print(", ".join(f"{what}: {count}" for what, count in counts.items()))
    print(f"{len(whole)} lines in the reference, {len(crashed)} after the kills")
    for what, held in checks.items():
        print(f"{what}: {'yes' if held else 'NO'}")
    return 0 if all(checks.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
