"""Console messages of a search: the estimated time at its start, and the summary at its end."""

import functools
import logging
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from statistics import stdev
from typing import Any

from engine.callbacks import Callback
from engine.cli.command import go_on_without_output
from engine.cli.settings import Settings
from engine.storage.journal import used_seconds
from engine.wording import chance, counted, in_words, number_words, resume_words, verdicts
from engine.workers.executor import guess_seconds, slots_of
from engine.workers.planning import plan
from search.constraints import Ranking
from search.generation import total_cost_epochs
from search.hyperband import Bracket, Child, cut, total_epochs
from search.known import StaticLimits
from search.trial import Trial

BUDGETS = {  # why a search ended -> the flag that extends it
    "time limit": "max_time SECONDS",
    "generation limit": "max_generations NUMBER",
    "epoch limit": "max_total_epochs NUMBER",
}
SLOW = 3  # the first networks take this many times as long as the default: a limit would help
log = logging.getLogger("nas")


class TimeEstimate(Callback):
    """Logs the estimated time of two generations, and warns once if `static_metrics` raises.

    pool: one of its workers computes the estimate before the first job, if the target can.
    """

    name = "the estimate of the time"

    def __init__(self, pool: Any, target: Any, settings: Settings, known: StaticLimits):
        self.pool, self.target, self.settings, self.known = pool, target, settings, known
        self._warned = self._estimated = False

    def begin(self, trials: Sequence[Trial], epochs: int | None) -> None:
        self._estimated = bool(trials) or not hasattr(self.target, "estimate_seconds")

    def generation_begins(
        self, generation: int, brackets: Sequence[Bracket], children: Sequence[Child] = ()
    ) -> None:
        if self.known.refusal and not self._warned:
            self._warned = True
            message = "configurations for which `static_metrics` raises are infeasible"
            log.warning("warning: %s: %s", message, self.known.refusal)
        if children and not self._estimated:
            self._estimated = True
            ahead = _epochs_ahead(brackets, generation, self.settings)
            together, gpus = self.pool.workers, slots_of(self.target)
            if gpus and self.settings.scheduler is None:  # several workers share a GPU
                together = min(together, len(gpus))
            tell = functools.partial(
                _tell_estimate, ahead, self.settings, together, self._unlimited_macs(children[0])
            )
            configs = [child.config for child in children]
            self.pool.submit(guess_seconds, configs).add_done_callback(tell)

    def _unlimited_macs(self, first: Child) -> int | None:
        """Multiply-adds of the default, if the search begins with it and does not limit them."""
        limited = any(limit.metric == "macs" for limit in self.known.limits)
        if first.operator != "default" or limited:
            return None
        return self.known.metrics(first.config).get("macs")


def _epochs_ahead(brackets: Sequence[Bracket], generation: int, settings: Settings) -> list[int]:
    """The epochs of this generation, the first, and of the next one if it follows."""
    first, following = total_epochs(brackets), 0
    whole = list(brackets) == plan(settings, generation)  # within the limit, in a large space
    if whole and generation != settings.max_generations:
        left = (settings.max_total_epochs or sys.maxsize) - first
        following = total_epochs(cut(plan(settings, generation + 1), left)[0])
    return [first, following] if following else [first]


def _tell_estimate(
    ahead: Sequence[int], settings: Settings, together: int, macs: int | None, guessed: Future
) -> None:
    """Logs the estimate, if there is one.

    together: number of parallel trainings. macs: see `TimeEstimate._unlimited_macs`.
    """
    if guessed.cancelled() or guessed.exception():  # the search has ended before
        return
    guesses = guessed.result().get("seconds")
    if not guesses:
        log.debug("no estimate of the time: %s", guessed.result()["error"])
        return
    average = sum(guesses) / len(guesses)
    times = [average / together * epochs for epochs in ahead]
    whose = ("for the first generation", "for the next one")
    words = [f"{in_words(one)} {which}" for one, which in zip(times, whose, strict=False)]
    log.info("estimated time: %s", ", ".join(words))
    if (least := min(guesses) * settings.epochs) > settings.max_time + settings.grace:
        log.warning(
            "warning: one full training takes %s: none will end within --max_time %g",
            in_words(least),
            settings.max_time,
        )
    elif times[0] > min(settings.max_time, max(settings.max_time / 10, 600)):
        log.info(
            "the first generation takes over a tenth of the time limit (%s): --max_time SECONDS "
            "allows more; smaller images, a limit on macs or configs/quick.json take less",
            in_words(settings.max_time),
        )
    if macs and average > SLOW * guesses[0]:  # the default is the first
        log.info(
            "an average network takes over %d times as long as the default, which has %s "
            'multiply-adds: a constraint "macs <= NUMBER" makes the search faster',
            SLOW,
            f"{macs:,}",
        )


