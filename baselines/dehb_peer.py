"""DEHB (Awad, Mallik, Hutter 2021) at the package's defaults: eta 3.

It does not support constraints: it minimises `Recorder.loss`. Its fidelities are rounded to whole
epochs. A configuration that it promotes unchanged resumes its training. It raises if a clause of
the space forbids what it draws, so it gets the space without clauses, and a forbidden
configuration has the worst possible loss.
"""

import math
import tempfile

from ConfigSpace import ConfigurationSpace
from dehb import DEHB

from baselines.recorder import Recorder
from utils import derive_seed, without_nan


def dehb(recorder: Recorder) -> None:
    """Runs DEHB until the budget is spent."""
    settings = recorder.settings
    with tempfile.TemporaryDirectory() as output:
        optimizer = DEHB(
            cs=without_clauses(recorder.space.configspace),
            # DEHB needs two levels; if the problem has one, both round to a full training.
            min_fidelity=min(settings.min_epochs, settings.epochs / 3),
            max_fidelity=settings.epochs,
            n_workers=1,
            seed=derive_seed(settings.seed, "dehb") % 2**31,
            output_path=output,
            log_level="ERROR",
            save_freq="end",
        )
        while True:
            job = optimizer.ask()
            config = without_nan(dict(job["config"]))
            violation = recorder.static_violation(config)
            if recorder.forbidden(config):
                violation = math.inf
            if violation > 0:
                optimizer.tell(job, {"fitness": recorder.penalty(violation), "cost": 0})
                continue
            trial = recorder.train(config, max(1, round(job["fidelity"])))
            optimizer.tell(job, {"fitness": recorder.loss(trial), "cost": trial.cost_epochs})


def without_clauses(space: ConfigurationSpace) -> ConfigurationSpace:
    """The same hyperparameters and conditions, without forbidden clauses."""
    free = ConfigurationSpace()
    free.add(*space.values())
    free.add(*space.conditions)
    return free
