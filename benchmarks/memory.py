"""Estimated against measured memory of a training, on random networks of the space.

    python -m benchmarks.memory --networks 30

Each network trains for two epochs in a worker process; its peak of resident memory is the
kernel's (VmHWM). Prints a row each, and the largest deviation.
"""

import argparse
import math
import tempfile
from pathlib import Path

from engine.executor import evaluate
from engine.pool import ProcessPool
from search.space import Space
from search.trial import Job
from target import cross_validation
from utils import derive_rng
from vision.data import open_data, open_train


def main() -> None:
    """A row for each network."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--networks", type=int, default=30)
    parser.add_argument("--max_macs", type=float, default=4e8, help="larger ones take minutes")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    source = open_data("auto", None, 16, 1)
    images, _ = open_train(source)
    target = cross_validation(images, source.num_classes, 3, given.seed)
    space = Space.load(Path(__file__).resolve().parent.parent / "configs" / "space.json")
    pool = ProcessPool(target, 1, math.inf, 10**12)
    worst, number = 0.0, 0
    print("parameters  multiply-adds  batch  estimate MB  measured MB  ratio")
    with tempfile.TemporaryDirectory() as folder:
        for count in range(given.networks):
            while True:
                config = space.sample(derive_rng(given.seed, "memory", number))
                number += 1
                if target.cheap(config)["macs"] <= given.max_macs:
                    break
            job = Job(count, 0, 1, 0, 2, 2, config)
            state = str(Path(folder) / "state.pt")
            outcome = pool.submit(evaluate, job, 1, state, None).result()
            estimate = target.estimate_memory(config) / 1e6
            measured = outcome["observed"]["peak_mb"]
            ratio = estimate / measured
            worst = max(worst, ratio - 1, 1 - ratio)
            cheap = target.cheap(config)
            print(
                f"{cheap['num_params']:10,}  {cheap['macs']:13,}  {config['batch_size']:5}  "
                f"{estimate:11.0f}  {measured:11.0f}  {ratio:5.2f}"
            )
    pool.shutdown()
    print(f"largest deviation: {100 * worst:.0f} %")


if __name__ == "__main__":
    main()
