"""Constrained neural architecture search: evolution or a guided search, with Hyperband.

    python optimizer.py --config configs/quick.json     # minutes: modern networks, guided search
    python optimizer.py --seed 123 --hyperband True     # a day: the first version's algorithm

Trains networks on Oxford Flowers-17 (or any folder of images), and writes the best feasible
configuration (if there is none, the one with the smallest violation) to
runs/<run>/opt_cfg.json and runs/opt_cfg.json. It is measured on the test split by
`python main.py -c runs/opt_cfg.json -t True`.
"""
# START HERE: `evolve` is the algorithm; `search` opens its workers and files. Neither depends on
# images: both take any ConfigSpace space and any target (`engine.contract`).

import contextlib
import dataclasses
import logging
import sys
import uuid
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from ConfigSpace import ConfigurationSpace

from cnn import CHOICES
from engine.callbacks import Callback, CallbackHandler
from engine.cli.arguments import Parser
from engine.cli.command import command
from engine.cli.settings import Settings, resolve, with_objective
from engine.cli.stopping import EXIT_CODES, RESUMABLE, Stop, StopSignals, reraise_interrupt
from engine.contract import Target, as_target
from engine.storage import spaces
from engine.storage.history import History
from engine.storage.journal import Journal
from engine.storage.resuming import Refused, place_of_images, resumed
from engine.storage.run import RunFolder
from engine.watching import console
from engine.watching.progress import progress
from engine.watching.tracking import tracking
from engine.wording import counted
from engine.workers import devices, planning
from engine.workers.dispatch import Dispatcher
from engine.workers.executor import open_executor
from engine.workers.machine import one_thread
from evaluation.metrics import check_bounds, check_metrics
from search.evolution import survivors
from search.generation import halvings, size
from search.hyperband import budget_levels, continuation, cut, shrink
from search.offspring import OffspringSampler
from search.space import Space
from search.trial import Trial
from utils import InputError, read_object

log = logging.getLogger("nas")
# Printed when the disk is full or the run folder is gone.
KEPT = "all recorded trials are intact; remove the cause, then continue with --resume"


@dataclasses.dataclass(frozen=True)
class Result:
    """The result of a search."""

    best: Trial | None  # None if nothing was trained
    feasible: bool  # whether the best meets every constraint
    trials: list[Trial]
    reason: str  # a key of engine.cli.stopping.EXIT_CODES
    detail: str = ""  # the reason in words
    baseline: Trial | None = None  # the space's default configuration, if it was trained first


Method = Callable[..., Result]  # with the parameters of `search_in`


def search(
    space: Space | ConfigurationSpace,
    target: Target | Callable[..., Any],
    settings: Settings,
    run_dir: str | Path | RunFolder | None = None,
    callbacks: Sequence[Callback] = (),
    method: Method | None = None,
    peer: str | None = None,
) -> Result:
    """Searches until a limit is reached or no new configuration is left.

    Resumes a run that is in `run_dir`; without `run_dir` nothing is written. InputError if no
    configuration meets the static constraints, or if the run in `run_dir` has another space or
    other settings.

    Ctrl-C, SIGTERM and SIGHUP end the search cleanly, and are then passed on to the caller. If
    `run_dir` is an open `RunFolder`, as a command passes it, the `Result` has the reason instead.

    method: another one than `search_in`. peer: its name in `baselines`.
    """
    space, signals, method = spaces.as_space(space), StopSignals(), method or search_in
    given = space, as_target(target), settings, callbacks, signals
    if isinstance(run_dir, RunFolder):
        return method(run_dir, *given)
    if run_dir is None:
        result = method(None, *given)
    else:
        with contextlib.closing(RunFolder(run_dir, peer=peer)) as folder:
            began = "settings" in folder.record
            if began:
                resumed(folder.record, dataclasses.asdict(settings))
            try:
                spaces.keep_space(folder, space)
                folder.begin_session(settings, planning.model_facts(settings))
                result = method(folder, *given)
            except InputError:
                if not began:  # else the folder would refuse the corrected settings
                    folder.remove_if_failed()
                raise
            if result.reason == "failures" and not began:  # the same call starts anew
                folder.remove_if_failed()
    signals.pass_on()
    return result


