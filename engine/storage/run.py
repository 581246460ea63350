"""The run folder: its paths, its lock, run.json, and the files derived from the journal.

run.json         settings, data set, versions, device, sessions, winner
space.json       the search space
trials.jsonl     the journal: one line per finished job; all other results derive from it
population.csv   one row per generation
opt_cfg.json     the best configuration so far
baseline.json    the space's default configuration within the limits, if the search began with it
log.txt          the printed lines
checkpoints/     of trainings between two rungs (deleted unless the search was cut short)
"""

import contextlib
import dataclasses
import fcntl
import logging
import os
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import IO, Any

from engine.cli.settings import Settings
from engine.cli.stopping import Stop
from engine.storage.environment import environment
from engine.storage.journal import read_trials
from engine.storage.naming import LATEST, check_name, find_run, run_name, unused_name
from engine.storage.resuming import Refused, differences
from search.constraints import Ranking
from search.trial import Trial
from utils import InputError, read_json, replacing, write_csv, write_json

RUN_VERSION = 1
MIN_FREE_BYTES = 50 * 10**6  # size of the journal, results and log of a long search
log = logging.getLogger("nas")
POPULATION_COLUMNS = ["avg_acc", "best_acc", "avg_prec", "best_prec", "step", "time", "epochs"]
OWN = (  # what a search writes into its folder
    *(".lock", "run.json", "space.json", "trials.jsonl", "population.csv", "opt_cfg.json"),
    *("baseline.json", "log.txt", "checkpoints"),
)
STALE = ("space.json", "log.txt")  # a search that is killed before it writes run.json leaves them


