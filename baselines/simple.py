"""One epoch, then the best few in full: what somebody does who has no search.

Rounds of as many random configurations as a full training has epochs, each trained for one epoch;
the best `FEW` of a round, by feasibility and objective as in the search, go on to the end.
"""

from baselines.recorder import Recorder
from search.fitting import fit
from utils import derive_rng

FEW = 3


def one_epoch_first(recorder: Recorder) -> None:
    """Until the budget is spent."""
    settings, number = recorder.settings, 0
    while True:
        trials = []
        while len(trials) < settings.epochs:
            rng = derive_rng(recorder.settings.seed, "one epoch first", number)
            config, number = recorder.space.sample(rng), number + 1
            config = fit(recorder.space, config, recorder.known.violation, rng)
            if recorder.static_violation(config) <= 0:
                trials.append(recorder.train(config, 1))
        for trial in sorted(trials, key=recorder.ranking.key)[:FEW]:
            recorder.train(trial.config, settings.epochs)
