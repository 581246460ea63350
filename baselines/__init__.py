"""Third-party optimizers and our own methods on the same target, with the same accounting.

`run` is the entry point. Only the methods that use a package (requirements-peers.txt) need it.
"""

import functools
import importlib
import logging
import os
import sys
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import optimizer
from baselines.recorder import Recorder
from engine.callbacks import Callback, CallbackHandler
from engine.cli.settings import GUIDED, Settings, resolve
from engine.cli.stopping import Stop, StopSignals
from engine.storage.environment import version
from engine.storage.history import History
from engine.storage.run import RunFolder
from optimizer import Result
from search.space import Space
from utils import InputError, nearest

log = logging.getLogger("nas")
# method -> (module, function, the package it needs)
PEERS: dict[str, tuple[str, str, str | None]] = {
    "one-epoch-first": ("simple", "one_epoch_first", None),
    "dehb": ("dehb_peer", "dehb", "DEHB"),
    "smac-hyperband": ("smac_peer", "hyperband", "smac"),
    "smac-multifidelity": ("smac_peer", "multi_fidelity", "smac"),
    "optuna-tpe": ("optuna_peer", "tpe", "optuna"),
    "optuna-tpe-flat": ("optuna_peer", "tpe_flat", "optuna"),
    "optuna-gp": ("optuna_peer", "gp", "optuna"),
    "ctpe": ("optuna_peer", "ctpe", "optuna"),
    "ax": ("ax_peer", "ax", "ax-platform"),
    "optuna-nsga2": ("optuna_peer", "nsga2", "optuna"),
}
OURS: dict[str, dict[str, Any]] = {  # method -> its settings of `optimizer.search`
    "ea-hyperband": {"hyperband": True, "sampler": "evolution"},
    "ea": {"hyperband": False, "sampler": "evolution"},
    "hyperband": {"hyperband": True, "sampler": "random"},
    "random": {"hyperband": False, "sampler": "random"},
    "guided": {"hyperband": True, "sampler": "guided", **GUIDED},
    "guided-ea": {"hyperband": False, "sampler": "guided", **GUIDED},
}
METHODS = [*OURS, *PEERS]


def run(
    method: str, problem: Any, seed: int, max_total_epochs: int, run_dir: str | Path | None = None
) -> Result:
    """Runs a method on a problem; the trials are in the order in which they ended.

    A problem is a target with `space`, `objective`, `objective_range`, `constraints`, `epochs` and
    `min_epochs`. With `run_dir` the trials are written there, as by `optimizer.search`. InputError
    if there is no such method or its package is not installed.
    """
    check(method)
    settings = settings_of(method, problem, seed, max_total_epochs)
    if method in OURS:
        return optimizer.search(problem.space, problem, settings, run_dir)
    ours = functools.partial(search_in, method, problem.objective_range)
    return optimizer.search(problem.space, problem, settings, run_dir, (), ours, method)


def search_in(
    method: str,
    objective_range: tuple[float, float],
    folder: RunFolder | None,
    space: Space,
    target: Any,
    settings: Settings,
    callbacks: Sequence[Callback],
    signals: StopSignals,
) -> Result:
    """As `optimizer.search_in`, by a method of PEERS, in this process, one trial at a time.

    objective_range: the smallest and largest value of the objective.
    """
    module, function, _ = PEERS[method]
    with signals, CallbackHandler(callbacks) as handler:
        recorder = Recorder(space, target, settings, objective_range, folder, signals, handler)
        journal = recorder.journal
        history = History(journal, folder, settings, getattr(target, "layers", None))
        handler.notify(Callback.begin, journal.trials, settings.max_total_epochs)
        try:
            if settings.default_first and recorder.default:
                recorder.train(recorder.default, settings.epochs)
            getattr(importlib.import_module(f"baselines.{module}"), function)(recorder)
            raise Stop("space exhausted")  # it has nothing more to propose
        except Stop as stop:
            result = optimizer.conclude(history, stop, handler)
    history.close(result.reason)
    return result


def check(method: str, known: Collection[str] | None = None) -> None:
    """InputError if it is not one of `known` [all], or lacks the package that it needs."""
    known = known or METHODS
    if method not in known:
        hint = nearest(method, known)
        raise InputError(f"no method {method!r}; allowed is {', '.join(known)}{hint}")
    package = PEERS[method][2] if method in PEERS else None
    if package and not installed(package):
        raise InputError(
            f"method {method} needs {package}: python -m pip install -r requirements-peers.txt"
        )


def settings_of(method: str, problem: Any, seed: int, max_total_epochs: int) -> Settings:
    """The settings of a search for this problem; budgets and constraints also apply to peers."""
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
            "pop_size": 10,  # with the published 50, half of 100 trainings would be random search
        },
        OURS.get(method, {}),
    )


def fix_set_order() -> None:
    """Restarts the program with a fixed PYTHONHASHSEED, if it has none.

    SMAC's choices depend on the order of its sets; searches would not be reproducible.
    """
    if os.environ.get("PYTHONHASHSEED", "random") == "random":
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, sys.orig_argv)


def installed(package: str) -> bool:
    """Whether a package can be imported here."""
    return version(package) is not None
