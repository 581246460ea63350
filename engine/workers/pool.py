"""Supervised local processes behind `concurrent.futures.Executor`.

`ProcessPoolExecutor` of the standard library breaks as a whole when one process is killed, and
cannot stop a call. Here a thread of the main process supervises each worker process. It passes one
call at a time, and ends the process if the call takes too long or too much memory. The call of a
lost process is retried. The processes die with the main process, however it ends, and with their
own child processes: each leads its own process group.
"""

import contextlib
import math
import multiprocessing
import pickle
import queue
import signal
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor, Future
from multiprocessing import resource_tracker
from typing import Any, NamedTuple

from engine.workers.machine import resident_memory
from engine.workers.process import NotReady, WorkerFailed, kill_group, work
from utils import InputError

RETRIES = 3  # of a call whose worker was lost
WATCH_SECONDS = 0.1  # between two checks of a worker
RESTART_SECONDS = 1.0  # before another attempt to start one
# Not fork, which would inherit locks, threads and the state of CUDA.
_CONTEXT = multiprocessing.get_context("spawn")


class Activity(NamedTuple):
    """A worker's current call: its arguments, and the last reported fold and epoch."""

    arguments: tuple[Any, ...]
    fold: int = 0
    epoch: int = 0


class _Ended(Exception):
    """Why a call ended without a result; no status if the worker was lost."""

    def __init__(self, why: str, status: str | None = None):
        super().__init__(why)
        self.status = status


class ProcessPool(Executor):
    """`submit(function, *arguments)` calls `function(target, *arguments)` in a worker process.

    The target is pickled once; each process unpickles it when it starts. The process then calls
    its method `take_device`, if it has one; WorkerFailed if that fails RETRIES + 1 times.
    The functions return a dict with `meta`, to which the pool adds `worker` and `attempts`.
    If one does not return, the pool returns the reason: {status, error, meta}.

    workers: number of processes; they start with the first calls.
    timeout: maximal seconds of a call. max_bytes: maximal resident memory of a process.
    worker_env: environment variables, assigned to the workers in turn (one GPU each).
    activity: {worker number: its current call}, for display.
    """

    def __init__(
        self,
        target: Any,
        workers: int,
        timeout: float,
        max_bytes: int,
        worker_env: Sequence[Mapping[str, str]] = ({},),
    ):
        self.workers, self.timeout, self.max_bytes = workers, timeout, max_bytes
        try:
            self._target, self._worker_env = pickle.dumps(target, 5), worker_env
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise InputError(
                f"the target cannot be pickled ({error}); --workers 0 trains in this process"
            ) from None
        self.activity: dict[int, Activity] = {}
        self._calls: queue.SimpleQueue = queue.SimpleQueue()
        self._starting = threading.Lock()  # multiprocessing starts one process at a time
        self._closed = threading.Event()
        # Before the threads: started later, it would unblock the SIGINT that they block.
        resource_tracker.ensure_running()
        self._threads = [
            threading.Thread(target=self._supervise, args=(number,), daemon=True)
            for number in range(workers)
        ]
        for thread in self._threads:
            thread.start()

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future:
        if self._closed.is_set():
            raise RuntimeError("the pool is closed")
        future: Future = Future()
        self._calls.put((future, (function, arguments, named)))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends the processes at once, also during a call; wait for results before."""
        self._closed.set()
        for _ in self._threads:
            self._calls.put(None)
        for thread in self._threads if wait else ():
            thread.join()

    def _supervise(self, number: int) -> None:
        """The thread that supervises a worker."""
        # Ctrl-C reaches the whole group, also a process that is being started.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        child = _Child(self._target, number, self._worker_env[number % len(self._worker_env)])
        while (item := self._calls.get()) is not None:
            future, call = item
            if self._closed.is_set() or not future.set_running_or_notify_cancel():
                future.cancel()
                continue
            self.activity[number] = Activity(call[1])
            try:
                future.set_result(self._outcome(child, call))
            except BaseException as error:  # raised in the thread that waits for the future
                future.set_exception(error)
            del self.activity[number]
        child.kill()

    def _outcome(self, child: "_Child", call: Any) -> dict[str, Any]:
        """The call's result; retries up to RETRIES times after a lost worker."""
        started = time.monotonic()
        for attempt in range(1, RETRIES + 2):
            try:
                if not child.alive():
                    with self._starting:
                        child.start()
                    child.send(child.target)
                    self._wait(child, math.inf)  # until it has unpickled the target
                child.send(call)
                outcome = self._wait(child, self.timeout)
                if _must_restart(outcome, child.env):
                    child.kill()
                break
            except NotReady as error:
                child.kill()
                if attempt > RETRIES:
                    said = f"a worker could not start, {attempt} times: {error}"
                    raise WorkerFailed(said) from None
                if self._closed.wait(RESTART_SECONDS):
                    raise RuntimeError("the pool was closed in mid-call") from None
            except _Ended as ended:
                child.kill()
                if self._closed.is_set():
                    raise RuntimeError("the pool was closed in mid-call") from None
                outcome = {"status": ended.status or "failed", "error": str(ended), "meta": {}}
                if ended.status is not None:
                    break
                outcome["error"] = f"the worker was lost {attempt} times: {ended}"
        meta = outcome["meta"]
        meta.setdefault("seconds", round(time.monotonic() - started, 3))
        meta |= {"worker": child.number, "attempts": attempt}
        return outcome

    def _wait(self, child: "_Child", timeout: float) -> Any:
        """The process's next message other than reports; _Ended if there is none."""
        deadline = time.monotonic() + timeout
        while isinstance(message := self._message(child, deadline, timeout), tuple):
            self.activity[child.number] = Activity(self.activity[child.number].arguments, *message)
        return message

    def _message(self, child: "_Child", deadline: float, timeout: float) -> Any:
        """The process's next message; _Ended if the call ends before."""
        while not child.has_message():
            # The worker's own child processes may hold its end of the connection open.
            if not child.alive() and not child.has_message():
                raise _Ended(child.death())
            if self._closed.is_set():
                raise _Ended("the pool was closed")
            if time.monotonic() > deadline:
                raise _Ended(f"ended after {timeout:g} seconds", "timeout")
            if resident_memory(child.process.pid) > self.max_bytes:
                limit = f"{self.max_bytes / 1e9:.2f} GB"
                raise _Ended(f"ended when it held more than {limit} of memory", "out_of_memory")
        return child.message()


