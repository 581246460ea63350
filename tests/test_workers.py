"""Worker processes: identical results with any number of them, and faults that end no search."""

import itertools
import os
import sys
import threading
import time
from concurrent.futures import Future
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from engine.cli.settings import resolve
from engine.workers import executor, machine
from engine.workers import pool as pool_module
from engine.workers.devices import facts, resolve_devices
from engine.workers.executor import number_of_workers
from engine.workers.machine import usable_cores, usable_memory
from engine.workers.pool import RETRIES, ProcessPool
from engine.workers.process import WorkerFailed
from optimizer import search
from search.trial import Job, canonical
from tests.searches import GUIDED
from tests.stub_target import Busy, Misbehaving, StubTarget, Unhurried, num_params
from tests.stubs import assert_same, lines
from tests.trainings import CONFIG, make_target
from utils import InputError

STUB = {"pop_size": 4, "epochs": 12, "max_generations": 1}
GIGABYTE = 10**9
SECONDS = 3  # time limit of a trial in the tests of faults


# ------------------------------------------------------------------- the same with any number


@pytest.mark.parametrize("changes", [{"epochs": 50, "max_generations": 3}, GUIDED])
def test_the_limit_of_epochs_cuts_the_same_jobs(space, changes, few_candidates):
    """Also in the guided search, whose model decides here (tests/test_search_guided.py)."""
    given = {**STUB, **changes, "max_total_epochs": 250 if changes == GUIDED else 1000}
    alone = search(space, StubTarget(), resolve({**given, "workers": "0"}))
    many = search(space, Unhurried(), resolve({**given, "workers": "3"}))
    assert alone.reason == many.reason == "epoch limit"
    assert lines(alone.trials) == lines(many.trials)
    assert alone.best.config == many.best.config
    assert {trial.meta["worker"] for trial in many.trials} == {0, 1, 2}
    assert {trial.meta["attempts"] for trial in many.trials} == {1}
    if changes != GUIDED:  # which has one bracket at a time
        # A worker at the barrier of one bracket gets a job of the next one.
        order = [(trial.generation, trial.bracket) for trial in many.trials]
        assert len(list(itertools.groupby(order))) > len(set(order))


# ---------------------------------------------------------------------------------------- faults


@pytest.fixture(scope="module")
def undisturbed(space):
    return search(space, StubTarget(), resolve({**STUB, "workers": "0"}))


@pytest.fixture(scope="module")
def first_members(space):
    """The eight configurations that any search of eight starts with."""
    given = {**STUB, "pop_size": 8, "max_generations": 0, "workers": "0"}
    return [trial.config for trial in search(space, StubTarget(), resolve(given)).trials]


FAULTS = {
    "raise": ("failed", "ValueError: as it was told"),
    "nan": ("diverged", "not finite: top3"),
    "memory_error": ("out_of_memory", "MemoryError: as it was told"),
    "hang": ("timeout", f"ended after {SECONDS} seconds"),
    "allocate": ("out_of_memory", "ended when it held more than 0.30 GB of memory"),
    "kill": ("failed", f"the worker was lost {RETRIES + 1} times: killed by SIGKILL"),
}


def search_with_faults(space, first_members, folder, **given):
    """A search in which each fault affects one of the first members."""
    wrong = dict(zip(map(canonical, first_members), FAULTS, strict=False))
    given |= {"pop_size": 8, "trial_timeout": SECONDS, "max_memory_gb": 0.3}
    # The system refuses such a long wait.
    settings = resolve({**STUB, **given, "max_time": 1e10})
    result = search(space, Misbehaving(wrong), settings, folder)
    assert result.reason == "generation limit" and result.best.status == "ok"
    for trial in result.trials:
        how = wrong.get(canonical(trial.config))
        assert (trial.status, trial.error) == FAULTS.get(how, ("ok", None))
        assert trial.meta["attempts"] == (RETRIES + 1 if how == "kill" else 1)
    return result


@pytest.fixture(scope="module")
def with_faults(space, first_members, tmp_path_factory):
    folder = tmp_path_factory.mktemp("faults")
    return search_with_faults(space, first_members, folder, workers="2")


def test_whatever_a_training_does_is_a_result(with_faults):
    statuses = {status for status, _ in FAULTS.values()}
    assert {trial.status for trial in with_faults.trials} == {"ok", *statuses}


def test_a_target_that_cannot_go_to_workers_is_told(space):
    with pytest.raises(InputError, match="workers 0"):
        search(space, StubTarget(act=lambda *_: None), resolve({**STUB, "workers": "1"}))


class Unwilling(Misbehaving):
    """Can be pickled, but not unpickled."""

    def __reduce__(self):
        return int, ("no number",)