class RunFolder:
    """A run on disk, locked by the process that has it open.

    latest: the folder that gets links to the last winner. peer: the method, if it is one of
    `baselines`; InputError if another one started the run.
    """

    def __init__(
        self, path: str | Path, latest: str | Path | None = None, peer: str | None = None
    ):
        self.path = Path(path)
        self.latest = Path(latest) if latest is not None else None
        self.run_json = self.path / "run.json"
        self.trials_jsonl = self.path / "trials.jsonl"
        self.population_csv = self.path / "population.csv"
        self.opt_cfg_json = self.path / "opt_cfg.json"
        self.baseline_json = self.path / "baseline.json"
        self.log_txt = self.path / "log.txt"
        self.checkpoints = self.path / "checkpoints"
        try:
            here = self.path.iterdir() if self.path.exists() else ()
            self._found = {one.name for one in here}  # before this run wrote anything
            self.checkpoints.mkdir(parents=True, exist_ok=True)
            self._lock: IO[str] = open(self.path / ".lock", "w")
            # The system releases the lock when the process ends.
            fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise InputError(f"run folder {path} is in use by another process") from None
        except OSError as error:
            raise InputError(
                f"run folder {path} cannot be made, written or locked: {error.strerror}"
            ) from None
        for torn in self.checkpoints.glob(".*.tmp"):  # from a process killed during a write
            torn.unlink(missing_ok=True)
        self.record: dict[str, Any] = {"method": peer} if peer else {}
        if self.run_json.exists():
            self.record = read_record(self.run_json)
            if self.record.get("method") != peer:
                self.close()
                began = self.record.get("method") or "optimizer.py"
                raise Refused(f"{path} was started by {began}, which also resumes it")

    @classmethod
    def create(cls, settings: Settings, peer: str | None = None) -> "RunFolder":
        """A new folder in the settings' runs_dir.

        InputError if the name is taken or not allowed.
        """
        runs, name = Path(settings.runs_dir), settings.run_name
        if name is None:
            name = unused_name(runs, run_name(settings, peer))
        check_name(name)
        if not _only_begun(runs / name):
            raise InputError(
                f"{runs / name} exists already; --resume {name} continues it if it is a run, "
                "another --run_name starts a new one"
            )
        folder = cls(runs / name, runs, peer)
        folder._found.clear()  # what a killed start has left is this run's
        for left in STALE:
            (folder.path / left).unlink(missing_ok=True)
        return folder

    @classmethod
    def find(cls, name: str, runs_dir: str, peer: str | None = None) -> "RunFolder":
        """The folder of a run: its path, its name in runs_dir, or 'last' for the newest.

        InputError if there is none.
        """
        path = find_run(name, runs_dir)
        # Another name for the folder, such as '.', does not say which folder it is in.
        path = path.resolve() if path.name in (LATEST, "", "..") else path
        return cls(path, path.parent, peer)

    def begin_session(self, settings: Settings, facts: Mapping[str, Any]) -> None:
        """Records a new session: its settings, data set, versions and machine.

        InputError if the results of a resumed run could change.
        """
        facts = {**facts, **environment(), "inexact": self.record.get("inexact", [])}
        if "settings" in self.record:
            changed = list(differences(self.record, facts))
            threads = self.record["settings"]["threads"]
            if threads != settings.threads:
                changed.append(("threads", threads, settings.threads))
            for what, old, new in changed:
                words = f"{what} was {old} in this run and is {new} now"
                if not settings.allow_inexact:
                    raise Refused(
                        f"{words}, so that its results could change; "
                        "--allow_inexact resumes anyway and records the change"
                    )
                log.warning("NOTE: %s: results may differ from those of one session", words)
                facts["inexact"] = [*facts["inexact"], f"{now()}: {words}"]
        session = {"start": now(), "end": None, "reason": None}
        facts["sessions"] = [*self.record.get("sessions", []), session]
        name = self.record.get("name", self.path.resolve().name)
        arguments = self.record.get("arguments", sys.argv[1:])  # those of the first session
        self.save(name=name, settings=dataclasses.asdict(settings), arguments=arguments, **facts)
        if self.latest is not None:
            with contextlib.suppress(OSError), replacing(self.latest / LATEST) as temporary:
                temporary.symlink_to(self.path.name)

    def end_session(self, reason: str) -> None:
        """Records when and why the session ended, if one began."""
        if "sessions" in self.record:
            *before, last = self.record["sessions"]
            self.save(sessions=[*before, {**last, "end": now(), "reason": reason}])

    def close(self) -> None:
        """Releases the lock."""
        self._lock.close()

    def remove_if_empty(self) -> bool:
        """Removes the run if nothing was trained in it; returns whether it did."""
        recorded = self.trials_jsonl.exists() and self.trials_jsonl.stat().st_size > 0
        if recorded or any(self.checkpoints.glob("*.pt")):
            return False
        self.remove()
        return True

    def remove_if_failed(self) -> None:
        """Removes the run if no training in it succeeded, not even that of a fold."""
        trials = read_trials(self.trials_jsonl)[0] if self.trials_jsonl.exists() else []
        saved = any(self.checkpoints.glob("*.pt"))
        if not saved and not any(trial.status == "ok" for trial in trials):
            self.remove()

    def remove(self) -> None:
        """Removes what the run has written, and its folder if nothing else is there."""
        for path in (self.path / name for name in OWN if name not in self._found):
            with contextlib.suppress(OSError):
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        with contextlib.suppress(OSError):
            self.path.rmdir()
        if self.latest is not None and not (self.latest / LATEST).exists():
            (self.latest / LATEST).unlink(missing_ok=True)  # it pointed here

    def save(self, **changes: Any) -> None:
        """Sets these entries in run.json."""
        self.record = {"v": RUN_VERSION, **self.record, **changes}
        write_json(self.run_json, self.record)

    def state_path(self, trial: int) -> Path:
        """The file with the state of a child between two rungs."""
        return self.checkpoints.absolute() / f"trial_{trial:06d}.pt"  # for workers elsewhere

    def delete_states(self, trials: Iterable[int]) -> None:
        """Deletes the states of these children, with incomplete files of them."""
        for trial in trials:
            path = self.state_path(trial)
            for state in (path, *self.checkpoints.glob(f".{path.name}.*")):
                state.unlink(missing_ok=True)

    def delete_all_states(self) -> None:
        """Deletes the folder of the states."""
        shutil.rmtree(self.checkpoints, ignore_errors=True)

    def cap_states(self, trial: int, max_bytes: int) -> None:
        """Deletes the state of a child if all states together exceed the limit.

        If the child is promoted, it is retrained from the beginning, with the same result.
        """
        sizes = [path.stat().st_size for path in self.checkpoints.glob("*.pt")]
        if sum(sizes) > max_bytes:
            log.debug("states exceed %.1f GB: deleted that of trial %d", max_bytes / 1e9, trial)
            self.delete_states([trial])

    def check_space(self) -> None:
        """Raises Stop if the disk is nearly full, before anything is cut off."""
        free = shutil.disk_usage(self.path).free
        if free < MIN_FREE_BYTES:
            raise Stop(
                "disk full", f"{free / 1e6:.0f} MB are free at {self.path}: free more space there"
            )

    def save_winner(
        self, trial: Trial | None, ranking: Ranking, epochs: int, layers: Any = None
    ) -> None:
        """Writes the best configuration so far to its file, and its metrics into run.json."""
        if trial is None:
            self.save(winner=None)
            return
        known: dict[str, Any] = {"trial": trial.trial, "epochs": trial.epochs}
        known |= {"feasible": ranking.feasible(trial), "fully_trained": trial.epochs >= epochs}
        known |= {"config": trial.config, "metrics": trial.metrics}
        self.save(winner=known | ({"layers": layers} if layers else {}))
        write_json(self.opt_cfg_json, trial.config)
        if self.latest is not None:
            self._link(self.opt_cfg_json, self.latest)
            other = self.latest / self.baseline_json.name
            if "baseline" not in self.record and other.is_symlink():  # from another search
                other.unlink()

    def _link(self, file: Path, folder: Path) -> None:
        """Links the file in the folder of runs, where `main.py` follows it to its search.

        Atomic, so that searches that share a folder of runs do not corrupt the link.
        """
        with replacing(folder / file.name) as temporary:
            try:
                temporary.symlink_to(os.path.relpath(file, folder))
            except OSError:  # the file system has no links
                shutil.copyfile(file, temporary)

    def save_baseline(self, trial: Trial) -> None:
        """Writes the baseline to its file, and its metrics into run.json, once."""
        if "baseline" not in self.record:
            write_json(self.baseline_json, trial.config)
            self.save(baseline={"config": trial.config, "metrics": trial.metrics})
        if self.latest is not None:
            self._link(self.baseline_json, self.latest)

    def save_population(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Writes population.csv."""
        write_csv(self.population_csv, POPULATION_COLUMNS, rows)


def _only_begun(path: Path) -> bool:
    """Whether nothing is there, or what a search leaves that was killed while it started."""
    known = (".lock", "checkpoints", *STALE)
    try:
        return all(one.name in known or one.suffix == ".tmp" for one in path.iterdir())
    except FileNotFoundError:
        return True
    except OSError:  # a file, or a folder that cannot be read
        return False


def identity(record: Mapping[str, Any]) -> dict[str, Any]:
    """Identifies a run, even if its folder or its winner is moved."""
    sessions = record.get("sessions") or [{}]
    return {"name": record.get("name"), "begun": sessions[0].get("start")}


def read_record(path: Path) -> dict[str, Any]:
    """Reads a run.json. InputError if it is not one, or has another version."""
    record = read_json(path)
    if not isinstance(record, dict) or "v" not in record:
        raise InputError(f"{path} is not the record of a run")
    if record["v"] != RUN_VERSION:
        raise InputError(
            f"{path} has version {record['v']!r}; this program reads version {RUN_VERSION}"
        )
    return record


def now() -> str:
    """Local time, to the second, as ISO 8601."""
    return time.strftime("%Y-%m-%dT%H:%M:%S%z")