class _Child:
    """A worker process, and the connection to it."""

    def __init__(self, target: bytes, number: int, env: Mapping[str, str]):
        self.target, self.number, self.env = target, number, env
        self.process: Any = None
        self.connection: Any = None

    def alive(self) -> bool:
        """Whether the process runs."""
        return self.process is not None and self.process.is_alive()

    def start(self) -> None:
        """Starts the process, which then waits for the target and confirms it.

        The target is not an argument: multiprocessing would write it into a pipe whose other end
        this process also holds, and would wait forever if the new process were killed.
        """
        self.kill()
        self.connection, theirs = _CONTEXT.Pipe()
        arguments = theirs, dict(self.env), multiprocessing.get_start_method(allow_none=True)
        process = _CONTEXT.Process(target=work, args=arguments, daemon=True)
        try:
            process.start()
        except OSError as error:  # too many processes or open files
            self.connection.close()
            time.sleep(RESTART_SECONDS)
            raise _Ended(f"it could not be started: {error}") from None
        finally:
            theirs.close()
        self.process = process

    def send(self, message: Any) -> None:
        """Sends the pickled target first, then calls; _Ended if the process has ended."""
        send = self.connection.send_bytes if isinstance(message, bytes) else self.connection.send
        try:
            send(message)
        except OSError:
            raise _Ended(self.death()) from None

    def has_message(self) -> bool:
        """Whether a message is available; waits at most WATCH_SECONDS."""
        return self.connection.poll(WATCH_SECONDS)

    def message(self) -> Any:
        """The next message of the process; _Ended if it closed the connection."""
        try:
            message = self.connection.recv()
        except (EOFError, OSError):
            raise _Ended(self.death()) from None
        if isinstance(message, WorkerFailed | NotReady):
            raise message
        return message

    def death(self) -> str:
        """How the process ended, in words."""
        self.process.join(5)
        code = self.process.exitcode
        if code is None:
            return "its connection broke"
        return f"killed by {signal.Signals(-code).name}" if code < 0 else f"it exited with {code}"

    def kill(self) -> None:
        """Ends the process and its child processes."""
        if self.process is not None:
            kill_group(self.process.pid)
            self.process.kill()
            self.process.join()
            with contextlib.suppress(ValueError):  # another thread's start has just reaped it
                self.process.close()
            self.connection.close()
            self.process = None


def _must_restart(outcome: Mapping[str, Any], env: Mapping[str, str]) -> bool:
    """Whether the worker needs a new process.

    It does after running out of memory, which it may still hold, and after a failure on a GPU,
    since a CUDA error persists in its process.
    """
    if outcome["status"] == "out_of_memory":
        return "refused" not in outcome["meta"]
    return bool(env) and outcome["status"] == "failed"
