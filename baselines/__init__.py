"""Other people's optimizers, and our own methods, on the same target under one account.

`run` is the seam. Packages (requirements-peers.txt) are needed only by the methods that use them.
"""

import contextlib
import dataclasses
import importlib
from importlib import metadata
from pathlib import Path
from typing import Any

from baselines import ours
from baselines.recorder import Recorder, Spent
from engine.run import RunFolder
from engine.settings import Settings, resolve
from search.generation import incumbent
from search.trial import Trial
from utils import InputError, nearest

# method -> (module, function, the package it needs)
PEERS: dict[str, tuple[str, str, str | None]] = {
    "one-epoch-first": ("simple", "one_epoch_first", None),
    "dehb": ("dehb_peer", "dehb", "DEHB"),
    "smac-hyperband": ("smac_peer", "hyperband", "smac"),
    "smac-multifidelity": ("smac_peer", "multi_fidelity", "smac"),
    "optuna-tpe": ("optuna_peer", "tpe", "optuna"),
    "optuna-nsga2": ("optuna_peer", "nsga2", "optuna"),
    "optuna-tpe-hyperband": ("optuna_peer", "tpe_hyperband", "optuna"),
}
METHODS = [*ours.METHODS, *PEERS]
KNOWN = [*METHODS, *ours.ABLATIONS]


def run(
    method: str,
    problem: Any,
    seed: int,
    max_total_epochs: int,
    run_dir: str | Path | None = None,
) -> list[Trial]:
    """The trials of a method on a problem, in the order in which they ended.

    A problem is a target (`cheap`, `evaluate`) with `space`, `objective`, `objective_range`,
    `constraints`, `epochs` and `min_epochs`. With `run_dir` the trials are written there, as those
    of a search are. InputError if there is no such method or its package is not installed.
    """
    if method not in KNOWN:
        known = ", ".join(KNOWN)
        raise InputError(f"there is no method {method!r}, but {known}{nearest(method, KNOWN)}")
    settings = settings_of(method, problem, seed, max_total_epochs)
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(contextlib.closing(RunFolder(run_dir))) if run_dir else None
        if folder:
            folder.save(method=method, settings=dataclasses.asdict(settings))
        if method not in PEERS:
            return ours.searched(problem, settings, folder)
        module, function, package = PEERS[method]
        if package and not installed(package):
            raise InputError(
                f"method {method} needs {package}: python -m pip install -r requirements-peers.txt"
            )
        recorder = Recorder(problem, settings, folder)
        with contextlib.suppress(Spent):
            getattr(importlib.import_module(f"baselines.{module}"), function)(recorder)
        recorder.journal.close()
        trials = recorder.journal.trials
        if folder:
            best = incumbent(trials, recorder.ranking)
            folder.save_winner(best, recorder.ranking, problem.epochs)
            folder.delete_all_states()
        return trials


def settings_of(method: str, problem: Any, seed: int, max_total_epochs: int) -> Settings:
    """The settings of a search for this problem; budgets and limits also hold for the peers."""
    return resolve(
        {
            "seed": seed,
            "objective": problem.objective,
            "constraints": list(problem.constraints),
            "epochs": problem.epochs,
            "min_epochs": problem.min_epochs,
            "max_total_epochs": max_total_epochs,
            "max_time": 1e9,
            "workers": "0",
        },
        *ours.layers(method),
    )


def installed(package: str) -> bool:
    """Whether a package can be imported here."""
    try:
        metadata.version(package)
    except metadata.PackageNotFoundError:
        return False
    return True
