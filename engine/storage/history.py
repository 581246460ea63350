"""The state of a search after each generation: its history and its best trial, also on disk.

All of it derives from the journal. Each trial is read once, since a long search has many.
"""

import copy
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from engine import wording
from engine.cli.settings import Settings
from engine.cli.stopping import RESUMABLE
from engine.storage.journal import Journal, used_seconds
from engine.storage.run import RunFolder
from search.constraints import Ranking
from search.generation import baseline, incumbent, total_cost_epochs
from search.trial import Trial

log = logging.getLogger("nas")


class History:
    """The history of the search with this journal; writes nothing without a folder.

    layers: returns the layer table of a configuration, if the target has one.
    """

    def __init__(
        self,
        journal: Journal,
        folder: RunFolder | None,
        settings: Settings,
        layers: Callable[[Mapping[str, Any]], list[dict[str, Any]]] | None = None,
    ):
        self.journal, self.folder, self.layers = journal, folder, layers
        self.ranking, self.full_epochs = settings.ranking(), settings.epochs
        self.trials: list[Trial] = []  # decided so far; on a resume the journal has more
        self.rows: list[dict[str, Any]] = []  # of population.csv
        self.epochs = 0  # cost of the trials
        self.seconds = 0.0  # used when the last of them ended
        self.best: Trial | None = None  # of the journal, with the unfinished generation
        self.baseline: Trial | None = None  # the space's default configuration, fully trained
        self._looked_at = 0  # trials of the journal that were read

    def add(self, population: Sequence[Trial], trials: Sequence[Trial], generation: int) -> None:
        """Adds a generation that ended with these trials and this population, and writes it."""
        self.trials += trials
        self.epochs += total_cost_epochs(trials)
        self.seconds = max(self.seconds, used_seconds(trials))
        row = population_row(population, self.ranking)
        row |= {"step": generation, "time": self.seconds, "epochs": self.epochs}
        self.rows.append(row)
        if not self._replaying():
            self.write()

    def _replaying(self) -> bool:
        """Whether this session has only repeated decisions so far: the files are then ahead."""
        recorded = self.journal.replayed
        return len(self.trials) < recorded == len(self.journal.trials)

    def write(self) -> Trial | None:
        """Writes the history; logs, writes and returns the best trial so far."""
        before, new = self.best, self.journal.trials[self._looked_at :]
        self._looked_at += len(new)
        self.best = incumbent([*filter(None, [self.best]), *new], self.ranking)
        self.baseline = self.baseline or baseline(new, self.full_epochs)
        if self.best not in (None, before) and self._looked_at > self.journal.replayed:
            log.info("best so far: %s", wording.describe(self.best, self.ranking))
        if self.folder:
            if not self._replaying():
                self.folder.save_population(self.rows)
            if self.baseline:
                self.folder.save_baseline(self.baseline)
            layers = None
            if self.best and self.layers:
                layers = self.layers(copy.deepcopy(self.best.config))
            self.folder.save_winner(self.best, self.ranking, self.full_epochs, layers)
        return self.best

    def close(self, reason: str) -> None:
        """Ends the session; deletes the states unless the search was cut short."""
        self.journal.close()
        if self.folder:
            if reason not in RESUMABLE:
                self.folder.delete_all_states()
            self.folder.end_session(reason)


def population_row(population: Sequence[Trial], ranking: Ranking) -> dict[str, Any]:
    """Averages over the population and the values of its best member.

    acc is the objective's metric, prec the precision; None if not measured.
    """

    def average(metric: str) -> float | None:
        values = [trial.metrics.get(metric) for trial in population]
        known = [value for value in values if value is not None]
        return round(sum(known) / len(known), 6) if known else None

    best = min(population, key=ranking.key).metrics if population else {}
    return {
        "avg_acc": average(ranking.metric),
        "best_acc": best.get(ranking.metric),
        "avg_prec": average("precision"),
        "best_prec": best.get("precision"),
    }
