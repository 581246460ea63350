"""Memory and pace of the search itself over many trials that train nothing.

    python -m benchmarks.driver --trials 20000

Prints the resident memory of the process after a tenth of the trials and after all, and how long
deciding took between two generations (new children, survival, files), at the end of the search.
"""

import argparse
import logging
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import psutil

from engine.settings import resolve
from optimizer import search
from search.space import Space
from utils import derive_seed

ROOT = Path(__file__).resolve().parent.parent
CHILDREN = 10  # a generation


class Watched:
    """Trains nothing; notes when it was called, and how large the process was."""

    def __init__(self) -> None:
        self.ended = time.perf_counter()
        self.pauses: list[float] = []
        self.megabytes: list[float] = []

    def cheap(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The number of convolutions stands for the size."""
        return {"num_params": config["n_conv_layers"]}

    def evaluate(
        self, config: Mapping[str, Any], epochs: int, seed: int, state: str | None = None
    ) -> dict[str, Any]:
        """As large a record as a real one: three folds with a curve of five points."""
        self.pauses.append(time.perf_counter() - self.ended)
        self.megabytes.append(psutil.Process().memory_info().rss / 1e6)
        value = derive_seed(seed) % 10**6 / 10**6
        names = ("top3", "top1", "precision", "recall", "loss")
        metrics = dict.fromkeys(names, value)
        fold = {**metrics, "curve": [{**metrics, "epochs": point} for point in (3, 6, 12, 25, 50)]}
        self.ended = time.perf_counter()
        return {**metrics, **self.cheap(config), "folds": [fold] * 3}


def main() -> None:
    """Runs the search and prints both figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--trials", type=int, default=20000)
    given = parser.parse_args()
    logging.getLogger("nas").setLevel(logging.WARNING)
    space, target = Space.load(ROOT / "configs" / "space.json"), Watched()
    settings = {"hyperband": False, "num_children": CHILDREN, "workers": "0"}
    settings["max_generations"] = (given.trials - 50) // CHILDREN
    with tempfile.TemporaryDirectory() as folder:
        result = search(space, target, resolve(settings), folder)
    count = len(result.trials)
    early, late = target.megabytes[count // 10], target.megabytes[-1]
    print(f"{count} trials; memory after a tenth of them {early:.0f} MB, after all {late:.0f} MB")
    between = target.pauses[50::CHILDREN][-100:]
    within = sorted(target.pauses[-1000:])[500]
    print(
        f"deciding between two generations, the last 100: median "
        f"{1000 * sorted(between)[len(between) // 2]:.0f} ms, most {1000 * max(between):.0f} ms; "
        f"between two jobs {1000 * within:.1f} ms (median)"
    )


if __name__ == "__main__":
    main()