def summary(
    result: Any,
    settings: Settings,
    source: Any,
    latest: Path,
    run_path: Path,
    inexact: Sequence[str],
    static: Collection[str],
) -> str:
    """The last lines of a search (an `optimizer.Result`).

    static: the names of the static metrics.
    """
    best, trials, ranking = result.best, result.trials, settings.ranking()
    spent, count = total_cost_epochs(trials), len({trial.trial for trial in trials})
    spendings = f"{count} configurations, {spent} epochs, {in_words(used_seconds(trials))}"
    lines = ["", f"The search ended ({result.reason}): {spendings}."]
    if best is None:
        return "\n".join([*lines, "No trial gave a usable result: nothing was written."])
    if not result.feasible:
        lines.append("No configuration met all limits: this is the one nearest to them.")
    chances = chance(source.num_classes)
    known = [
        f"{name} {best.metrics[name]:.4f}"
        + (f" (chance {chances[name]:.2f})" if name in chances else "")
        for name in dict.fromkeys((ranking.metric, "top1", "precision", "recall"))
        if best.metrics.get(name) is not None
    ]
    found = f"trial {best.trial}, mean over the folds after {counted(best.epochs, 'epoch')}"
    config = latest / "opt_cfg.json"
    lines += [
        f"Found:    {found}: {', '.join(known)}",
        *(f"Limit:    {verdict}" for verdict in verdicts(best.metrics, ranking)),
        *beside_baseline(result, ranking),
        *beside_chance(best, ranking, chances),
        *(smaller(result, ranking, static, run_path) if best.epochs == settings.epochs else ()),
        f"Data:     {source.name}",
        f"Files:    {config} (the configuration), {run_path}{os.sep} (everything else)",
        f"Next:     python main.py -c {config} -t True   # measures it on the test split",
    ]
    notes = [source.note] if source.note else []
    notes += [f"resumed inexactly, {words}" for words in inexact]
    return "\n".join([*lines, *(f"NOTE:     {note}" for note in notes)])


def how_to_go_on(reason: str, run_path: Path, peer: str | None) -> str:
    """The command that resumes a search, with the flag of the budget that ended it.

    peer: see `RunFolder`.
    """
    more = f" --{BUDGETS[reason]}   # more than before" if reason in BUDGETS else ""
    return f"Continue: python {resume_words(run_path, peer)}{more}"


def beside_baseline(result: Any, ranking: Ranking) -> list[str]:
    """The baseline of a search beside its winner, if there is one."""
    best, baseline = result.best, result.baseline
    if baseline is None:
        return []
    if best.trial == baseline.trial:
        return ["The search found nothing better than its baseline, the space's default."]
    known = [f"{name} {number_words(baseline.metrics.get(name))}" for name in ranking.metrics]
    return [f"Baseline: the space's default within the same limits: {', '.join(known)}"]


def beside_chance(best: Trial, ranking: Ranking, chances: Mapping[str, float]) -> list[str]:
    """A sentence if the winner of a search is no better than guessing."""
    value, guessed = best.metrics[ranking.metric], chances.get(ranking.metric)
    if guessed is None or ranking.sign < 0 or (value is not None and value > guessed):
        return []
    return [f"This is no better than chance: guessing gives {ranking.metric} {guessed:.2f}."]


def smaller(result: Any, ranking: Ranking, static: Collection[str], run_path: Path) -> list[str]:
    """The smallest trial within one standard error of the winner, if smaller by a tenth.

    Breiman et al. 1984, "Classification and Regression Trees", section 3.4.3. The error is that of
    the mean over the winner's folds; the size is the metric of the first static upper limit.
    """
    best, metric = result.best, ranking.metric
    sizes = [limit.metric for limit in ranking.static(static) if limit.sense == "<="]
    values = [fold[metric] for fold in best.folds if fold.get(metric) is not None]
    if not (sizes and result.feasible and len(values) > 1):
        return []
    error, size = stdev(values) / len(values) ** 0.5, sizes[0]
    level = [
        trial
        for trial in result.trials
        if trial.epochs >= best.epochs
        and ranking.feasible(trial)
        and ranking.sign * (best.metrics[metric] - trial.metrics[metric]) <= error
    ]
    least = min(level, key=lambda trial: (trial.metrics[size], ranking.key(trial)))
    if least.metrics[size] > 0.9 * best.metrics[size]:
        return []
    return [
        f"Smaller:  trial {least.trial}, {metric} {least.metrics[metric]:.4f}, within one "
        f"standard error ({error:.4f}) of the winner: {size} {number_words(least.metrics[size])}; "
        f"python -m reports {run_path} --pareto {size}"
    ]


class _Console(logging.StreamHandler):
    """Writes to the current sys.stdout, which a live display replaces."""

    @property
    def stream(self) -> Any:
        return sys.stdout

    @stream.setter
    def stream(self, _: Any) -> None:
        """Ignored."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Keeps the search running if a line cannot be written."""
        error = sys.exc_info()[1]
        if isinstance(error, OSError):
            go_on_without_output(error)
        else:
            super().handleError(record)


class _QuietFile(logging.FileHandler):
    """A log file that prints no traceback if it cannot be written (the disk is full)."""

    def handleError(self, record: logging.LogRecord) -> None:
        """Ignores the error; the journal reports its own."""


def set_up_logging(verbosity: str, path: Path | None = None) -> None:
    """Logs plain lines to standard output, and lines with the time to `path`."""
    log.setLevel(verbosity)
    log.propagate = False
    for handler in list(log.handlers):
        log.removeHandler(handler)
        handler.close()
    console = _Console()
    console.setFormatter(logging.Formatter("%(message)s"))
    log.addHandler(console)
    if path is not None:
        file = _QuietFile(path, encoding="utf-8")
        file.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(file)