def search_in(
    folder: RunFolder | None,
    space: Space,
    target: Target,
    settings: Settings,
    callbacks: Sequence[Callback],
    signals: StopSignals,
) -> Result:
    """As `search`; a signal becomes the reason of the result."""
    journal = Journal(folder.trials_jsonl if folder else None, space.declared)
    history = History(journal, folder, settings, getattr(target, "layers", None))
    name = str(folder.path.resolve()) if folder else uuid.uuid4().hex
    sampler = planning.sampler(settings, space, target, journal.trials)
    with (
        signals,
        open_executor(target, settings, name) as workers,
        CallbackHandler(
            [console.TimeEstimate(workers, target, settings, sampler.known), *callbacks]
        ) as handler,
        one_thread() if settings.sampler == "guided" else contextlib.nullcontext(),
    ):
        cost = sampler.known.cost
        dispatcher = Dispatcher(workers, settings, journal, folder, signals, cost, handler)
        handler.notify(Callback.begin, journal.trials, planning.epoch_limit(settings))
        handler.notify(Callback.workers_ready, getattr(workers, "activity", {}))
        try:
            stop = evolve(sampler, settings, dispatcher, history)
        except Stop as early:
            stop = early
        result = conclude(history, stop, handler)
    history.close(result.reason)  # no worker is left that could write a state
    return result


def conclude(history: History, stop: Stop, handler: CallbackHandler) -> Result:
    """Writes, logs and returns the result of a search that ends for the reason `stop`."""
    level = logging.WARNING if EXIT_CODES[stop.reason] == 1 else logging.INFO
    log.log(level, "the search ends: %s", stop)
    best = history.write()
    feasible = best is not None and history.ranking.feasible(best)
    trials, baseline = history.journal.trials, history.baseline
    result = Result(best, feasible, trials, stop.reason, str(stop), baseline)
    handler.notify(Callback.end, result)
    return result


def evolve(
    sampler: OffspringSampler, settings: Settings, dispatcher: Dispatcher, history: History
) -> Stop:
    """The loop over generations. Returns why it ended."""
    ranking, handler = settings.ranking(), dispatcher.callbacks
    last = sys.maxsize if settings.max_generations is None else settings.max_generations
    most_epochs = settings.max_total_epochs or sys.maxsize
    population: list[Trial] = []

    def complete(generation: int, trials: list[Trial]) -> None:
        nonlocal population
        full = [trial for trial in trials if trial.fully_trained(settings.epochs)]
        population = survivors(population, full, ranking.key, settings.pop_size)
        log.debug("population: %s", [trial.trial for trial in population])
        history.add(population, trials, generation)
        handler.notify(Callback.generation_complete, history.rows[-1], history.trials)

    for generation in range(planning.first_generation(settings), last + 1):
        planned = planning.plan(settings, generation)
        sampler.learn(history.trials)
        children = sampler.draw(population, size(planned))
        brackets, limited = cut(shrink(planned, len(children)), most_epochs - history.epochs)
        handler.notify(Callback.generation_begins, generation, brackets, children)
        trials = dispatcher.run(halvings(brackets, children, generation, sampler.promote))
        if limited and not trials:
            return Stop("epoch limit")
        complete(generation, trials)
        if limited:
            return Stop("epoch limit")
        if len(children) < size(planned):  # spend the rest on trials that were not promoted
            left = most_epochs - history.epochs
            rest = continuation(history.trials, settings.epochs, left, generation + 1, ranking.key)
            handler.notify(Callback.generation_begins, generation + 1, [])
            complete(generation + 1, dispatcher.run([rest]))
            return Stop("space exhausted")
    return Stop("generation limit")


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    return command("optimizer.py", lambda: run(parser(__doc__).parse_strictly(argv)), kept=KEPT)


def parser(description: str) -> Parser:
    """The flags of a search: all settings, and what it starts from or resumes."""
    parser = Parser(description)
    parser.add_argument(
        "--config", metavar="PRESET", help="such as configs/quick.json; flags override it"
    )
    parser.add_argument(
        "--resume", metavar="RUN", help="continue a run: its folder, its name, or 'last'"
    )
    words = "start from this configuration instead of the space's default"
    parser.add_argument("--start_from", metavar="FILE", help=words)
    parser.add_settings()
    parser.add_help_all()
    return parser


