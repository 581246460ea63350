"""A Dask cluster behind `concurrent.futures.Executor`, for more than one machine.

Each Dask worker gets the target once, also one that joins later. It runs its jobs in its own
supervised processes (`engine.workers.pool`), since Dask cannot stop a running task.
Needs requirements-cluster.txt, and the same code, environment and run folder on all machines:
docs/cluster.md.
"""

import contextlib
import multiprocessing
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any

from distributed import Client, KilledWorker, WorkerPlugin, get_worker

from engine.workers.executor import memory_limit, slots_of
from engine.workers.pool import ProcessPool
from utils import InputError

CONNECT_SECONDS = 20


class Cluster(Executor):
    """`submit(function, *arguments)` calls `function(target, *arguments)` on some machine.

    address: the scheduler, as tcp://host:port. name: the run; a new main process of the same run
    replaces one that has died. timeout, max_bytes: as in `ProcessPool`.
    InputError if no scheduler answers there.
    """

    fatal_errors = (KilledWorker,)  # errors that mean that the job itself failed

    def __init__(
        self, target: Any, address: str, name: str, timeout: float, max_bytes: int | None
    ):
        self.client = _connected(address)
        self._plugin = Supervised(f"search of {name}", target, timeout, max_bytes)
        self.client.register_plugin(self._plugin)
        self._executor = self.client.get_executor(pure=False)

    @property
    def workers(self) -> int:
        """Parallel jobs: the number of threads of all Dask workers, which may change."""
        return max(1, sum(self.client.nthreads().values()))

    def submit(self, function: Callable[..., Any], /, *arguments: Any, **named: Any) -> Future:
        return self._executor.submit(_call, self._plugin.name, function, arguments, named)

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Ends the processes on all workers, also during a call, and the connection."""
        with contextlib.suppress(Exception):  # each step fails if the scheduler has died
            self._executor.shutdown(wait=False)
        with contextlib.suppress(Exception):
            self.client.unregister_worker_plugin(self._plugin.name)
        with contextlib.suppress(Exception):
            self.client.close()


class Supervised(WorkerPlugin):
    """A Dask plugin that gives each worker supervised processes with the target."""

    pool: ProcessPool

    def __init__(self, name: str, target: Any, timeout: float, max_bytes: int | None):
        self.name = name
        self.target, self.timeout, self.max_bytes = target, timeout, max_bytes

    def setup(self, worker: Any) -> None:
        """Starts on a Dask worker; called by Dask."""
        # Dask's process is a daemon. Python forbids children of a daemon, as they could outlive
        # it. These children end with it.
        multiprocessing.current_process()._config.pop("daemon", None)  # type: ignore[attr-defined]
        count = worker.state.nthreads
        try:
            slots = slots_of(self.target)
            worker_env = self.target.environments(count) if slots else [{}]
            own = worker.memory_manager.memory_limit  # a machine may have several Dask workers
            limit = memory_limit(self.max_bytes, count, bool(slots), own)
        except InputError as error:  # such as a worker that joined later and has no such device
            worker.loop.add_callback(worker.close, reason=str(error))
            raise
        self.pool = ProcessPool(self.target, count, self.timeout, limit, worker_env)

    def teardown(self, worker: Any) -> None:
        """Stops on a Dask worker; called by Dask."""
        self.pool.shutdown()


def devices_of(address: str, target: Any) -> dict[str, Any]:
    """The result of `target.devices()` on each worker of a cluster, by address.

    Waits for a first worker. InputError if no scheduler answers.
    """
    with _connected(address) as client:
        client.wait_for_workers(1)
        return client.run(target.devices)


def _connected(address: str) -> Client:
    """A connection to the scheduler. InputError if none answers."""
    try:
        return Client(address, timeout=CONNECT_SECONDS)
    except (OSError, ValueError) as error:
        raise InputError(
            f"--scheduler: no Dask scheduler answers at {address!r} ({error}); allowed is an "
            "address such as tcp://127.0.0.1:8786"
        ) from None


def _call(name: str, function: Callable[..., Any], arguments: Any, named: Any) -> dict[str, Any]:
    """Runs on a Dask worker."""
    worker = get_worker()
    supervised: Any = worker.plugins[name]
    outcome = supervised.pool.submit(function, *arguments, **named).result()
    outcome["meta"]["worker"] = worker.address
    return outcome
