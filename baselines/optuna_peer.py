"""Optuna: TPE, NSGA-II and a Gaussian process with constraints; c-TPE.

All are at the package's defaults, and every trial is fully trained. Constraints are reported by
`Trial.set_constraint`: residuals as shares of the bound. A configuration that a clause of the
space forbids is reported as failed.

TPE and NSGA-II get a configuration that violates a static constraint with that violation alone,
and with `Recorder.penalty` as its value. The Gaussian process and c-TPE need all constraints of a
trial: their proposal is repaired, or drawn again if that fails.

With `--default_first` the study starts with the space's default. (It is not reported to other
packages: it is trained, and can win.)

`flat` methods propose all hyperparameters of a conditional space, and inactive ones are ignored:
the Gaussian process and c-TPE do not model conditional spaces.

c-TPE (Watanabe and Hutter 2023) is from OptunaHub: OPTUNAHUB_DIR is a clone of
github.com/optuna/optunahub-registry.
"""

import importlib
import os
import sys
from pathlib import Path
from typing import Any

import optuna
from ConfigSpace import CategoricalHyperparameter, Constant, OrdinalHyperparameter

from baselines.recorder import Recorder
from search.space import Space
from utils import InputError, derive_seed


def tpe(recorder: Recorder) -> None:
    """Runs TPE until the budget is spent."""
    _optimize(recorder, optuna.samplers.TPESampler(seed=_seed(recorder)))


def tpe_flat(recorder: Recorder) -> None:
    """As `tpe`, in the flat space."""
    _optimize(recorder, optuna.samplers.TPESampler(seed=_seed(recorder)), flat=True)


def nsga2(recorder: Recorder) -> None:
    """Runs NSGA-II until the budget is spent."""
    _optimize(recorder, optuna.samplers.NSGAIISampler(seed=_seed(recorder)))


def gp(recorder: Recorder) -> None:
    """Runs the Gaussian process until the budget is spent."""
    sampler = optuna.samplers.GPSampler(seed=_seed(recorder))
    _optimize(recorder, sampler, flat=True, repair=True)


def ctpe(recorder: Recorder) -> None:
    """Runs c-TPE until the budget is spent. InputError without OptunaHub."""
    folder = Path(os.environ.get("OPTUNAHUB_DIR", "optunahub-registry")) / "package" / "samplers"
    if not (folder / "ctpe").is_dir():
        raise InputError(
            f"there is no {folder / 'ctpe'}; allowed is an OPTUNAHUB_DIR with a clone of "
            "https://github.com/optuna/optunahub-registry"
        )
    sys.path.insert(0, str(folder))
    sampler = importlib.import_module("ctpe").cTPESampler(
        seed=_seed(recorder), constraints_func=lambda trial: trial.user_attrs["residuals"]
    )
    _optimize(recorder, sampler, flat=True, repair=True)


def _seed(recorder: Recorder) -> int:
    return derive_seed(recorder.settings.seed, "optuna") % 2**32


def _optimize(recorder: Recorder, sampler: Any, flat: bool = False, repair: bool = False) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.create_study(sampler=sampler)
    if recorder.settings.default_first and recorder.default:
        study.enqueue_trial(_as_told(recorder.space, recorder.default))
    while True:
        trial = study.ask()
        config = suggest(recorder.space, trial, flat)
        if recorder.forbidden(config):
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            continue
        violation = recorder.static_violation(config)
        if violation <= 0:
            _train(recorder, study, trial, config)
        elif repair:
            study.tell(trial, state=optuna.trial.TrialState.FAIL)
            fitted = recorder.repaired(config, trial.number)
            if fitted is not None:
                study.enqueue_trial(_as_told(recorder.space, fitted))
        else:
            trial.set_constraint("known before training", violation)
            study.tell(trial, recorder.penalty(violation))


def _as_told(space: Space, config: dict[str, Any]) -> dict[str, Any]:
    """The values in Optuna's form: see `_suggest_one`."""
    told = dict(config)
    for name, value in config.items():
        one = space.configspace[name]
        if isinstance(one, OrdinalHyperparameter):
            told[name] = one.sequence.index(value)
    return told


def _train(recorder: Recorder, study: Any, trial: Any, config: dict[str, Any]) -> None:
    """Fully trains a proposal and reports the result."""
    done = recorder.train(config, recorder.settings.epochs)
    if done.status != "ok":
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return
    limits = recorder.ranking.constraints
    residuals = [limit.relative_residual(done.metrics) for limit in limits]
    for limit, residual in zip(limits, residuals, strict=True):
        trial.set_constraint(str(limit), residual)
    trial.set_user_attr("residuals", residuals)
    study.tell(trial, recorder.ranking.key(done)[2])


def suggest(space: Space, trial: Any, flat: bool = False) -> dict[str, Any]:
    """Suggests each active hyperparameter, in the order of the space; all of them if `flat`."""
    config: dict[str, Any] = {}
    for name in space.names:
        active = space.active(name, config)
        if active or flat:
            value = _suggest_one(space.configspace[name], trial)
            config |= {name: value} if active else {}
    return config


def _suggest_one(one: Any, trial: Any) -> Any:
    if isinstance(one, Constant):
        return one.value
    if isinstance(one, CategoricalHyperparameter):
        return trial.suggest_categorical(one.name, list(one.choices))
    if isinstance(one, OrdinalHyperparameter):  # Optuna has no ordinals: an integer position
        return one.sequence[trial.suggest_int(one.name, 0, len(one.sequence) - 1)]
    if isinstance(one.lower, int):
        return trial.suggest_int(one.name, one.lower, one.upper, log=one.log)
    return trial.suggest_float(one.name, one.lower, one.upper, log=one.log)
