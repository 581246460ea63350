"""The output of a running search, and that callbacks cannot disturb it."""

import contextlib
import fcntl
import functools
import io
import logging
import os
import pty
import re
import signal
import subprocess
import sys
import termios
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console

from engine.callbacks import Callback
from engine.cli.settings import resolve
from engine.watching import progress
from engine.watching.progress import Progress
from engine.watching.tracking import generation_values, trial_row
from engine.workers.planning import epoch_limit
from engine.workers.pool import Activity
from optimizer import search
from search.trial import Job
from tests.stub_target import StubTarget
from tests.stubs import lines, make_trial, small_space
from utils import read_json

SCRIPT = Path(__file__).with_name("watched_search.py")
TINY = {"workers": "0", "pop_size": 4, "epochs": 4, "min_epochs": 1, "max_generations": 2}


def watched(caplog, *callbacks, **changes):
    settings = resolve({**TINY, **changes})
    caplog.set_level(settings.verbosity, "nas")
    logging.getLogger("nas").propagate = True
    result = search(small_space(100), target(), settings, None, [Progress(settings), *callbacks])
    return result, settings.ranking(), caplog.messages


def target():
    return StubTarget(static_metrics=lambda config: {"num_params": 1000 * config["x"]})


def test_a_line_a_rung_with_all_facts(caplog):
    result, ranking, messages = watched(caplog)
    told = [message for message in messages if message.startswith("generation ")]
    rungs = {(trial.generation, trial.bracket, trial.rung) for trial in result.trials}
    heads = [re.match(r"generation (\d), bracket (\d): (\d+) to (\d) epoch", m) for m in told]
    assert sorted(tuple(map(int, head.groups()[:2])) for head in heads) == sorted(
        rung[:2] for rung in rungs
    )
    assert sum(int(head[3]) for head in heads) == len(result.trials)
    last = [t for t in result.trials if t.generation == 2 and t.bracket == int(heads[-1][2])]
    best = min((t for t in last if t.epochs == int(heads[-1][4])), key=ranking.key)
    assert f", best top3 {best.metrics['top3']:.4f}; " in told[-1]
    spent = sum(trial.cost_epochs for trial in result.trials)
    assert told[-1].endswith(f"; {spent} of {spent} epochs, 0:00:00 used, 0:00:00 left")
    assert all(len(message) <= 120 for message in told)
    news = [message for message in messages if message.startswith("best so far")]
    assert news and len(news) == len(set(news)), "what is the best is said when it changes"


def test_the_epochs_that_end_a_search_are_known():
    for changes in ({}, {"hyperband": False}, {"max_total_epochs": 30}):
        settings = resolve({**TINY, **changes})
        result = search(small_space(100), target(), settings)
        left = epoch_limit(settings) - sum(trial.cost_epochs for trial in result.trials)
        assert 0 <= left < 4  # a job that would exceed the limit does not start
    assert epoch_limit(resolve({**TINY, "max_generations": None})) is None
    assert epoch_limit(resolve({**TINY, **changes, "max_generations": None})) == 30


def test_the_estimate_is_the_first_limit_to_be_reached():
    progress = Progress(resolve({**TINY, "max_time": 1000}))
    assert progress.seconds_left() is None
    progress.begin([], 100)
    progress.clock.started -= 10
    progress.recorded(make_trial(cost_epochs=25))
    assert progress.rate() == pytest.approx(2.5, rel=0.01)
    assert progress.seconds_left() == pytest.approx(30, rel=0.01)
    progress.epoch_limit = 10**6
    assert progress.seconds_left() == pytest.approx(990, rel=0.01)


def test_after_a_quiet_minute_a_single_trial_is_a_line(caplog):
    progress = Progress(resolve(TINY))
    progress.begin([], 100)
    caplog.set_level("INFO", "nas")
    progress.recorded(make_trial())
    assert caplog.messages == []
    progress.clock.started -= 61
    for trial in (make_trial(trial=7, epochs=3), make_trial(trial=8, epochs=3)):
        progress.recorded(trial)
    (line,) = caplog.messages
    assert line.startswith("at 3: trial 7: ") and "0:01:01 used" in line
    progress.clock.started -= 61
    progress.recorded(make_trial(trial=9, status="failed", error="no reason", metrics={}))
    assert "trial 9: failed, no reason" in caplog.messages[1]


def test_a_replay_takes_no_time_of_the_display():
    progress = Progress(resolve(TINY))
    progress.begin([make_trial(meta={"elapsed": 50.0})], 100)
    progress.clock.started -= 30
    progress.generation_begins(2, [])
    assert 50 <= progress.clock.used() < 51
    progress.recorded(make_trial(trial=1))
    progress.clock.started -= 30
    progress.generation_begins(3, [])
    assert progress.clock.used() >= 80


def test_failed_trainings_are_not_fully_trained():
    settings, failed = resolve(TINY), make_trial(epochs=4, status="failed", metrics={})
    progress = Progress(settings)
    progress.begin([failed], 100)
    assert progress.spent > 0 and progress.full == 0
    assert not trial_row(failed, settings.ranking(), epochs=4)["fully_trained"]
    row = dict.fromkeys(["avg_acc", "avg_prec", "step", "time", "epochs"], 0)
    values = generation_values(row, [failed], settings.ranking(), epochs=4)
    assert "by_time/feasible_share" not in values


EVENTS = [name for name in dir(Callback) if not name.startswith("_") and name != "name"]


