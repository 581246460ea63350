"""Ax: Bayesian optimization by BoTorch, with constraints on outcomes.

At the package's defaults. Ax proposes all hyperparameters; inactive ones are ignored. Constraints
are reported as outcomes: residuals as shares of the bound. A proposal that violates a static
constraint is repaired, or drawn again if that fails.
"""

import logging
import warnings
from collections.abc import Mapping
from typing import Any

from ax.api.client import Client
from ax.api.configs import ChoiceParameterConfig, RangeParameterConfig
from ax.utils.common.logger import set_ax_logger_levels

from baselines.recorder import Recorder
from search.space import Config, Space
from search.values import Scale
from utils import derive_rng, derive_seed


def ax(recorder: Recorder) -> None:
    """Runs Ax until the budget is spent; every trial is fully trained."""
    set_ax_logger_levels(logging.ERROR)
    warnings.filterwarnings("ignore")
    space, constraints = recorder.space, recorder.ranking.constraints
    names = [f"residual_{i}" for i in range(len(constraints))]
    client = Client(random_seed=derive_seed(recorder.settings.seed, "ax") % 2**31)
    client.configure_experiment([_parameter(name, scale) for name, scale in space.scales.items()])
    client.configure_optimization("-loss", [f"{name} <= 0" for name in names])
    while True:
        ((number, told),) = client.get_next_trials(1).items()
        config = space.complete(_values(space, told), derive_rng("ax", number))
        if config is None:
            recorder.count_unevaluated()
            client.mark_trial_failed(number)
            continue
        if recorder.static_violation(config) > 0:
            client.mark_trial_failed(number)
            config = recorder.repaired(config, number)
            if config is None:
                continue
            number = client.attach_trial({**told, **_told(space, config)})
        done = recorder.train(config, recorder.settings.epochs)
        if done.status != "ok":
            client.mark_trial_failed(number)
            continue
        residuals = [limit.relative_residual(done.metrics) for limit in constraints]
        outcomes = dict(zip(names, residuals, strict=True))
        client.complete_trial(number, {"loss": recorder.ranking.key(done)[2], **outcomes})


def _parameter(name: str, scale: Scale) -> RangeParameterConfig | ChoiceParameterConfig:
    """Ax's parameter; categories and ordered choices are passed as indices of the choices."""
    if scale.choices and scale.ordered:
        return RangeParameterConfig(name, (0, len(scale.choices) - 1), "int")
    if scale.choices:
        places = list(map(str, range(len(scale.choices))))
        return ChoiceParameterConfig(name, places, "str", is_ordered=False)
    kind = "int" if scale.whole else "float"
    scaling = "log" if scale.log else "linear"
    return RangeParameterConfig(name, (scale.least, scale.most), kind, scaling=scaling)


def _told(space: Space, config: Config) -> dict[str, Any]:
    """The active values in Ax's form."""
    told = {}
    for name, scale in space.scales.items():
        if name in config:
            value = scale.choices.index(config[name]) if scale.choices else config[name]
            told[name] = value if scale.ordered else str(value)
    return told


def _values(space: Space, told: Mapping[str, Any]) -> Config:
    """The native values of Ax's parameters: all hyperparameters except constants."""
    return {
        name: scale.choices[int(told[name])] if scale.choices else told[name]
        for name, scale in space.scales.items()
    }