def run(given: dict[str, Any], method: Method | None = None, peer: str | None = None) -> int:
    """Runs a search with these command-line arguments; returns the exit code.

    method, peer: see `search`.
    """
    resume, preset = given.pop("resume", None), given.pop("config", None)
    start = given.pop("start_from", None)
    folder: RunFolder | None = None
    try:
        if resume is None:
            first = {"default_first": True} if start is not None else {}
            layers = [read_object(Path(preset))] if preset is not None else []
            settings = resolve(*layers, first, given)
            with reraise_interrupt(at_once=False):  # a signal must not lose a new folder
                folder = RunFolder.create(settings, peer)
        else:
            if preset is not None or start is not None:
                flag = "--config" if preset is not None else "--start_from"
                raise InputError(f"{flag} cannot be used with --resume: a run keeps its settings")
            folder = RunFolder.find(resume, given.pop("runs_dir", Settings.runs_dir), peer)
            place = place_of_images(folder.record, given, f"--resume {resume}")
            settings = resumed(folder.record, {**place, **given})
        console.set_up_logging(settings.verbosity, folder.log_txt)
        if resume is None and settings.hyperband and "num_children" in given:
            log.warning("warning: --num_children is ignored: Hyperband's brackets set it")
        check_bounds(settings.ranking())
        file = spaces.space_file(settings.space)
        if "space" not in given:
            spaces.tell_changed(folder, file)
            file = spaces.own_space(folder.path, settings.space)
        space = Space.load(file)
        if start is not None:
            space = spaces.with_default(space, Path(start))
        return run_in(folder, space, settings, method)
    except BaseException as error:
        # A run that could not start leaves no folder.
        removed = folder is not None and resume is None and folder.remove_if_empty()
        if removed and isinstance(error, OSError) and not isinstance(error, BrokenPipeError):
            words = f"{error.filename or 'a file'}: {error.strerror or error}"
            raise InputError(f"{words}; no run was started") from None
        if isinstance(error, Refused):
            raise InputError(f"--resume: {error}") from None
        raise
    finally:
        if folder is not None:
            folder.close()


def run_in(folder: RunFolder, space: Space, settings: Settings, method: Method | None) -> int:
    """Opens the data, searches in `folder`, and prints the summary."""
    with reraise_interrupt():  # importing torch takes seconds: only once the arguments are valid
        from target import TRAINING_VERSION, cross_validation, training_options
        from vision.data import check_folds, noted, open_data, open_train
        from vision.metrics import METRICS
        from vision.overview import overview

    levels = budget_levels(settings.epochs, settings.min_epochs, settings.eta)
    how = {**training_options(settings), "curve_epochs": levels}
    read = settings.image_size, settings.split, settings.crop
    source = open_data(settings.dataset, settings.data_dir, *read)
    images, fingerprint = open_train(source)
    source = noted(source, images)
    check_folds(images.labels, settings.folds, source.class_names)
    settings = with_objective(settings, source.num_classes)
    target = cross_validation(images, source.num_classes, settings.folds, settings.seed, **how)
    known = spaces.described(space, target.static_metrics, CHOICES)
    check_metrics(settings.ranking(), [*METRICS, *known])
    where = devices.resolve_devices(target, settings)
    spaces.keep_space(folder, space)
    data = {**source.to_dict(), "fingerprint": fingerprint}
    now = {"data": data, **devices.facts(where), "training_version": TRAINING_VERSION}
    folder.begin_session(settings, {**now, **planning.model_facts(settings)})
    log.info("run %s", folder.path)
    folds = counted(settings.folds, "fold")
    log.info("data: %s, %d images, %s", source.name, len(images.labels), folds)
    for line in overview(source, images):
        log.info("    %s", line)
    devices.tell(where)
    if source.note:
        log.warning("NOTE: %s", source.note)
    if settings.space == "published":
        log.info("published space and training: configs/modern.json finds better networks")
    callbacks = [progress(settings), *tracking(settings, folder)]
    result = search(space, target, settings, folder, callbacks, method)
    shown, inexact = folder.latest or folder.path, folder.record.get("inexact", [])
    words = console.summary(result, settings, source, shown, folder.path, inexact, known)
    log.info(words)
    peer = folder.record.get("method")  # a peer may plan with its total budget
    if result.reason in RESUMABLE or (peer is None and result.reason in console.BUDGETS):
        log.info(console.how_to_go_on(result.reason, folder.path, peer))
    return EXIT_CODES[result.reason]


if __name__ == "__main__":
    sys.exit(main())
