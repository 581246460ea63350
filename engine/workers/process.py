"""The main loop of a worker process, and its progress reports to the main process.

The other side is `engine.workers.pool`.
"""

import contextlib
import multiprocessing
import os
import pickle
import signal
import threading
import time
from collections.abc import Mapping
from multiprocessing.connection import Connection, wait

REPORT_SECONDS = 0.5  # minimum between two reports of a worker; the main process polls more often


class WorkerFailed(RuntimeError):
    """A worker could not load the target or take its device."""


class NotReady(Exception):
    """A worker could not start, for example because its GPU is busy; a retry may succeed."""


def work(connection: Connection, env: Mapping[str, str], start_method: str | None) -> None:
    """Main loop of a worker process: unpickles the target, then runs one call after another."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the main process
    os.setpgid(0, 0)
    # Training may start processes, as image loaders do. Python forbids that to daemons, whose
    # children would outlive them; these do not: see `kill_group`.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    multiprocessing.set_start_method(start_method, force=True)  # not the pool's
    os.environ.update(env)  # before unpickling the target loads CUDA
    threading.Thread(target=_die_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):  # there are no more calls
        # Not an argument of the process: a worker killed before it reads one blocks its parent.
        pickled = connection.recv_bytes()
        try:
            target = pickle.loads(pickled)
            del pickled  # it contains all images
        except Exception as error:
            connection.send(WorkerFailed(f"a worker could not start: {error!r}"))
            return
        try:
            if hasattr(target, "take_device"):
                target.take_device()
        except Exception as error:
            connection.send(NotReady(str(error).partition("\n")[0]))
            return
        connection.send("ready")
        if hasattr(target, "on_epoch"):
            target.on_epoch = _Reporter(connection)
        while True:
            function, arguments, named = connection.recv()
            connection.send(function(target, *arguments, **named))


class _Reporter:
    """Sends the progress of a training, (fold, epoch), at most every REPORT_SECONDS."""

    def __init__(self, connection: Connection):
        self.connection, self.next = connection, 0.0

    def __call__(self, fold: int, epoch: int) -> None:
        if time.monotonic() >= self.next:
            self.connection.send((fold, epoch))
            self.next = time.monotonic() + REPORT_SECONDS


def _die_with_parent() -> None:
    """Ends the worker when its parent ends, also during a call or if the parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
    kill_group(os.getpid())
    os._exit(1)


def kill_group(leader: int) -> None:
    """Ends a worker and its child processes, except those with their own process group."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