def test_no_worker_at_all_is_this_process_however_it_is_written(space):
    with executor.open_executor(StubTarget(), resolve({"workers": "00"}), "run") as opened:
        assert isinstance(opened, executor.InProcess)


def test_workers_that_cannot_begin_end_the_search_with_the_reason(space):
    result = search(space, Unwilling({}), resolve({**STUB, "workers": "1"}))
    assert result.reason == "failures" and not result.trials
    assert "no number" in result.detail


def test_a_worker_whose_device_is_busy_is_replaced_unless_it_stays_so(tmp_path, monkeypatch):
    monkeypatch.setattr(pool_module, "RESTART_SECONDS", 0.01)
    with ProcessPool(Busy(tmp_path / "once", 1), 1, 1e9, 10**12) as pool:
        outcome = pool.submit(executor.guess_seconds, []).result()
    assert outcome["status"] == "ok" and outcome["meta"]["attempts"] == 2
    with ProcessPool(Busy(tmp_path / "always", 9), 1, 1e9, 10**12) as pool:
        with pytest.raises(WorkerFailed) as failed:
            pool.submit(executor.guess_seconds, []).result()
    assert (
        str(failed.value) == "a worker could not start, 4 times: CUDA error: all devices are busy"
    )


def test_a_process_that_cannot_be_started_is_tried_again(monkeypatch):
    monkeypatch.setattr(pool_module, "RESTART_SECONDS", 0.01)
    start, tries = pool_module._CONTEXT.Process.start, []

    def reluctant(process):
        tries.append(process)
        if len(tries) == 1:
            raise OSError(11, "Resource temporarily unavailable")
        start(process)

    monkeypatch.setattr(pool_module._CONTEXT.Process, "start", reluctant)
    with ProcessPool(Misbehaving({}), 1, 1e9, 10**12) as pool:
        outcome = pool.submit(executor.guess_seconds, []).result()
    assert outcome["meta"]["attempts"] == 2


class Odd(StubTarget):
    """Adds invalid values to the result of a configuration."""

    def __init__(self, changes):
        super().__init__()
        self.changes = changes

    def release_memory(self):
        raise OSError("nothing to be released")

    def evaluate(self, config, epochs, seed, state=None):
        outcome = super().evaluate(config, epochs, seed, state)
        return {**outcome, **self.changes.get(canonical(config), {})}


NO_MEASUREMENTS = [{"top3": True}, {"recall": None}, {"top3": 10**400}, {"top3": np.zeros(2)}]
NO_MEASUREMENTS += [{"meta": {"a": {1}}}, {"meta": {"a": threading.Lock}}, {"folds": [{"a": {1}}]}]
NO_MEASUREMENTS += [{"meta": None}]  # this is no failure


def test_what_the_journal_could_not_hold_is_a_failure(space, tmp_path, first_members):
    settings = resolve({**STUB, "workers": "0", "pop_size": 8, "max_generations": 0})
    odd = Odd(dict(zip(map(canonical, first_members), NO_MEASUREMENTS, strict=True)))
    result = search(space, odd, settings, tmp_path / "run")
    assert [trial.status for trial in result.trials] == ["failed"] * 7 + ["ok"]
    assert search(space, odd, settings, tmp_path / "run").trials  # the journal is readable


def test_where_many_fail_alike_the_end_does_not_depend_on_workers(space):
    def members(wrong, workers):
        given = {**STUB, "pop_size": 40, "max_generations": 1, "workers": workers}
        return search(space, Misbehaving(wrong), resolve(given))

    first = {canonical(trial.config): trial.trial for trial in members({}, "0").trials}
    for least, most, reason in ((5, 17, "generation limit"), (25, 40, "failures")):
        wrong = {key: "raise" for key, number in first.items() if least < number < most}
        serial, parallel = members(wrong, "0"), members(wrong, "2")
        assert serial.reason == parallel.reason == reason
        assert lines(serial.trials) == lines(parallel.trials)


def test_lost_workers_stop_the_search_and_are_no_result(space, monkeypatch):
    class Lost(executor.InProcess):
        def submit(self, function, /, *arguments, **named):
            future = super().submit(function, *arguments, **named)
            if function is executor.evaluate and arguments[0].trial == 3:
                future = Future()
                future.cancel()
                future.set_running_or_notify_cancel()
            return future

    monkeypatch.setattr(executor, "InProcess", Lost)
    result = search(space, StubTarget(), resolve({**STUB, "workers": "0"}))
    assert result.reason == "failures" and "workers are lost" in result.detail
    assert [trial.trial for trial in result.trials] == [0, 1, 2]


