"""Problems of the literature: LCBench by YAHPO Gym's surrogate, with constraints of our own.

    THIRD_PARTY_DIR=DIR python -m benchmarks.problems.lcbench    # chooses the constraints anew

LCBench: neural networks on tabular data sets, 1 to 52 epochs (Zimmer et al. 2021, "Auto-PyTorch
Tabular"); the surrogate: Pfisterer et al. 2022, "YAHPO Gym". DIR holds yahpo/lcbench/model.onnx
and encoding.json of github.com/slds-lmu/yahpo_data, tag v1.0.2 (Apache-2.0).

The objective is the validation accuracy in percent. Both constraints are measured: seconds of
training, and cross entropy. The share of feasible random
configurations is 10, 1 or 0.1 %, and the best without constraints breaks them. All this was
chosen by random configurations before any search saw a problem. The optimum is the best of
random configurations and of steps from these.
"""

import json
import os
import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ConfigSpace import ConfigurationSpace, Float, Integer

from benchmarks.problems.base import Config, Problem, made_of
from search.space import Space
from utils import InputError, derive_rng, derive_seed, write_json

FROZEN = Path(__file__).resolve().parent / "lcbench.json"
EXCLUDED = ("126029", "168868", "189908")  # kept for checks by others
OUTPUTS = ("time", "accuracy", "cross_entropy", "balanced_accuracy")
CONTINUOUS = ("batch_size", "learning_rate", "momentum", "weight_decay")
CONTINUOUS += ("num_layers", "max_units", "max_dropout")
SHARES = (0.1, 0.01, 0.001)
SAMPLES, STEPS = 20_000, 4_000  # configurations by which a task is frozen


@cache
def surrogate() -> tuple[Any, dict[str, int]]:
    """(session of ONNX Runtime, number of each task). InputError if the files are not there."""
    import onnxruntime

    folder = Path(os.environ.get("THIRD_PARTY_DIR", "third_party")) / "yahpo" / "lcbench"
    if not (folder / "model.onnx").is_file():
        raise InputError(
            f"there is no {folder / 'model.onnx'}; allowed is a THIRD_PARTY_DIR with "
            "yahpo/lcbench of https://github.com/slds-lmu/yahpo_data/tree/v1.0.2"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
    return session, json.loads((folder / "encoding.json").read_text())["OpenML_task_id"]


def predict(task: str, configs: Sequence[Config], epochs: int) -> np.ndarray:
    """The outputs of the surrogate after so many epochs: (n, outputs)."""
    session, tasks = surrogate()
    rows = [[epochs, *(config[name] for name in CONTINUOUS)] for config in configs]
    inputs = {"x_cat": np.full((len(rows), 1), tasks[task], np.int32)}
    return session.run(None, {**inputs, "x_cont": np.array(rows, np.float32)})[0]


def configspace() -> ConfigurationSpace:
    """The hyperparameters of all tasks."""
    return made_of(
        Integer("batch_size", (16, 512), log=True),
        Float("learning_rate", (1e-4, 0.1), log=True),
        Float("momentum", (0.1, 0.99)),
        Float("weight_decay", (1e-5, 0.1)),
        Integer("num_layers", (1, 5)),
        Integer("max_units", (64, 1024), log=True),
        Float("max_dropout", (0.0, 1.0)),
    )


class LCBench(Problem):
    """A task of LCBench."""

    task: str
    objective = "maximize accuracy"
    objective_range = (0.0, 100.0)
    epochs, min_epochs = 52, 3
    noise = 0.0  # the surrogate is of the mean

    def configspace(self) -> ConfigurationSpace:
        """As in YAHPO Gym."""
        return configspace()

    def metrics(self, config: Config, epochs: int) -> dict[str, float]:
        """By the surrogate."""
        outputs = predict(self.task, [config], epochs)[0]
        return dict(zip(OUTPUTS, map(float, outputs), strict=False))


def _problems() -> dict[str, type[LCBench]]:
    frozen = json.loads(FROZEN.read_text()) if FROZEN.is_file() else {}
    return {
        f"lcbench-{task}": type(
            f"LCBench{task}",
            (LCBench,),
            {
                "__doc__": f"Task {task} of OpenML.",
                "name": f"lcbench-{task}",
                "task": task,
                "constraints": tuple(facts["constraints"]),
                "optimum": facts["optimum"],
                "best": facts["best"],
            },
        )
        for task, facts in frozen.items()
    }


PROBLEMS = _problems()
# Halves by a hash, as those of closed form: tuned on the first, claimed on the second.
_ordered = sorted(PROBLEMS, key=lambda name: derive_seed("half", name))
TUNE, CLAIM = sorted(_ordered[::2]), sorted(_ordered[1::2])


def choose(task: str, share: float) -> dict[str, Any] | None:
    """The constraints of a task by random configurations, and its optimum.

    None if the best of all configurations keeps them.
    """
    space, rng = Space(configspace()), derive_rng("lcbench", task)
    configs = [space.sample(rng) for _ in range(SAMPLES)]
    found = predict(task, configs, LCBench.epochs)
    time, entropy = found[:, 0], found[:, 2]
    low, high = 0.0, 1.0  # the same quantile for both, so that the share is met
    for _ in range(40):
        middle = (low + high) / 2
        bounds = np.quantile(time, middle), np.quantile(entropy, middle)
        within = (time <= bounds[0]) & (entropy <= bounds[1])
        low, high = (middle, high) if within.mean() < share else (low, middle)
    limits = [float(f"{bound:.4g}") for bound in bounds]
    inside = (time <= limits[0]) & (entropy <= limits[1])
    if inside[int(np.argmax(found[:, 1]))]:
        return None  # the constraints change nothing
    kept = [(found[i, 1], configs[i]) for i in np.flatnonzero(inside)]
    for _ in range(STEPS // 100):  # steps from the best
        kept = sorted(kept, key=lambda pair: -pair[0])[:10]
        near = [space.perturb(kept[i % len(kept)][1], rng) for i in range(100)]
        values = predict(task, near, LCBench.epochs)
        kept += [
            (row[1], config)
            for row, config in zip(values, near, strict=True)
            if row[0] <= limits[0] and row[2] <= limits[1]
        ]
    most, config = max(kept, key=lambda pair: pair[0])
    return {
        "constraints": [f"time <= {limits[0]:g}", f"cross_entropy <= {limits[1]:g}"],
        "share": round(float(inside.mean()), 5),
        "optimum": float(most),
        "best": config,
    }


def main() -> int:
    """Freezes ten tasks."""
    tasks = sorted(set(surrogate()[1]) - {"#na#", *EXCLUDED}, key=lambda t: derive_seed("task", t))
    frozen: dict[str, Any] = {}
    for task in tasks:
        if len(frozen) == 10:
            break
        facts = choose(task, SHARES[len(frozen) % 3])
        if facts:
            frozen[task] = facts
    write_json(FROZEN, frozen)
    for task, facts in frozen.items():
        print(task, facts["share"], facts["constraints"], round(facts["optimum"], 2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
