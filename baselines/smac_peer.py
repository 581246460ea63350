"""SMAC3 (Lindauer et al. 2022): Hyperband and multi-fidelity facade at their defaults (eta 3).

It knows no constraints: it minimises `Recorder.loss`. Its budgets are rounded to whole epochs. A
configuration that it promotes goes on from where it was. `n_trials`, from which it takes the size
of its initial design, is what Hyperband with eta 3 trains within the epochs.
"""

import logging
import tempfile
import warnings
from typing import Any

import joblib
from smac import HyperbandFacade, MultiFidelityFacade, Scenario
from smac.runhistory.dataclasses import TrialValue

from baselines.recorder import Recorder
from search.hyperband import hyperband_brackets, total_epochs
from utils import derive_seed, without_nan


def hyperband(recorder: Recorder) -> None:
    """Until the budget is spent."""
    _optimize(recorder, HyperbandFacade)


def multi_fidelity(recorder: Recorder) -> None:
    """Until the budget is spent; a random forest proposes, learning from the highest rung."""
    _optimize(recorder, _SmallForest)


class _SmallForest(MultiFidelityFacade):
    """The facade with room for 2**14 leaves a tree instead of 2**20.

    More than there are trainings, so the trees are the same; but scikit-learn sets all room aside
    at once, which is half of a search's time.
    """

    @staticmethod
    def get_model(scenario: Scenario, **options: Any) -> Any:
        model = MultiFidelityFacade.get_model(scenario, **options)
        model._rf_opts["max_leaf_nodes"] = 2**14
        return model


def _optimize(recorder: Recorder, facade: Any) -> None:
    settings = recorder.settings
    # What its local search says of itself concerns nobody here: "Mean of empty slice", and such.
    warnings.filterwarnings("ignore", "Mean of empty slice|invalid value enc", RuntimeWarning)
    logging.getLogger("smac").setLevel(logging.ERROR)
    # For each prediction the forest starts threads, and mostly waits; in turn is twice as fast.
    with tempfile.TemporaryDirectory() as output, joblib.parallel_config(backend="sequential"):
        scenario = Scenario(
            recorder.space.configspace,
            deterministic=True,
            min_budget=settings.min_epochs,
            max_budget=settings.epochs,
            n_trials=_number_of_trials(recorder),
            seed=derive_seed(settings.seed, "smac") % 2**31,
            output_directory=output,
        )
        optimizer = facade(scenario, logging_level=False, overwrite=True)
        while True:
            info = optimizer.ask()
            config = without_nan(dict(info.config))
            violation = recorder.static_violation(config)
            if violation > 0:
                loss = recorder.penalty(violation)
            else:
                loss = recorder.loss(recorder.train(config, max(1, round(info.budget))))
            optimizer.tell(info, TrialValue(cost=loss), save=False)


def _number_of_trials(recorder: Recorder) -> int:
    settings = recorder.settings
    brackets = hyperband_brackets(settings.epochs, settings.min_epochs, 3)
    trials = sum(rung.size for bracket in brackets for rung in bracket.rungs)
    epochs = total_epochs(brackets)
    return max(1, trials * (settings.max_total_epochs or epochs) // epochs)