class Raising(Callback):
    """Raises in one event, and records all events."""

    name = "the raising one"

    def __init__(self, event):
        self.told = []
        for name in EVENTS:
            setattr(self, name, functools.partial(self.listen, name, name == event))

    def listen(self, name, raises, *_):
        self.told.append(name)
        if raises:
            raise ValueError("as it was told")


def test_an_observer_that_raises_is_off_and_does_no_harm(caplog):
    raising = {event: Raising(event) for event in EVENTS}
    listener = Raising(None)
    result, _, messages = watched(caplog, *raising.values(), listener)
    assert lines(result.trials) == lines(search(small_space(100), target(), resolve(TINY)).trials)
    warnings = [message for message in messages if "the raising one is off" in message]
    assert len(warnings) == len(EVENTS)
    assert all("ValueError: as it was told" in warning for warning in warnings)
    for event, one in raising.items():
        assert one.told.count(event) == 1 and one.told[-1] == "close"
    assert set(listener.told) == set(EVENTS)
    assert listener.told[0] == "begin" and listener.told[-2:] == ["end", "close"]


def on_terminal(folder, given, interrupt_at):
    """The output of the script on a pseudo-terminal, interrupted after the text `interrupt_at`."""
    primary, secondary = pty.openpty()
    environment = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "100", "LINES": "40"}
    words = [sys.executable, SCRIPT, folder, given]
    process = subprocess.Popen(words, stdout=secondary, stderr=secondary, env=environment)
    os.close(secondary)
    output, told = b"", False
    try:
        while chunk := os.read(primary, 65536):
            output += chunk
            if interrupt_at in output and not told:
                process.send_signal(signal.SIGINT)
                told = True
    except OSError:  # the other end is closed
        pass
    os.close(primary)
    return output.decode(), process.wait(60)


def test_a_terminal_shows_a_display_below_the_lines_until_an_interrupt(tmp_path):
    given = '{"max_generations": 9, "pause": 0.15, "wandb": "disabled"}'
    end_of_first = b"generation 1, bracket 0"
    output, code = on_terminal(tmp_path / "run", given, end_of_first)
    assert code == 130
    frames = output.split("╭─ generation ")[1:]
    assert len(frames) > 3
    plain = [re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", frame) for frame in frames]
    for words in (
        r"bracket 2 +4/4 at 1   2/2 at 2   1/1 at 4",
        r"time +\d+ seconds? of 24.0 hours, about \d+ seconds? left",
        r"epochs +\d+ of \d+, [\d.]+ a second",
        r"best +trial \d+: top3 0\.\d{4}, num_params [\d,]+, precision 0\.\d{4}",
        r"feasible +\d+ of \d+ fully trained \(\d+%\)",
        r"last +at \d: trial \d+: top3",
    ):
        assert any(re.search(words, frame) for frame in plain), (words, plain[-1])
    # Log lines are complete above the display, and have no control codes in log.txt.
    log = (tmp_path / "run" / "log.txt").read_text()
    told = re.findall(r"INFO (generation .*)", log)
    assert "\x1b" not in log and len(told) >= 7
    for line in told:
        assert f"{line}\r\n" in re.sub(r" +\r\n", "\r\n", output), line
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l")  # the cursor is back


@pytest.mark.parametrize("kind", ["xterm-256color", "dumb"])
def test_a_terminal_that_goes_ends_the_search_in_order(tmp_path, kind):
    primary, secondary = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, SCRIPT, tmp_path / "run", '{"pause": 0.05, "wandb": "disabled"}'],
        **{"stdin": secondary, "stdout": secondary, "stderr": secondary},
        env={**os.environ, "TERM": kind},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(1, termios.TIOCSCTTY, 0),  # its own terminal
    )
    os.close(secondary)
    while b"generation 1" not in os.read(primary, 65536):
        pass
    os.close(primary)  # a signal from the kernel
    with contextlib.suppress(ProcessLookupError):
        process.send_signal(signal.SIGHUP)  # and one from the shell
    assert process.wait(60) == 143
    assert read_json(tmp_path / "run" / "run.json")["sessions"][0]["reason"] == "terminated"


def shown(monkeypatch):
    """A console that writes to a string, as the terminal of `progress`."""
    console = Console(file=io.StringIO(), force_terminal=True, width=100)
    monkeypatch.setattr(progress, "_terminal", lambda: console)
    return console


def test_the_display_has_a_bar_for_each_training(monkeypatch):
    console = shown(monkeypatch)
    display = progress.progress(resolve({**TINY, "folds": 3}))
    job = Job(12, 1, 0, 0, 24, 12, {})
    guessing = [{}, {}]
    display.workers_ready(
        {0: Activity((job, 7)), 1: Activity((job, 8), 1, 9), 2: Activity((guessing,))}
    )
    console.print(display.frame())
    plain = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "", console.file.getvalue())
    assert re.search(r"worker 0 +\S+ +trial 12, to 24 epochs *│", plain), plain
    assert re.search(r"worker 1 .* trial 12, to 24 epochs: fold 2 of 3, epoch 9 *│", plain), plain
    assert "worker 2" not in plain


def test_a_training_in_this_process_has_a_bar(monkeypatch):
    console, trained = shown(monkeypatch), SimpleNamespace(on_epoch=None)
    with progress.training_bar(trained, 3, 4):
        trained.on_epoch(1, 2)
    assert trained.on_epoch is None, "the bar is closed"
    assert "training" in console.file.getvalue() and "50%" in console.file.getvalue()
    monkeypatch.setattr(progress, "_terminal", lambda: None)
    with progress.training_bar(untouched := SimpleNamespace(), 3, 4):
        assert not vars(untouched)
