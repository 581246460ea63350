"""Progress of a search: one line per rung and, on a terminal, a live display."""

import contextlib
import datetime
import logging
import sys
import threading
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from typing import Any

from engine.callbacks import Callback
from engine.cli.settings import Settings
from engine.cli.stopping import Clock
from engine.storage.journal import used_seconds
from engine.wording import counted, in_words, number_words
from engine.workers.pool import Activity
from search.generation import total_cost_epochs
from search.hyperband import Bracket, Child
from search.trial import Job, Trial

log = logging.getLogger("nas")
REFRESH = 1  # times a second; a frame takes 3 ms
LAST_EVENTS = 4
QUIET_SECONDS = 60  # without a line, before that of a single trial is logged


def progress(settings: Settings) -> "Progress":
    """The live display if standard output is a terminal with cursor control, else lines only."""
    console = _terminal()
    return Progress(settings) if console is None else Display(settings, console)


@contextlib.contextmanager
def training_bar(target: Any, folds: int, epochs: int) -> Iterator[None]:
    """Shows the progress of a training in this process on a terminal."""
    console = _terminal()
    if console is None:
        yield
        return
    from rich.progress import Progress as Bar

    with Bar(console=console, transient=True) as bar:
        task = bar.add_task("training", total=folds * epochs)
        before = target.on_epoch
        target.on_epoch = lambda fold, epoch: bar.update(task, completed=fold * epochs + epoch)
        try:
            yield
        finally:
            target.on_epoch = before


def _terminal() -> Any:
    """A console if standard output is a terminal with cursor control, else None."""
    if not sys.stdout.isatty():
        return None
    from rich.console import Console

    console = Console()
    return None if console.is_dumb_terminal else console


class Progress(Callback):
    """Counts trials and logs one line per rung."""

    name = "the progress display"

    def __init__(self, settings: Settings):
        self.settings, self.ranking = settings, settings.ranking()
        self.clock = Clock()
        self.told = 0.0  # on this clock, the time of the last line
        self.epoch_limit: int | None = None
        self.spent = self.spent_before = 0  # epochs charged: total, and before this session
        self.full = self.feasible = 0  # fully trained trials; the feasible ones among them
        self.best: Trial | None = None  # of the feasible trials
        self.brackets: Sequence[Bracket] = ()
        self.generation = 0
        self.ended: Counter[tuple[int, int, int]] = Counter()  # by generation, bracket, rung

    def begin(self, trials: Sequence[Trial], epochs: int | None) -> None:
        self.clock, self.epoch_limit = Clock(used_seconds(trials)), epochs
        for trial in trials:
            self._count(trial)
        if trials:
            log.info("%s recorded: repeating the decisions", counted(len(trials), "result"))
        self.spent_before, self.told = total_cost_epochs(trials), self.clock.used()

    def generation_begins(
        self, generation: int, brackets: Sequence[Bracket], children: Sequence[Child] = ()
    ) -> None:
        self.generation, self.brackets = generation, brackets
        if self.spent == self.spent_before:
            self.clock.restart()  # the time of a replay does not count

    def recorded(self, trial: Trial) -> None:
        self._count(trial)
        if self.clock.used() > self.told + QUIET_SECONDS:
            self.tell(self.outcome(trial))

    def rung_complete(self, trials: Sequence[Trial], promoted: set[int]) -> None:
        self.tell(self.rung_words(trials))

    def tell(self, words: str) -> None:
        """Logs a line, with the used budget and the remaining time."""
        log.info("%s; %s", words, self.budget_words())
        self.told = self.clock.used()

    def budget_words(self) -> str:
        """The used budget and the remaining time."""
        limit = "" if self.epoch_limit is None else f" of {self.epoch_limit:,}"
        left = self.seconds_left()
        ahead = "" if left is None else f", {_clock(left)} left"
        return f"{self.spent:,}{limit} epochs, {_clock(self.clock.used())} used{ahead}"

    def outcome(self, trial: Trial) -> str:
        """The result of a trial at a rung."""
        if trial.status != "ok":
            return f"at {trial.epochs}: trial {trial.trial}: {trial.status}, {trial.error}"
        return f"at {trial.epochs}: {self.described(trial)}"

    def rung_words(self, trials: Sequence[Trial]) -> str:
        """The results of a rung."""
        first, metric = trials[0], self.ranking.metric
        words = f"generation {first.generation}, bracket {first.bracket}: "
        words += f"{len(trials)} to {counted(first.epochs, 'epoch')}"
        failed = sum(trial.status != "ok" for trial in trials)
        if failed:
            words += f", {failed} failed"
        best = min(trials, key=self.ranking.key).metrics.get(metric)
        if best is not None:
            words += f", best {metric} {number_words(best)}"
        if self.full and not self.feasible:
            words += f"; none of {self.full} fully trained meets all limits"
        return words

    def facts(self) -> dict[str, str]:
        """The state of the search, in words."""
        time = f"{in_words(self.clock.used())} of {in_words(self.settings.max_time)}"
        left = self.seconds_left()
        if left is not None:
            time += f", about {in_words(left)} left"
        limit = "" if self.epoch_limit is None else f" of {self.epoch_limit:,}"
        share = f" ({self.feasible / self.full:.0%})" if self.full else ""
        return {
            "time": time,
            "epochs": f"{self.spent:,}{limit}, {self.rate():.2f} a second",
            "best": self.described(self.best) if self.best else "none feasible yet",
            "feasible": f"{self.feasible} of {self.full} fully trained{share}",
        }

    def share(self) -> float:
        """The used share of the limit that ends the search first, 0 to 1."""
        epochs = self.spent / self.epoch_limit if self.epoch_limit else 0.0
        time = self.clock.used() / self.settings.max_time if self.settings.max_time else 1.0
        return min(1.0, max(epochs, time))

    def rate(self) -> float:
        """Epochs charged per second in this session."""
        seconds = self.clock.used() - self.clock.used_before
        return (self.spent - self.spent_before) / seconds if seconds > 0 else 0.0

    def seconds_left(self) -> float | None:
        """Seconds to the first limit at the present rate; None before the first new trial."""
        if self.spent == self.spent_before:
            return None
        left = self.settings.max_time - self.clock.used()
        if self.epoch_limit is not None:
            left = min(left, (self.epoch_limit - self.spent) / self.rate())
        return max(0.0, left)

    def described(self, trial: Trial) -> str:
        """The trial's objective and constrained metrics."""
        words = [f"{n} {number_words(trial.metrics.get(n))}" for n in self.ranking.metrics]
        return f"trial {trial.trial}: {', '.join(words)}"

    def _count(self, trial: Trial) -> None:
        self.spent += trial.cost_epochs
        self.ended[trial.generation, trial.bracket, trial.rung] += 1
        if not trial.fully_trained(self.settings.epochs):
            return
        self.full += 1
        if self.ranking.feasible(trial):
            self.feasible += 1
            self.best = min(filter(None, (self.best, trial)), key=self.ranking.key)


