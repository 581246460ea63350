"""The append-only journal of a run, `trials.jsonl`: one line per finished job."""

import errno
import logging
import os
from collections.abc import Callable, Iterable
from dataclasses import replace
from pathlib import Path
from typing import IO, Any

from search.trial import Job, Trial, canonical
from utils import InputError

log = logging.getLogger("nas")


class Journal:
    """The trials of a run in order of arrival, in memory and, if it has a path, on disk first.

    declared: restores the types of a configuration that JSON does not have (`Space.declared`).
    """

    def __init__(self, path: Path | None = None, declared: Callable[[Any], Any] = dict):
        self.trials: list[Trial] = []
        self.replayed = 0  # number of trials when the journal was opened
        self._by_key: dict[tuple[int, int, int], Trial] = {}
        self._file: IO[str] | None = None
        if path is not None:
            trials, torn = read_trials(path) if path.exists() else ([], False)
            if torn:  # a crash during a write: no decision used that job, and it runs again
                log.warning("warning: %s: its incomplete last line was removed", path)
                os.truncate(path, path.read_bytes().rfind(b"\n") + 1)
            for trial in trials:
                self._remember(replace(trial, config=declared(trial.config)))
            self.replayed = len(self.trials)
            self._file = open(path, "a", encoding="utf-8")

    def find(self, job: Job) -> Trial | None:
        """The trial of a finished job, or None.

        InputError if the journal has the job with another configuration.
        """
        trial = self._by_key.get(job.key)
        if trial is not None and canonical(trial.config) != canonical(job.config):
            raise InputError(
                f"the run cannot resume: in its journal trial {job.trial} is "
                f"{canonical(trial.config)}, and now it would be {canonical(job.config)}; space, "
                "target or settings differ from those at its start"
            )
        return trial

    def append(self, trial: Trial) -> None:
        """Records a trial; when this returns, it is on disk."""
        if self._file is not None:
            self._file.write(trial.to_line() + "\n")
            self._file.flush()
            os.fsync(self._file.fileno())
            if os.fstat(self._file.fileno()).st_nlink == 0:  # the file was deleted
                raise FileNotFoundError(errno.ENOENT, "it was removed", self._file.name)
        self._remember(trial)

    def close(self) -> None:
        """Closes the file."""
        if self._file is not None:
            self._file.close()

    def _remember(self, trial: Trial) -> None:
        self.trials.append(trial)
        self._by_key[trial.key] = trial


def read_trials(path: Path) -> tuple[list[Trial], bool]:
    """The trials in a journal, and whether its last line is incomplete (and left out).

    Only reads, so it works on a running search. InputError if a line is damaged.
    """
    whole, _, torn = path.read_bytes().rpartition(b"\n")
    trials = []
    for number, line in enumerate(whole.split(b"\n") if whole else [], start=1):
        try:
            trials.append(Trial.from_line(line.decode()))
        except (ValueError, TypeError, AttributeError, RecursionError) as error:
            raise InputError(f"{path}, line {number} is damaged: {error}") from None
    return trials, bool(torn)


def used_seconds(trials: Iterable[Trial]) -> float:
    """Wall-clock seconds that the run had used when the last of the trials ended."""
    return max((trial.meta.get("elapsed", 0.0) for trial in trials), default=0.0)
