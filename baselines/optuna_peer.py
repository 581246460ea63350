"""Optuna: TPE and NSGA-II with constraints, and TPE with the Hyperband pruner.

All at the package's defaults. Constraints are told as such (`Trial.set_constraint`, which took the
place of `constraints_func` in version 5): violations as shares of the bound. What breaks a limit
known before training is told with that violation alone, and with `Recorder.penalty` for a value.
The pruner knows no constraints: at the epochs of its rungs it is told `Recorder.loss`. A trial
that it does not prune goes on, so that only epochs really trained are charged. What a
clause of the space forbids is told as failed.
"""

from collections.abc import Iterator
from typing import Any

import optuna
from ConfigSpace import CategoricalHyperparameter, Constant, OrdinalHyperparameter
from ConfigSpace.types import NotSet

from baselines.recorder import Recorder
from search.space import Space
from utils import derive_seed

FACTOR = 3  # HyperbandPruner's default reduction_factor


def tpe(recorder: Recorder) -> None:
    """Until the budget is spent; every training is a full one."""
    _optimize(recorder, optuna.samplers.TPESampler(seed=_seed(recorder)))


def nsga2(recorder: Recorder) -> None:
    """Until the budget is spent; every training is a full one."""
    _optimize(recorder, optuna.samplers.NSGAIISampler(seed=_seed(recorder)))


def tpe_hyperband(recorder: Recorder) -> None:
    """Until the budget is spent; the pruner ends trainings at its rungs."""
    low, high = recorder.settings.min_epochs, recorder.settings.epochs
    pruner = optuna.pruners.HyperbandPruner(low, high, FACTOR)
    _optimize(recorder, optuna.samplers.TPESampler(seed=_seed(recorder)), pruner)


def _seed(recorder: Recorder) -> int:
    return derive_seed(recorder.settings.seed, "optuna") % 2**32


def _optimize(recorder: Recorder, sampler: Any, pruner: Any = None) -> None:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    # The pruner draws a trial's bracket from the study's name.
    name = f"study {recorder.settings.seed}"
    pruner = pruner or optuna.pruners.NopPruner()
    study = optuna.create_study(sampler=sampler, pruner=pruner, study_name=name)
    levels = [recorder.settings.epochs]
    if isinstance(pruner, optuna.pruners.HyperbandPruner):
        levels = list(_levels(recorder.settings.min_epochs, recorder.settings.epochs))
    while True:
        trial = study.ask()
        _tell(recorder, study, trial, levels)


def _tell(recorder: Recorder, study: Any, trial: Any, levels: list[int]) -> None:
    """Trains what Optuna proposes up to the last level, or until it is pruned."""
    space = recorder.space
    config = suggest(space, trial)
    if recorder.forbidden(config):
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
        return
    violation = recorder.static_violation(config)
    if violation > 0:
        trial.set_constraint("known before training", violation)
        study.tell(trial, recorder.penalty(violation))
        return
    for epochs in levels:
        done = recorder.train(config, epochs)
        trial.report(recorder.loss(done), epochs)
        pruned = epochs < levels[-1] and trial.should_prune()
        if pruned or done.status != "ok":
            break
    for limit in recorder.ranking.constraints if done.status == "ok" else ():
        trial.set_constraint(str(limit), limit.relative_residual(done.metrics))
    if done.status != "ok":
        study.tell(trial, state=optuna.trial.TrialState.FAIL)
    elif pruned:
        study.tell(trial, state=optuna.trial.TrialState.PRUNED)
    else:
        objective = recorder.ranking.key(done)[2]
        study.tell(trial, recorder.loss(done) if len(levels) > 1 else objective)


def _levels(low: int, high: int) -> Iterator[int]:
    """The epochs at which any bracket of the pruner decides, and the last."""
    while low < high:
        yield low
        low *= FACTOR
    yield high


def suggest(space: Space, trial: Any) -> dict[str, Any]:
    """Asks for each active hyperparameter, in the order of the space."""
    config: dict[str, Any] = {}
    for name in space.names:
        values = {other: config.get(other, NotSet) for other in space.names}
        conditions = space.configspace.parent_conditions_of[name]
        if all(condition.satisfied_by_value(values) for condition in conditions):
            config[name] = _suggest_one(space.configspace[name], trial)
    return config


def _suggest_one(one: Any, trial: Any) -> Any:
    if isinstance(one, Constant):
        return one.value
    if isinstance(one, CategoricalHyperparameter):
        return trial.suggest_categorical(one.name, list(one.choices))
    if isinstance(one, OrdinalHyperparameter):  # Optuna has none: the position is a whole number
        return one.sequence[trial.suggest_int(one.name, 0, len(one.sequence) - 1)]
    if isinstance(one.lower, int):
        return trial.suggest_int(one.name, one.lower, one.upper, log=one.log)
    return trial.suggest_float(one.name, one.lower, one.upper, log=one.log)
