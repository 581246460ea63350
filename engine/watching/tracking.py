"""Weights & Biases: one W&B run per search, in a thread that the search does not wait for.

Its files are in the run's folder, under wandb/; `wandb sync` uploads an offline run. The search
waits only at its end, at most `PATIENCE` seconds for the network.
"""

import dataclasses
import logging
import netrc
import os
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from queue import SimpleQueue
from typing import Any
from urllib.parse import urlsplit

from engine.callbacks import Callback
from engine.cli.settings import FIELDS, Settings
from engine.cli.stopping import EXIT_CODES
from engine.storage.run import RunFolder
from search.constraints import Ranking
from search.generation import incumbent, total_cost_epochs
from search.trial import Trial

log = logging.getLogger("nas")
# PATIENCE covers a failed start and the offline start after it, and also a failed last upload.
INIT_SECONDS, FINISH_SECONDS, PATIENCE = 6, 8, 15
GROWTH = 1.25  # of the table between two uploads: all uploads together are 5 times the last one
PROJECT = "constrained-nas"  # at W&B, if neither a setting nor WANDB_PROJECT names one
AXES = ("time", "epochs")  # seconds used, epochs charged
_QUIET = {"WANDB_SILENT": "true", "WANDB_ERROR_REPORTING": "false"}


def tracking(settings: Settings, folder: RunFolder) -> "list[Tracker]":
    """The tracker that the settings, W&B's variables and its login select; logs the choice."""
    mode, configured = settings.wandb, key_is_configured(os.environ)
    if mode is None and os.environ.get("WANDB_MODE") in FIELDS["wandb"].metadata["choices"]:
        mode = os.environ["WANDB_MODE"]
    if mode is None and not configured:
        log.info("W&B: disabled, since no key is configured (WANDB_API_KEY or `wandb login`)")
        return []
    if mode == "disabled":
        log.info("W&B: disabled")
        return []
    if mode == "online" and not configured:
        log.warning("warning: W&B: no key is configured (WANDB_API_KEY or `wandb login`)")
        mode = "offline"
    tracker = Tracker(settings, folder, mode or "online")
    log.info("W&B: %s, run %s, files in %s", tracker.mode, tracker.id, folder.path / "wandb")
    return [tracker]


def key_is_configured(environment: Mapping[str, str]) -> bool:
    """Whether W&B finds a key: in its variable, or in the netrc file of its login."""
    if environment.get("WANDB_API_KEY"):
        return True
    for path in (environment.get("NETRC"), "~/.netrc", "~/_netrc"):
        try:
            host = urlsplit(environment.get("WANDB_BASE_URL", "https://api.wandb.ai")).hostname
            if path and netrc.netrc(os.path.expanduser(path)).authenticators(host or ""):
                return True
        except (OSError, ValueError, netrc.NetrcParseError):
            continue
    return False