def test_a_scheduler_that_has_died_stops_the_search_with_what_was_recorded(space, monkeypatch):
    class Dying(executor.InProcess):
        """Another cause than a lost job: the number of workers can no longer be asked for."""

        @property
        def workers(self):
            if len(target.calls) == 3:
                raise OSError("Timed out")
            return 1

    target = StubTarget()
    monkeypatch.setattr(executor, "InProcess", Dying)
    result = search(space, target, resolve({**STUB, "workers": "0"}))
    assert result.reason == "failures" and len(result.trials) == 3
    assert "workers are lost (OSError: Timed out)" in result.detail


# ------------------------------------------------------------------------------ limits and means


def test_what_cannot_fit_is_refused_before_training(space):
    class Sized(StubTarget):
        def estimate_memory(self, config):
            return num_params(config) * 1000

    target = Sized()
    result = search(space, target, resolve({**STUB, "workers": "0", "max_memory_gb": 0.5}))
    refused = [trial for trial in result.trials if trial.status != "ok"]
    assert refused and len(refused) < len(result.trials)
    for trial in result.trials:
        small = num_params(trial.config) * 1000 <= 0.5 * GIGABYTE
        assert trial.status == ("ok" if small else "out_of_memory")
    assert all(num_params(config) <= 0.5e6 for config, *_ in target.calls)
    assert "allowed are 0.50" in refused[0].error


def test_an_estimate_of_memory_that_raises_is_a_failure(space, caplog):
    class Broken(StubTarget):
        def estimate_memory(self, config):
            raise KeyError("width")

    given = {**STUB, "workers": "0", "max_memory_gb": 0.5, "trial_timeout": 9.0}
    result = search(space, Broken(), resolve(given))
    assert result.reason == "failures" and "KeyError: 'width'" in result.trials[0].error
    assert "--trial_timeout has no effect" in caplog.text


def test_auto_is_what_cores_memory_and_gpus_allow(monkeypatch):
    assert 1 <= usable_cores() <= os.cpu_count() and usable_memory() > 0
    monkeypatch.setattr(executor, "usable_cores", lambda: 8)
    monkeypatch.setattr(executor, "usable_memory", lambda: 100 * GIGABYTE)
    assert number_of_workers(resolve({}), []) == 8
    assert number_of_workers(resolve({"threads": 3}), []) == 2
    assert number_of_workers(resolve({"threads": 16}), []) == 1
    assert number_of_workers(resolve({}), [3, 2]) == 5  # the slots of the GPUs
    assert number_of_workers(resolve({}), [60]) == 8  # the cores
    assert number_of_workers(resolve({}), [1] * 12) == 12  # none is left idle
    assert number_of_workers(resolve({"workers": "3"}), [60]) == 3
    monkeypatch.setattr(executor, "usable_memory", lambda: 9 * GIGABYTE)
    assert number_of_workers(resolve({}), []) == 4
    assert number_of_workers(resolve({}), [60]) == 2  # CUDA also takes the machine's memory
    assert number_of_workers(resolve({}), [], data_bytes=GIGABYTE) == 3  # as do the images
    assert number_of_workers(resolve({}), [60], data_bytes=GIGABYTE) == 1


def test_files_that_the_kernel_caches_are_free_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "CGROUP", tmp_path)
    (tmp_path / "memory.max").write_text("900\n")
    (tmp_path / "memory.current").write_text("800\n")
    assert usable_memory() == 100
    (tmp_path / "memory.stat").write_text("anon 300\ninactive_file 450\nactive_file 50\n")
    assert usable_memory() == 550
    inner = tmp_path / "slurm" / "job_7"
    inner.mkdir(parents=True)
    (tmp_path / "own").write_text("0::/slurm/job_7\n")
    monkeypatch.setattr(machine, "OWN_CGROUP", tmp_path / "own")
    (inner.parent / "memory.max").write_text("500\n")
    (inner.parent / "memory.current").write_text("100\n")
    assert usable_memory() == 400, "the limit of the job, around that of its step"
    (inner.parent / "memory.max").write_text("max\n")
    (tmp_path / "memory.max").write_text("max\n")
    assert usable_memory() > 900


def test_after_the_grace_a_training_is_abandoned_and_not_recorded(space, undisturbed, tmp_path):
    slow = next(trial for trial in undisturbed.trials if trial.generation == 0)
    target = Misbehaving({canonical(slow.config): "hang"})
    settings = resolve({**STUB, "workers": "2", "max_time": 6, "grace": 0.5})
    started = time.monotonic()
    result = search(space, target, settings, tmp_path / "run")
    assert result.reason == "time limit" and time.monotonic() - started < 60
    assert result.trials and slow.trial not in {trial.trial for trial in result.trials}
    on = resolve({**STUB, "workers": "0", "max_time": 1e6})
    again = search(space, StubTarget(), on, tmp_path / "run")
    assert_same(tmp_path / "run", again.trials, undisturbed.trials)


