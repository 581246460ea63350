"""The life of a worker process, and what it sends to the driver beside results.

The driver's side is `engine.workers.pool`.
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

REPORT_SECONDS = 0.5  # at least, between two reports of a worker: the driver looks in between


class WorkerFailed(RuntimeError):
    """A worker could not load the target or take its device."""


class NotReady(Exception):
    """A worker could not begin, such as one whose GPU is busy: another attempt may."""


def work(connection: Connection, env: Mapping[str, str], start_method: str | None) -> None:
    """The life of a worker process: takes over the target, then one call after another."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the driver
    os.setpgid(0, 0)
    # A training may use processes of its own, as loaders of images do. Python forbids that to
    # daemons, whose children would outlive them; these do not: see `kill_group`.
    multiprocessing.current_process()._config["daemon"] = False  # type: ignore[attr-defined]
    multiprocessing.set_start_method(start_method, force=True)  # the driver's, not that of a pool
    os.environ.update(env)  # before the target, and with it CUDA, is there
    threading.Thread(target=_die_with_parent, daemon=True).start()
    with contextlib.suppress(EOFError, OSError):  # the driver is gone, or has no more calls
        pickled = connection.recv()
        try:
            target = pickle.loads(pickled)
        except Exception as error:
            connection.send(WorkerFailed(f"a worker cannot begin: {error!r}"))
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
    """Sends where a training is, (fold, epoch), now and then."""

    def __init__(self, connection: Connection):
        self.connection, self.next = connection, 0.0

    def __call__(self, fold: int, epoch: int) -> None:
        if time.monotonic() >= self.next:
            self.connection.send((fold, epoch))
            self.next = time.monotonic() + REPORT_SECONDS


def _die_with_parent() -> None:
    """Also in the middle of a call, and also if the parent was killed."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
    kill_group(os.getpid())
    os._exit(1)


def kill_group(leader: int) -> None:
    """Ends a worker and all that it has started, unless that has made a group of its own."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