class Tracker(Callback):
    """Passes events to the thread that talks to W&B.

    The W&B run starts with the first trial, so that a search that cannot start leaves none.
    """

    name = "W&B"

    def __init__(self, settings: Settings, folder: RunFolder, mode: str):
        self.settings, self.folder, self.mode = settings, folder, mode
        self.ranking = settings.ranking()
        self.id = folder.record.get("wandb") or uuid.uuid4().hex[:8]
        # An offline run waits for no network; only a busy machine takes long.
        self._patience = PATIENCE if mode == "online" else 4 * PATIENCE
        self._shown = 0  # trials in the table when it was last sent
        self._calls: SimpleQueue[Callable[[Any], None] | None] = SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="W&B", daemon=True)

    def begin(self, trials: Sequence[Trial], epochs: int | None) -> None:
        self._shown = len(trials)  # an earlier session has sent them

    def recorded(self, trial: Trial) -> None:
        if self._thread.ident is None:
            self.folder.save(wandb=self.id)
            self._thread.start()

    def generation_complete(self, row: dict[str, Any], trials: Sequence[Trial]) -> None:
        known = list(trials)
        media = len(known) >= GROWTH * self._shown
        if media:
            self._shown = len(known)

        def send(run: Any) -> None:
            # A resume repeats each generation; for an offline run this completes the new file.
            if row["step"] > run.summary.get("generation", -1):
                values = generation_values(row, known, self.ranking, self.settings.epochs)
                run.log({**values, **self._media(known if media else [])})

        self._calls.put(send)

    def end(self, result: Any) -> None:
        """See Callback. Waits until W&B has everything, or its patience runs out."""
        if self._thread.ident is None and result.trials:
            self.recorded(result.trials[-1])
        if self._thread.ident is None:
            return
        winner = self.folder.record["winner"]

        def send(run: Any) -> None:
            run.log(self._media(result.trials))
            run.summary.update({"reason": result.reason, "winner": winner})
            if self.folder.opt_cfg_json.exists():
                self._save_configuration(run)
            run.finish(exit_code=EXIT_CODES[result.reason])

        self._calls.put(send)
        self._calls.put(None)
        self._thread.join(self._patience)
        if self._thread.is_alive():
            log.warning("warning: W&B did not finish in time; %s", self._how_to_sync())

    def _work(self) -> None:
        """The thread: starts a W&B run, then executes calls until the end."""
        try:
            run = self._begin()
            while (call := self._calls.get()) is not None:
                call(run)
        except Exception as error:
            log.warning("warning: W&B is off, the search continues: %s", _in_words(error))

    def _begin(self) -> Any:
        """A W&B run: online if possible, else offline after a warning."""
        place = self.folder.path / "wandb"
        own = {"WANDB_DATA_DIR": str(place), "WANDB_CACHE_DIR": str(place / "cache")}
        for name, value in {**_QUIET, **own}.items():
            os.environ.setdefault(name, value)  # read at import, and by W&B's process
        import wandb

        try:
            run = self._init(wandb, self.mode)
        except wandb.errors.Error as error:
            if self.mode == "offline":
                raise
            wandb.teardown()  # else the id is still in use
            self.mode = "offline"
            run = self._init(wandb, self.mode)
            reason = _in_words(error)
            log.warning("warning: W&B continues offline: %s; %s", reason, self._how_to_sync())
        for axis in AXES:
            run.define_metric(axis)
            run.define_metric(f"by_{axis}/*", step_metric=axis)
        return run

    def _init(self, wandb: Any, mode: str) -> Any:
        return wandb.init(
            mode=mode,
            dir=self.folder.path,
            id=self.id,
            resume="allow",
            name=self.folder.path.name[:128],  # the maximum of W&B
            project=self.settings.wandb_project or os.environ.get("WANDB_PROJECT", PROJECT),
            entity=self.settings.wandb_entity,
            group=self.settings.wandb_group,
            tags=self.settings.wandb_tags or None,  # None: as the variables of W&B say
            config=dataclasses.asdict(self.settings),
            settings=wandb.Settings(
                init_timeout=INIT_SECONDS,
                finish_timeout=FINISH_SECONDS,
                console="off",
                silent=True,
                x_transaction_log_flush_interval=0.5,  # seconds of data that a kill may lose
            ),
        )

    def _media(self, trials: Sequence[Trial]) -> dict[str, Any]:
        """The table of trials, the scatter plots, and the brackets of the last generation."""
        import wandb

        if not trials:
            return {}
        rows = [trial_row(trial, self.ranking, self.settings.epochs) for trial in trials]
        columns: list[Any] = list(dict.fromkeys(name for row in rows for name in row))
        cells = [[row.get(name) for name in columns] for row in rows]
        media: dict[str, Any] = {
            "trials": wandb.Table(columns=columns, data=cells, allow_mixed_types=True)
        }
        objective = self.ranking.metric
        for limit in self.ranking.constraints:
            points = wandb.Table(
                columns=[limit.metric, objective, "kind"],
                data=[[row.get(limit.metric), row.get(objective), kind_of(row)] for row in rows],
            )
            title = f"{objective} by {limit.metric}, limit {limit.bound:g}"
            chart = wandb.plot.scatter(points, limit.metric, objective, title=title)
            media[f"plots/{limit.metric}_{objective}"] = chart
        last = max(trial.generation for trial in trials)
        for bracket in sorted({t.bracket for t in trials if t.generation == last and t.bracket}):
            curves = wandb.Table(
                columns=["epochs", objective, "trial"],
                data=[
                    [trial.epochs, trial.metrics.get(objective), f"trial {trial.trial}"]
                    for trial in trials
                    if (trial.generation, trial.bracket) == (last, bracket)
                ],
            )
            title = f"bracket {bracket} of generation {last}"
            chart = wandb.plot.line(curves, "epochs", objective, stroke="trial", title=title)
            media[f"curves/bracket_{bracket}"] = chart
        return media

    def _save_configuration(self, run: Any) -> None:
        import wandb

        artifact = wandb.Artifact(f"opt_cfg-{self.id}", type="configuration")
        artifact.add_file(str(self.folder.opt_cfg_json))
        run.log_artifact(artifact)

    def _how_to_sync(self) -> str:
        kind = "offline-run" if self.mode == "offline" else "run"
        return f"`wandb sync {self.folder.path / 'wandb' / kind}-*` uploads what is there"


def generation_values(
    row: Mapping[str, Any], trials: Sequence[Trial], ranking: Ranking, epochs: int
) -> dict[str, Any]:
    """The values of a generation for W&B's charts, once per axis, without missing values.

    row: of population.csv. trials: all so far. epochs: of a full training.
    """
    best = incumbent(trials, ranking)
    full = [trial for trial in trials if trial.fully_trained(epochs)]
    spent = total_cost_epochs([trial for trial in trials if trial.generation == row["step"]])
    values = {
        f"average_{ranking.metric}": row["avg_acc"],
        "average_precision": row["avg_prec"],
        "epochs_of_generation": spent,
        "feasible_share": sum(map(ranking.feasible, full)) / len(full) if full else None,
    }
    if best is not None:
        shown = [ranking.metric, "precision", *(limit.metric for limit in ranking.constraints)]
        values |= {f"best_{name}": best.metrics.get(name) for name in shown}
        values["best_feasible"] = int(ranking.feasible(best))
    known = {name: value for name, value in values.items() if value is not None}
    axes = {"generation": row["step"], **{axis: row[axis] for axis in AXES}}
    drawn = {f"by_{axis}/{name}": value for axis in AXES for name, value in known.items()}
    return {**axes, **drawn}


def trial_row(trial: Trial, ranking: Ranking, epochs: int) -> dict[str, Any]:
    """A trial as a row of the table, with the numbers of the journal."""
    names = "trial generation bracket rung epochs cost_epochs operator status"
    return {
        **{name: getattr(trial, name) for name in names.split()},
        "parents": " ".join(map(str, trial.parents)),
        "fully_trained": trial.fully_trained(epochs),
        "feasible": ranking.feasible(trial),
        **trial.metrics,
        **{f"config.{name}": value for name, value in trial.config.items()},
        "seconds": trial.meta.get("seconds"),
    }


def kind_of(row: Mapping[str, Any]) -> str:
    """The category of a point in a scatter plot."""
    if not row["fully_trained"]:
        return "not fully trained"
    return "feasible" if row["feasible"] else "over a limit"


def _in_words(error: Exception) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:300]
