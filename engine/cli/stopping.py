"""Why and when a run stops: signals and the wall clock, both raised as a `Stop`."""

import functools
import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

# reason -> exit code of the process
EXIT_CODES = {
    "time limit": 0,
    "epoch limit": 0,
    "generation limit": 0,
    "space exhausted": 0,
    "failures": 1,
    "disk full": 1,
    "interrupted": 130,
    "terminated": 143,
}
# After these a bracket may be unfinished; its states are kept for a resume.
RESUMABLE = ("time limit", "interrupted", "terminated", "failures", "disk full")
_SIGNALS = {
    signal.SIGINT: "interrupted",
    signal.SIGTERM: "terminated",
    signal.SIGHUP: "terminated",  # the terminal has closed, as when a connection breaks
}


class Stop(BaseException):
    """Ends a search in order. A BaseException, so that a target's `except Exception` misses it."""

    def __init__(self, reason: str, detail: str = ""):
        super().__init__(detail or reason)
        self.reason = reason


class Clock:
    """Wall-clock seconds that a run has used over all of its sessions."""

    def __init__(self, used_before: float = 0.0):
        self.used_before = used_before
        self.restart()

    def restart(self) -> None:
        """Begins this session now: what came before in it does not count."""
        self.started = time.monotonic()

    def used(self) -> float:
        """Seconds used so far."""
        return self.used_before + time.monotonic() - self.started


class StopSignals:
    """Turns SIGINT, SIGTERM and SIGHUP into a `Stop`: at once in training, never in a write.

    A signal that is ignored stays ignored: SIGHUP by nohup, SIGINT in a script's job with &.

    The first signal restores the previous handlers: if these are Python's own, a second signal
    ends the process at once. A process that a training forks also has the previous handlers: if
    it raised Stop, a process that joins it would hang.
    """

    def __init__(self) -> None:
        self._held: str | None = None
        self._number: int | None = None
        self._next: Any = None  # its previous handler
        self._shielded = True
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> "StopSignals":
        _block_signals_during_fork()
        for number in _SIGNALS:
            if signal.getsignal(number) == signal.SIG_IGN:
                continue
            try:
                self._previous[number] = signal.signal(number, self._on_signal)
            except ValueError:  # not the main thread: the caller handles the signals
                break
        return self

    def __exit__(self, *_: object) -> None:
        self._restore_handlers()

    @contextmanager
    def interruptible(self) -> Iterator[None]:
        """A signal inside stops the work at once; an earlier signal stops it on entry."""
        try:
            self._shielded = False
            self.check()
            yield
        finally:
            self._shielded = True

    def check(self) -> None:
        """Raises the pending Stop, if any."""
        if self._held is not None:
            raise Stop(self._held)

    def pass_on(self) -> None:
        """Passes a received signal to its previous handler; call it last."""
        if self._number is not None:
            signal.signal(self._number, self._next)
            signal.raise_signal(self._number)

    def _on_signal(self, number: int, _frame: object) -> None:
        self._next = self._previous[number]
        if number == signal.SIGHUP:  # a closing terminal sends several
            signal.signal(number, signal.SIG_IGN)
            self._previous.pop(number, None)  # another signal may have come meanwhile
        self._restore_handlers()
        self._number, self._held = number, _SIGNALS[signal.Signals(number)]
        if not self._shielded:
            raise Stop(self._held)

    def _restore_handlers(self) -> None:
        for number, handler in self._previous.items():
            signal.signal(number, handler)
        self._previous = {}


@functools.cache
def _block_signals_during_fork() -> None:
    """Makes each fork block the signals until the child has its own handlers; once per process.

    Python drops signals that are pending at a fork.
    """
    held = threading.local()  # any thread may fork

    def before() -> None:
        held.mask = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)

    def release() -> None:
        signal.pthread_sigmask(signal.SIG_SETMASK, held.mask)

    def in_child() -> None:
        for number in _SIGNALS:
            while isinstance(
                ours := getattr(signal.getsignal(number), "__self__", 0), StopSignals
            ):
                ours._restore_handlers()
        release()

    os.register_at_fork(before=before, after_in_parent=release, after_in_child=in_child)


@contextmanager
def reraise_interrupt(at_once: bool = True) -> Iterator[None]:
    """Raises KeyboardInterrupt for a SIGINT inside: at once if `at_once`, and again at the end.

    For imports of large libraries, some of which catch everything, and for steps that must not
    stop halfway. If SIGINT is ignored, it stays so.
    """
    came = False

    def on_signal(*_: object) -> None:
        nonlocal came
        came = True
        if at_once:
            raise KeyboardInterrupt

    # A thread other than the main one receives no signals.
    main = threading.current_thread() is threading.main_thread()
    previous = signal.getsignal(signal.SIGINT)
    if not main or previous == signal.SIG_IGN:
        yield
        return
    signal.signal(signal.SIGINT, on_signal)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)
    if came:
        raise KeyboardInterrupt
