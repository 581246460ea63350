"""Trainings that start processes of their own, as loaders of images do."""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from engine.cli.settings import resolve
from engine.cli.stopping import StopSignals
from engine.workers.pool import ProcessPool
from optimizer import search
from tests.stub_target import StubTarget
from tests.stubs import lines, small_space

HERE = "fork" if sys.platform == "linux" else "spawn"  # for those that a worker starts, too
STUB = {"pop_size": 2, "epochs": 3, "max_generations": 0, "constraints": []}


def double(number):
    return 2 * number


class Pooled(StubTarget):
    """Uses a pool of processes in each training; can be pickled."""

    def __init__(self):
        super().__init__(static_metrics=dict)

    def __reduce__(self):
        return Pooled, ()

    def evaluate(self, *arguments):
        assert multiprocessing.get_start_method() == HERE
        with multiprocessing.Pool(2) as pool:
            assert pool.map(double, [1, 2, 3]) == [2, 4, 6]
        return super().evaluate(*arguments)


def run(name, *arguments):
    """A function of this file in a process of its own, ended if it hangs."""
    here = Path(__file__).resolve()
    code = f"import sys; sys.path[:0] = {[str(here.parent), str(here.parent.parent)]!r}\n"
    code += f"import test_children\ntest_children.{name}(*{arguments!r})"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def search_with_pools(workers):
    result = search(small_space(), Pooled(), resolve({**STUB, "workers": workers}))
    print(*sorted(lines(result.trials)), sep="\n")


def test_a_training_may_use_a_pool_of_processes(capsys):
    here = run("search_with_pools", "0")
    search_with_pools("1")
    assert here.returncode == 0 and '"status": "ok"' in here.stdout, here.stderr
    assert capsys.readouterr().out == here.stdout


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_forked_process_does_not_take_a_signal_for_the_search(number):
    with StopSignals() as signals:
        child = os.fork()
        if child == 0:  # never back into pytest, whatever happens
            try:
                os.kill(os.getpid(), number)
            except KeyboardInterrupt:
                os._exit(7)
            finally:
                os._exit(8)
        _, status = os.waitpid(child, 0)
        signals.check()
    ended = os.waitstatus_to_exitcode(status)
    assert ended == (7 if number == signal.SIGINT else -signal.SIGTERM)


def test_no_signal_is_lost_while_a_process_is_forked():
    with StopSignals():
        for _ in range(30):
            child = os.fork()
            if child == 0:
                time.sleep(5)
                os._exit(0)
            os.kill(child, signal.SIGTERM)  # before it runs at all, now and then
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


def sleeper(_target, file, end):
    """A call that starts a process, writes its number into a file, and then never returns."""
    started = multiprocessing.Process(target=time.sleep, args=(3600,))
    started.start()
    Path(file).write_text(str(started.pid))
    if end:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(3600)


def gone(pid):
    """Whether a process ends within seconds; one that nobody waits for has ended, too."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        try:
            if psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
                return True
        except psutil.NoSuchProcess:
            return True
        time.sleep(0.02)
    return False


def written(path):
    """The number in the file, once it is there."""
    deadline = time.monotonic() + 30
    while not path.exists() or not path.read_text():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return int(path.read_text())


@pytest.mark.parametrize("end", [False, True], ids=["the pool ends", "the worker is killed"])
def test_what_a_worker_has_started_ends_with_it(tmp_path, monkeypatch, end):
    monkeypatch.setattr("engine.workers.pool.RETRIES", 0)
    pool = ProcessPool(None, 1, 1e9, 10**12)
    try:
        future = pool.submit(sleeper, str(tmp_path / "pid"), end)
        started = written(tmp_path / "pid")
        assert not end or "killed by SIGKILL" in future.result(timeout=20)["error"]
    finally:
        pool.shutdown()
    assert gone(started)


def drive(file):
    ProcessPool(None, 1, 1e9, 10**12).submit(sleeper, file, False)
    written(Path(file))
    os.kill(os.getpid(), signal.SIGKILL)


def test_what_a_worker_has_started_ends_with_the_driver(tmp_path):
    assert run("drive", str(tmp_path / "pid")).returncode == -signal.SIGKILL
    assert gone(written(tmp_path / "pid"))
