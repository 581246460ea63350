"""One epoch for many configurations, then full training of the best few: a manual search.

A round trains as many random configurations as a full training has epochs, each for one epoch.
The best `FEW` of a round, by feasibility and objective as in the search, are fully trained.
"""

from baselines.recorder import Recorder
from search.fitting import fit
from search.trial import Trial
from utils import derive_rng

FEW = 3


def one_epoch_first(recorder: Recorder) -> None:
    """Runs rounds until the budget is spent."""
    settings, number = recorder.settings, 0
    while True:
        trials: list[Trial] = []
        while len(trials) < settings.epochs:
            rng = derive_rng(recorder.settings.seed, "one epoch first", number)
            config, number = recorder.space.sample(rng), number + 1
            config = fit(recorder.space, config, recorder.known.violation, rng)
            if recorder.static_violation(config) <= 0:
                trials.append(recorder.train(config, 1))
        for trial in sorted(trials, key=recorder.ranking.key)[:FEW]:
            recorder.train(trial.config, settings.epochs)
