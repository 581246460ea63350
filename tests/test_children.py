"""Worker processes: their reports, identical results after a kill, and their end.

A worker's child processes end with it. Workers import this file: it imports neither the search nor
torch.
"""

import multiprocessing
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from engine.cli.stopping import StopSignals
from engine.workers.executor import evaluate
from engine.workers.pool import Activity, ProcessPool
from search.trial import Job
from tests.stub_target import StubTarget

HERE = "fork" if sys.platform == "linux" else "spawn"  # also for a worker's child processes


def double(number):
    return 2 * number


class Pooled(StubTarget):
    """Two folds of one epoch, each with a pool of processes, as image loaders use."""

    def __init__(self):
        super().__init__(static_metrics=dict)
        self.on_epoch = lambda fold, epoch: None

    def __reduce__(self):
        return Pooled, ()

    def evaluate(self, *arguments):
        assert multiprocessing.get_start_method() == HERE
        for fold in range(2):
            with multiprocessing.Pool(2) as pool:
                assert pool.map(double, [1, 2, 3]) == [2, 4, 6]
            self.on_epoch(fold, 1)
            time.sleep(0.6)  # a worker reports at most twice a second
        return super().evaluate(*arguments)


def run(name, *arguments):
    """Runs a function of this file in its own process, which is ended if it hangs."""
    here = Path(__file__).resolve()
    code = f"import sys; sys.path[:0] = {[str(here.parent), str(here.parent.parent)]!r}\n"
    code += f"import test_children\ntest_children.{name}(*{arguments!r})"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)


def train_with_pools():
    job = Job(3, 0, 0, 0, 1, 1, {"x": 1})
    # Forked processes must not inherit these handlers.
    with StopSignals() as signals, signals.interruptible():
        print(evaluate(Pooled(), job, 1, None, None)["metrics"])


def test_a_training_may_use_a_pool_of_processes_and_a_worker_says_where_it_is():
    here = run("train_with_pools")
    arguments, seen = (Job(3, 0, 0, 0, 1, 1, {"x": 1}), 1, None, None), []
    with ProcessPool(Pooled(), 1, 60, 10**12) as pool:
        future = pool.submit(evaluate, *arguments)
        while not future.done():
            seen += pool.activity.copy().values()
            time.sleep(0.05)
        outcome = future.result()
        while pool.activity:
            time.sleep(0.05)
    assert (here.stdout, here.stderr) == (f"{outcome['metrics']}\n", "")
    assert outcome["status"] == "ok"
    activity = [Activity(arguments, fold, epoch) for fold, epoch in ((0, 0), (0, 1), (1, 1))]
    assert list(dict.fromkeys(map(str, seen))) == [str(one) for one in activity]


def killed_once(target, job, seed, state, limit):
    """An evaluation that kills its worker during its second fold, once per search."""
    note = Path(state).parent / "killed"

    def on_epoch(fold, epoch):
        if fold == 1 and not note.exists():
            note.touch()
            os.kill(os.getpid(), signal.SIGKILL)

    target.on_epoch = on_epoch
    return evaluate(target, job, seed, state, limit)


def test_any_number_of_workers_makes_the_same_search_also_if_one_is_killed(
    space, tmp_path, monkeypatch
):
    """Real training: a killed worker only costs another attempt."""
    from engine.cli.settings import resolve
    from optimizer import search
    from tests.stubs import lines, on_disk
    from tests.trainings import images_of, make_target

    # 2 + 2 of the population and in full, 2 -> 1 in the bracket: seven jobs.
    given = {"pop_size": 2, "epochs": 2, "min_epochs": 1, "seed": 5, "max_generations": 1}
    given["constraints"] = ["num_params <= 3e4", "macs <= 1.5e5", "precision >= 0.01"]
    found = []
    for workers in ("0", "2"):
        target = make_target(images_of(size=16), curve_epochs=(1, 2))
        result = search(space, target, resolve({**given, "workers": workers}), tmp_path / workers)
        assert result.reason == "generation limit"
        assert not (tmp_path / workers / "checkpoints").exists()
        found.append((lines(on_disk(tmp_path / workers)), result.best.config))
        monkeypatch.setattr("engine.workers.dispatch.evaluate", killed_once)
    assert found[0] == found[1] and len(found[0][0]) == 7
    assert {trial.meta["attempts"] for trial in result.trials} == {1, 2}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_forked_process_does_not_take_a_signal_for_the_search(number):
    with StopSignals() as signals:
        child = os.fork()
        if child == 0:  # must never return into pytest
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
        for _ in range(10):
            child = os.fork()
            if child == 0:
                time.sleep(5)
                os._exit(0)
            os.kill(child, signal.SIGTERM)  # sometimes before it runs at all
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGTERM


class Place:
    """Unpickles in a worker as a value of the worker's environment."""

    def __reduce__(self):
        return os.getenv, ("PLACE",)


def sleeper(place, folder, end):
    """A call that starts a process, writes both process ids, and never returns."""
    started = multiprocessing.Process(target=time.sleep, args=(3600,))
    started.start()
    unfinished = Path(folder) / f".{place}"
    unfinished.write_text(f"{os.getpid()} {started.pid}")
    unfinished.rename(Path(folder) / place)
    if end:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(3600)


def gone(pid):
    """Whether a process ends within seconds; a zombie has ended, too."""
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
    """The numbers in the file, once it exists."""
    deadline = time.monotonic() + 30
    while not path.exists():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return [int(number) for number in path.read_text().split()]


def test_what_a_worker_has_started_ends_with_it(tmp_path, monkeypatch):
    """If the worker is killed, and if the pool ends during a call; each has its environment."""
    monkeypatch.setattr("engine.workers.pool.RETRIES", 0)
    for name in ("killed", "ended"):
        (tmp_path / name).mkdir()
    pool = ProcessPool(Place(), 2, 1e9, 10**12, [{"PLACE": "a"}, {"PLACE": "b"}])
    try:
        futures = [pool.submit(sleeper, str(tmp_path / "killed"), True) for _ in range(2)]
        for future in futures:
            assert "killed by SIGKILL" in future.result(timeout=60)["error"]
        for _ in range(2):
            pool.submit(sleeper, str(tmp_path / "ended"), False)
        started = [written(tmp_path / "ended" / place) for place in ("a", "b")]
    finally:
        pool.shutdown()
    started += [written(path) for path in (tmp_path / "killed").iterdir()]
    assert len(started) > 2 and all(gone(pid) for pids in started for pid in pids)
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(sleeper)


def drive(folder):
    ProcessPool(Place(), 1, 1e9, 10**12, [{"PLACE": "a"}]).submit(sleeper, folder, False)
    written(Path(folder) / "a")
    os.kill(os.getpid(), signal.SIGKILL)


def test_a_worker_and_what_it_has_started_end_with_a_killed_driver(tmp_path):
    assert run("drive", str(tmp_path)).returncode == -signal.SIGKILL
    assert all(gone(pid) for pid in written(tmp_path / "a"))