class Display(Progress):
    """Also shows the state of the search below the lines; a thread of its own refreshes it."""

    def __init__(self, settings: Settings, console: Any):
        super().__init__(settings)
        self._console = console
        self._live: Any = None
        self._lock = threading.RLock()  # between the search and the thread that draws
        self._events: deque[str] = deque(maxlen=LAST_EVENTS)
        self._activity: dict[int, Activity] = {}

    def begin(self, trials: Sequence[Trial], epochs: int | None) -> None:
        from rich.live import Live

        super().begin(trials, epochs)
        # Printed lines, the log too, go through sys.stdout and appear above the display.
        self._live = Live(
            get_renderable=self.frame,
            console=self._console,
            refresh_per_second=REFRESH,
            transient=True,
            redirect_stderr=sys.stderr.isatty(),
        )
        self._live.start()

    def generation_begins(
        self, generation: int, brackets: Sequence[Bracket], children: Sequence[Child] = ()
    ) -> None:
        with self._lock:
            super().generation_begins(generation, brackets, children)

    def workers_ready(self, activity: dict[int, Activity]) -> None:
        self._activity = activity

    def recorded(self, trial: Trial) -> None:
        with self._lock:
            self._count(trial)
            self._events.append(self.outcome(trial))

    def tell(self, words: str) -> None:
        """Logs a line; the display shows the rest."""
        log.info("%s", words)

    def close(self) -> None:
        """Restores the terminal."""
        if self._live is not None:
            self._live.stop()

    def frame(self) -> Any:
        """The current content of the display."""
        from rich.panel import Panel
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        grid = Table.grid(padding=(0, 2))
        grid.add_column(style="bold", no_wrap=True)
        grid.add_column(overflow="fold")
        with self._lock:
            for bracket in self.brackets:
                grid.add_row(f"bracket {bracket.s}", Text(self.rungs_words(bracket)))
            for name, words in self.facts().items():
                grid.add_row(name, Text(words))
            grid.add_row("done", ProgressBar(total=1.0, completed=self.share(), width=40))
            for number, one in sorted(self._activity.copy().items()):
                if one.arguments and isinstance(job := one.arguments[0], Job):
                    grid.add_row(f"worker {number}", self.training(job, one))
            for number, event in enumerate(self._events):
                grid.add_row("" if number else "last", Text(event, style="dim"))
            return Panel(grid, title=f"generation {self.generation}", title_align="left")

    def training(self, job: Job, activity: Activity) -> Any:
        """The progress of a worker's trial, as a bar and in words."""
        from rich.progress_bar import ProgressBar
        from rich.table import Table
        from rich.text import Text

        folds = self.settings.folds
        words = f"trial {job.trial}, to {counted(job.epochs, 'epoch')}"
        if activity.epoch:
            words += f": fold {activity.fold + 1} of {folds}, epoch {activity.epoch}"
        row = Table.grid(padding=(0, 2))
        done = activity.fold * job.epochs + activity.epoch
        row.add_row(ProgressBar(folds * job.epochs, done, width=20), Text(words))
        return row

    def rungs_words(self, bracket: Bracket) -> str:
        """For each rung, how many of its children have ended."""
        return "   ".join(
            f"{self.ended[self.generation, bracket.s, place]}/{rung.run} at {rung.epochs}"
            for place, rung in enumerate(bracket.rungs)
        )


def _clock(seconds: float) -> str:
    """Formats as 0:07:31; at most thirty years, since a user without a limit gives any number."""
    return str(datetime.timedelta(seconds=round(min(seconds, 1e9))))