# ----------------------------------------------------------------------------------- a cluster


def test_without_dask_one_sentence_says_what_to_do(space, monkeypatch):
    settings = resolve({**STUB, "scheduler": "tcp://127.0.0.1:9"})
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "engine.workers.cluster", raising=False)
    with pytest.raises(InputError, match="requirements-cluster.txt"):
        search(space, StubTarget(), settings)


@pytest.fixture
def engine_cluster():
    return pytest.importorskip("engine.workers.cluster", reason="needs requirements-cluster.txt")


def test_a_scheduler_that_is_not_there_is_told(space, monkeypatch, engine_cluster):
    monkeypatch.setattr(engine_cluster, "CONNECT_SECONDS", 1)
    settings = resolve({**STUB, "scheduler": "tcp://127.0.0.1:9"})
    with pytest.raises(InputError, match="no Dask scheduler answers"):
        search(space, StubTarget(), settings)


@pytest.fixture(scope="module")
def cluster():
    """Two Dask workers, in their own processes."""
    distributed = pytest.importorskip("distributed", reason="needs requirements-cluster.txt")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=None
    ) as local:
        yield local.scheduler_address


def test_a_cluster_makes_the_same_search_whatever_goes_wrong(
    space, first_members, with_faults, cluster, tmp_path
):
    found = search_with_faults(space, first_members, tmp_path, scheduler=cluster)
    assert lines(found.trials) == lines(with_faults.trials)
    assert found.best.config == with_faults.best.config
    assert len({trial.meta["worker"] for trial in found.trials}) == 2
    assert not (tmp_path / "checkpoints").exists()


def test_a_cluster_trains_on_the_devices_of_its_workers(cluster, engine_cluster, monkeypatch):
    """The driver's own devices do not matter."""
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    settings = resolve({"scheduler": cluster, "device": "cuda"})
    with pytest.raises(InputError, match="--device cuda: PyTorch sees no CUDA device here"):
        resolve_devices(make_target(device="cuda"), settings)
    target = make_target(device="auto")
    assert facts(resolve_devices(target, resolve({"scheduler": cluster}))) == {
        "device": "cpu",
        "gpu": None,
    }
    assert target.device_name == "cpu"
    arguments = Job(0, 0, 1, 0, 2, 2, CONFIG), 4, None, None
    with engine_cluster.Cluster(target, cluster, "real", 600, None) as workers:
        there = workers.submit(executor.evaluate, *arguments).result()
    here = executor.evaluate(make_target(), *arguments)
    assert there["metrics"] == here["metrics"] and there["folds"] == here["folds"]


def test_the_end_of_a_scheduler_does_not_hide_the_result(engine_cluster):
    tried = []

    def dead(*_, **__):
        tried.append(1)
        raise RuntimeError("ConnectionPool is closed")

    workers = engine_cluster.Cluster.__new__(engine_cluster.Cluster)
    workers._executor, workers._plugin = SimpleNamespace(shutdown=dead), SimpleNamespace(name="x")
    workers.client = SimpleNamespace(unregister_worker_plugin=dead, close=dead)
    workers.shutdown()
    assert len(tried) == 3


def test_several_dask_workers_of_a_machine_do_not_each_get_all_its_memory(
    monkeypatch, engine_cluster
):
    given = []
    monkeypatch.setattr(engine_cluster, "ProcessPool", lambda *all: given.append(all))
    monkeypatch.setattr(executor, "usable_memory", lambda: 100 * GIGABYTE)
    worker = SimpleNamespace(state=SimpleNamespace(nthreads=2))
    for own, limit in ((8 * GIGABYTE, 3.6e9), (None, 45e9)):
        worker.memory_manager = SimpleNamespace(memory_limit=own)
        engine_cluster.Supervised("run", StubTarget(), 1.0, None).setup(worker)
        assert given.pop()[3] == limit


def test_a_worker_that_comes_later_without_a_gpu_is_closed(monkeypatch, engine_cluster):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    asked = []
    worker = SimpleNamespace(state=SimpleNamespace(nthreads=1), close="close")
    worker.loop = SimpleNamespace(add_callback=lambda what, reason: asked.append((what, reason)))
    target = make_target(device="cuda")
    with pytest.raises(InputError, match="--device cuda"):
        engine_cluster.Supervised("run", target, 1.0, None).setup(worker)
    ((what, reason),) = asked
    assert what == "close" and "PyTorch sees no CUDA device" in reason
