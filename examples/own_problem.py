"""A search on your own problem: the lightest coil spring that is stiff enough.

    python examples/own_problem.py

A problem is a ConfigSpace space and a target. The target has the metrics of a configuration that
need no training (`static_metrics`), and those that a training measures (`evaluate`). See
docs/own_problem.md.
"""

import math
import sys
from pathlib import Path

from ConfigSpace import Categorical, ConfigurationSpace, Float, Integer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))  # so that it runs from any folder

from engine.cli.settings import own_settings
from optimizer import search
from utils import derive_rng

MATERIALS = {"steel": (79e3, 7.85e-3), "bronze": (45e3, 8.8e-3)}  # MPa, g/mm^3


class Spring:
    """A spring; "training" measures its stiffness, more exactly with more epochs."""

    def static_metrics(self, config):
        """The outer diameter in mm, which needs no training."""
        return {"width": config["coil"] + config["wire"]}

    def evaluate(self, config, epochs, seed, state=None):
        """The metrics after `epochs` epochs in total; their noise derives from the seed."""
        modulus, density = MATERIALS[config["material"]]
        wire, coil, turns = config["wire"], config["coil"], config["turns"]
        weight = math.pi**2 / 4 * density * wire**2 * coil * turns  # g
        stiffness = modulus * wire**4 / (8 * coil**3 * turns)  # N/mm
        error = derive_rng(seed, epochs).normal(0, 0.05 / epochs)
        measured = {"weight": weight, "stiffness": stiffness * (1 + error)}
        return {**measured, **self.static_metrics(config)}


if __name__ == "__main__":
    space = ConfigurationSpace()
    space.add(Float("wire", (0.5, 5.0), log=True), Float("coil", (10.0, 50.0), log=True))
    space.add(Integer("turns", (3, 20)), Categorical("material", list(MATERIALS)))
    settings = own_settings(
        "minimize weight",
        ["width >= 25", "stiffness >= 10", "stiffness <= 12"],
        epochs=27,
        min_epochs=3,
        eta=3,
        max_generations=30,
        workers="0",
    )
    result = search(space, Spring(), settings)
    print(f"{len(result.trials)} trials, {result.reason}; feasible: {result.feasible}")
    print(result.best.config, result.best.metrics)
