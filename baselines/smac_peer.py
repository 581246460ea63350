"""SMAC3 (Lindauer et al. 2022): Hyperband and multi-fidelity facade at their defaults (eta 3).

It does not support constraints: it minimises `Recorder.loss`. Its budgets are rounded to whole
epochs. A promoted configuration resumes its training. `n_trials`, which determines the size of
the initial design, is the number of trials of Hyperband with eta 3 within the epochs.
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
    """Runs Hyperband until the budget is spent."""
    _optimize(recorder, HyperbandFacade)


def multi_fidelity(recorder: Recorder) -> None:
    """As `hyperband`; a random forest, fitted to the highest rung, proposes."""
    _optimize(recorder, _SmallForest)


class _SmallForest(MultiFidelityFacade):
    """The facade with at most 2**14 leaves per tree instead of 2**20.

    There are fewer trials, so the trees are the same; but scikit-learn allocates all leaves at
    once, which takes half of a search's time.
    """

    @staticmethod
    def get_model(scenario: Scenario, **options: Any) -> Any:
        model = MultiFidelityFacade.get_model(scenario, **options)
        model._rf_opts["max_leaf_nodes"] = 2**14
        return model


def _optimize(recorder: Recorder, facade: Any) -> None:
    settings = recorder.settings
    # Warnings of its local search, such as "Mean of empty slice", are irrelevant here.
    warnings.filterwarnings("ignore", "Mean of empty slice|invalid value enc", RuntimeWarning)
    logging.getLogger("smac").setLevel(logging.ERROR)
    # The forest starts threads for each prediction and mostly waits: sequential is twice as fast.
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
