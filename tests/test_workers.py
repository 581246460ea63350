"""Worker processes: the same search by any number of them, and faults that end no search."""

import os
import sys
import threading
import time
from concurrent.futures import Future
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from engine.callbacks import CallbackHandler
from engine.cli.settings import resolve
from engine.cli.stopping import Stop, StopSignals
from engine.storage.journal import Journal
from engine.workers import executor
from engine.workers import pool as pool_module
from engine.workers.devices import facts, settled
from engine.workers.dispatch import Dispatcher
from engine.workers.executor import number_of_workers, open_executor
from engine.workers.machine import usable_cores, usable_memory
from engine.workers.planning import plan, sampler
from engine.workers.pool import RETRIES, Activity, ProcessPool
from engine.workers.process import WorkerFailed
from optimizer import search
from search.evolution import Variation
from search.generation import halvings
from search.offspring import OffspringSampler
from search.trial import Job, canonical
from target import cross_validation
from tests.searches import GUIDED
from tests.stub_target import Busy, Misbehaving, StubTarget, num_params
from tests.stubs import assert_same, lines, on_disk, processes_of
from utils import InputError
from vision.data import Images, open_data, open_train

ROOT = Path(__file__).resolve().parent.parent
STUB = {"pop_size": 4, "epochs": 12, "max_generations": 1}
# 2 + 2 of the population and in full, 2 -> 1 in the bracket: seven trainings.
REAL = {"image_size": 8, "pop_size": 2, "epochs": 2, "min_epochs": 1, "folds": 2, "seed": 5}
REAL |= {"max_generations": 1}
REAL |= {"constraints": ["num_params <= 3e4", "macs <= 1.5e5", "precision >= 0.01"]}
GIGABYTE = 10**9


# ------------------------------------------------------------------- the same with any number


@pytest.fixture(scope="module")
def flowers():
    """Few of the embedded flowers: the target of a tiny search, with dropout and batch norm on."""
    source = open_data("synthetic", None, 8, 1)
    images, _ = open_train(source)
    images = Images(images.pixels[::6], images.labels[::6], images.names[::6])
    return cross_validation(images, source.num_classes, 2, 5, curve_epochs=(1, 2))


def test_any_number_of_workers_makes_the_same_search(space, flowers, tmp_path):
    found = []
    for workers in ("0", "3"):
        folder = tmp_path / workers
        result = search(space, flowers, resolve({**REAL, "workers": workers}), folder)
        assert result.reason == "generation limit"
        assert not (folder / "checkpoints").exists()
        found.append((lines(on_disk(folder)), result.best.config))
    assert found[0] == found[1] and len(found[0][0]) == 7


def test_the_limit_of_epochs_cuts_the_same_jobs(space):
    given = {**STUB, "epochs": 50, "max_generations": 3, "max_total_epochs": 700}
    alone = search(space, StubTarget(), resolve({**given, "workers": "0"}))
    many = search(space, Misbehaving({}), resolve({**given, "workers": "3"}))
    assert alone.reason == many.reason == "epoch limit"
    assert lines(alone.trials) == lines(many.trials)
    assert alone.best.config == many.best.config


def test_the_guided_search_is_the_same_with_workers(space):
    """Its model decides in such a search (tests/test_search_guided.py)."""
    given = {**STUB, **GUIDED, "max_generations": 8, "max_total_epochs": 250}
    alone = search(space, StubTarget(), resolve({**given, "workers": "0"}))
    for workers in ("1", "3"):
        many = search(space, Misbehaving({}), resolve({**given, "workers": workers}))
        assert lines(alone.trials) == lines(many.trials)
        assert alone.best.config == many.best.config


def test_brackets_run_side_by_side(space):
    """A worker that waits at the barrier of one bracket is given the next one's job."""
    result = search(space, Misbehaving({}), resolve({**STUB, "workers": "2"}))
    assert {trial.meta["worker"] for trial in result.trials} == {0, 1}
    assert all(trial.meta["attempts"] == 1 for trial in result.trials)


# ---------------------------------------------------------------------------------------- faults


@pytest.fixture(scope="module")
def undisturbed(space):
    return search(space, StubTarget(), resolve({**STUB, "workers": "0"}))


@pytest.fixture(scope="module")
def first_members(space):
    """Eight configurations that any search of eight begins with."""
    given = {**STUB, "pop_size": 8, "max_generations": 0, "workers": "0"}
    return [trial.config for trial in search(space, StubTarget(), resolve(given)).trials]


FAULTS = {
    "raise": ("failed", "ValueError: as it was told"),
    "nan": ("diverged", "not finite: loss"),
    "memory_error": ("out_of_memory", "MemoryError: as it was told"),
    "hang": ("timeout", "ended after 8 seconds"),
    "allocate": ("out_of_memory", "ended when it held more than 1.00 GB of memory"),
    "kill": ("failed", f"the worker was lost {RETRIES + 1} times: killed by SIGKILL"),
}


@pytest.mark.parametrize("workers", ["1", "2"])
def test_whatever_a_training_does_is_a_result(space, first_members, workers):
    configs = map(canonical, first_members)
    wrong = dict(zip(configs, FAULTS, strict=False))
    given = {"pop_size": 8, "workers": workers, "trial_timeout": 8, "max_memory_gb": 1}
    result = search(space, Misbehaving(wrong), resolve({**STUB, **given}))
    assert result.reason == "generation limit" and result.best.status == "ok"
    for trial in result.trials:
        how = wrong.get(canonical(trial.config))
        assert (trial.status, trial.error) == FAULTS.get(how, ("ok", None))
        assert trial.meta["attempts"] == (RETRIES + 1 if how == "kill" else 1)
    assert {trial.status for trial in result.trials} == {"ok", *(s for s, _ in FAULTS.values())}


@pytest.mark.parametrize("how", ["raise", "nan", "memory_error"])
def test_in_this_process_exceptions_are_results_too(space, undisturbed, how):
    first = undisturbed.trials[0]
    wrong = {canonical(first.config): how}
    result = search(space, Misbehaving(wrong), resolve({**STUB, "workers": "0"}))
    found = next(trial for trial in result.trials if trial.config == first.config)
    assert (found.status, found.error) == FAULTS[how]


def test_a_killed_worker_costs_another_attempt_and_nothing_else(space, flowers, tmp_path):
    """Workers are killed at random moments of a real training, but none of a job's too often."""
    settings = resolve({**REAL, "workers": "2"})
    config = sampler(settings, space, flowers).draw([], 1)[0].config
    killed = 0
    with open_executor(flowers, settings, "run") as pool:
        job = Job(0, 0, 1, 0, 25, 25, config)
        future = pool.submit(executor.evaluate, job, 1, str(tmp_path / "state"), None)
        while not future.done():
            workers = processes_of(os.getpid())
            working = [w for w in workers if w.cpu_times().user > 3 + killed]
            if working and killed < RETRIES:
                working[0].kill()
                killed += 1
            time.sleep(0.05)
        outcome = future.result()
        undisturbed = pool.submit(executor.evaluate, job, 1, None, None).result()
    assert outcome["status"] == "ok" and outcome["metrics"] == undisturbed["metrics"]
    assert outcome["meta"]["attempts"] == killed + 1 > 1


def test_a_target_that_cannot_go_to_workers_is_told(space):
    with pytest.raises(InputError, match="workers 0"):
        search(space, StubTarget(act=lambda *_: None), resolve({**STUB, "workers": "1"}))


class Unwilling(Misbehaving):
    """Can be pickled, but not taken over."""

    def __reduce__(self):
        return int, ("no number",)


def test_workers_that_cannot_begin_end_the_search_with_the_reason(space, caplog):
    caplog.set_level("INFO", logger="nas")
    result = search(space, Unwilling({}), resolve({**STUB, "workers": "2"}))
    assert result.reason == "failures" and not result.trials
    assert "no number" in caplog.text


def test_a_worker_whose_device_is_busy_is_replaced(tmp_path):
    with ProcessPool(Busy(tmp_path / "notes", 1), 1, 1e9, 10**12) as pool:
        outcome = pool.submit(executor.guess_seconds, []).result()
    assert outcome["status"] == "ok" and outcome["meta"]["attempts"] == 2


def test_a_device_that_stays_busy_is_no_result_of_a_training(tmp_path, monkeypatch):
    """One sentence, by which a search ends: see the test above."""
    monkeypatch.setattr(pool_module, "RESTART_SECONDS", 0.01)
    with ProcessPool(Busy(tmp_path / "notes", 9), 1, 1e9, 10**12) as pool:
        with pytest.raises(WorkerFailed) as failed:
            pool.submit(executor.guess_seconds, []).result()
    assert str(failed.value) == "a worker cannot begin, 4 times: CUDA error: all devices are busy"


class Slow(StubTarget):
    """Trains two folds of one epoch; can be pickled."""

    on_epoch = None

    def __init__(self):
        super().__init__(static_metrics=dict)

    def __reduce__(self):
        return Slow, ()

    def evaluate(self, *arguments):
        for fold in range(2):
            self.on_epoch(fold, 1)
            time.sleep(0.7)
        return super().evaluate(*arguments)


def test_what_each_worker_does_is_known_meanwhile():
    job, seen = Job(3, 0, 0, 0, 1, 1, {"x": 1}), []
    with ProcessPool(Slow(), 1, 1e9, 10**12) as pool:
        future = pool.submit(executor.evaluate, job, 1, None, None)
        while not future.done():
            seen += pool.activity.copy().values()
            time.sleep(0.05)
        assert future.result()["status"] == "ok"
        while pool.activity:
            time.sleep(0.05)
    arguments = job, 1, None, None
    activity = [Activity(arguments, fold, epoch) for fold, epoch in ((0, 0), (0, 1), (1, 1))]
    assert list(dict.fromkeys(map(str, seen))) == [str(one) for one in activity]


class Odd(StubTarget):
    """Adds to the measurement of a configuration what is none; can be pickled."""

    def __init__(self, changes):
        super().__init__()
        self.changes = changes

    def __reduce__(self):
        return Odd, (self.changes,)

    def release_memory(self):
        raise OSError("nothing to be released")

    def evaluate(self, config, epochs, seed, state=None):
        outcome = super().evaluate(config, epochs, seed, state)
        return {**outcome, **self.changes.get(canonical(config), {})}


NO_MEASUREMENTS = [{"top3": True}, {"top3": 1j}, {"top3": 10**400}, {"top3": np.zeros(2)}]
NO_MEASUREMENTS += [{"top3": "0.9"}, {"meta": {"a": {1}}}, {"meta": {"a": threading.Lock}}]
NO_MEASUREMENTS += [{"folds": [{1, 2}]}]


def test_what_the_journal_could_not_hold_is_a_failure(space, tmp_path, first_members):
    settings = resolve({**STUB, "workers": "1", "pop_size": 8, "max_generations": 0})
    odd = Odd(dict(zip(map(canonical, first_members), NO_MEASUREMENTS, strict=True)))
    result = search(space, odd, settings, tmp_path / "run")
    assert [trial.status for trial in result.trials] == ["failed"] * 8
    assert search(space, odd, settings, tmp_path / "run").trials  # and it can be read


def test_nothing_observed_is_no_failure(space, first_members):
    settings = resolve({**STUB, "workers": "0", "pop_size": 8, "max_generations": 0})
    odd = Odd({canonical(config): {"meta": None} for config in first_members})
    result = search(space, odd, settings)
    assert [trial.status for trial in result.trials] == ["ok"] * 8


def test_where_many_fail_alike_the_end_does_not_depend_on_workers(space):
    def members(wrong, workers):
        given = {**STUB, "pop_size": 40, "max_generations": 1, "workers": workers}
        return search(space, Misbehaving(wrong), resolve(given))

    first = {canonical(trial.config): trial.trial for trial in members({}, "0").trials}
    early = {key: "raise" for key, number in first.items() if 5 < number < 17}
    serial, parallel = members(early, "0"), members(early, "2")
    assert serial.reason == parallel.reason == "generation limit"
    assert lines(serial.trials) == lines(parallel.trials)
    late = {key: "raise" for key, number in first.items() if 25 < number < 40}
    serial, parallel = members(late, "0"), members(late, "2")
    assert serial.reason == parallel.reason == "failures"
    assert lines(serial.trials) == lines(parallel.trials)


def test_a_process_that_cannot_be_started_is_tried_again(monkeypatch):
    start, tries = pool_module._CONTEXT.Process.start, []

    def reluctant(process):
        tries.append(process)
        if len(tries) == 1:
            raise OSError(11, "Resource temporarily unavailable")
        start(process)

    monkeypatch.setattr(pool_module._CONTEXT.Process, "start", reluctant)
    with ProcessPool(Misbehaving({}), 1, 1e9, 10**12) as pool:
        outcome = pool.submit(say).result()
    assert outcome["said"] == "hello" and outcome["meta"]["attempts"] == 2


def say(target):
    return {"said": "hello", "status": "ok", "meta": {}}


def test_lost_workers_stop_the_search_and_are_no_result(space):
    class Lost(executor.InProcess):
        def submit(self, function, /, *arguments, **named):
            future = super().submit(function, *arguments, **named)
            if function is executor.evaluate and arguments[0].trial == 3:
                future = Future()
                future.cancel()
                future.set_running_or_notify_cancel()
            return future

    settings = resolve({**STUB, "workers": "0"})
    journal = Journal()
    with StopSignals() as signals, pytest.raises(Stop, match="workers are lost") as stop:
        doing = Lost(StubTarget()), settings, journal, None, signals, lambda config: 1.0
        dispatcher = Dispatcher(*doing, CallbackHandler())
        facts = space, settings.ranking(), StubTarget().static_metrics, 1
        sampler = OffspringSampler(*facts, Variation())
        brackets = plan(settings, 0)
        children = sampler.draw([], settings.pop_size)
        dispatcher.run(halvings(brackets, children, 0, sampler.rank_for_promotion))
    assert stop.value.reason == "failures"
    assert [trial.trial for trial in journal.trials] == [0, 1, 2]


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


def test_auto_is_what_cores_and_memory_allow(monkeypatch):
    assert 1 <= usable_cores() <= os.cpu_count() and usable_memory() > 0
    monkeypatch.setattr(executor, "usable_cores", lambda: 8)
    monkeypatch.setattr(executor, "usable_memory", lambda: 100 * GIGABYTE)
    assert number_of_workers(resolve({}), []) == 8
    assert number_of_workers(resolve({"threads": 3}), []) == 2
    assert number_of_workers(resolve({"threads": 16}), []) == 1
    monkeypatch.setattr(executor, "usable_memory", lambda: 5 * GIGABYTE)
    assert number_of_workers(resolve({}), []) == 2


def test_auto_is_several_a_gpu_as_far_as_they_have_room(monkeypatch):
    monkeypatch.setattr(executor, "usable_cores", lambda: 8)
    monkeypatch.setattr(executor, "usable_memory", lambda: 100 * GIGABYTE)
    assert number_of_workers(resolve({}), [1]) == 1
    assert number_of_workers(resolve({}), [3]) == 3
    assert number_of_workers(resolve({}), [3, 2]) == 5
    assert number_of_workers(resolve({}), [60]) == 8  # the cores
    assert number_of_workers(resolve({"threads": 2}), [60]) == 4
    assert number_of_workers(resolve({}), [1] * 12) == 12  # none is left idle
    assert number_of_workers(resolve({"workers": "3"}), [60]) == 3
    monkeypatch.setattr(executor, "usable_memory", lambda: 9 * GIGABYTE)
    assert number_of_workers(resolve({}), [60]) == 2  # CUDA takes the machine's memory, too


@pytest.mark.parametrize("value", ["autp", "-1", "1.5", "1025", "", "two"])
def test_a_wrong_number_of_workers_is_told(value):
    with pytest.raises(InputError, match="allowed is auto or a whole number from 0 to 1024"):
        resolve({"workers": value})
    assert resolve({"workers": 2}).workers == "2"


def test_any_limit_of_time_can_be_waited_for(space, undisturbed):
    settings = resolve({**STUB, "workers": "1", "max_time": 1e10})
    assert lines(search(space, Misbehaving({}), settings).trials) == lines(undisturbed.trials)


def test_after_the_grace_a_training_is_abandoned_and_not_recorded(space, undisturbed, tmp_path):
    slow = next(trial for trial in undisturbed.trials if trial.generation == 0)
    target = Misbehaving({canonical(slow.config): "hang"})
    settings = resolve({**STUB, "workers": "2", "max_time": 10, "grace": 1, "max_generations": 1})
    started = time.monotonic()
    result = search(space, target, settings, tmp_path / "run")
    assert result.reason == "time limit" and time.monotonic() - started < 60
    assert result.trials and slow.trial not in {trial.trial for trial in result.trials}
    on = resolve({**STUB, "workers": "0", "max_time": 1e6, "max_generations": 1})
    again = search(space, StubTarget(), on, tmp_path / "run")
    assert_same(tmp_path / "run", again.trials, undisturbed.trials)


def test_a_closed_pool_takes_no_calls(flowers):
    pool = ProcessPool(flowers, 1, 1e9, 10**12)
    pool.shutdown()
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(executor.evaluate)


# ----------------------------------------------------------------------------------- a cluster


def test_without_dask_or_scheduler_one_sentence_says_what_to_do(space, monkeypatch):
    settings = resolve({**STUB, "scheduler": "tcp://127.0.0.1:9"})
    monkeypatch.setitem(sys.modules, "distributed", None)
    monkeypatch.delitem(sys.modules, "engine.workers.cluster", raising=False)
    with pytest.raises(InputError, match="requirements-cluster.txt"):
        search(space, StubTarget(), settings)


@pytest.fixture(scope="module")
def cluster():
    """Two Dask workers, in processes of their own."""
    distributed = pytest.importorskip("distributed", reason="needs requirements-cluster.txt")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, memory_limit=None
    ) as local:
        yield local.scheduler_address


def test_a_cluster_makes_the_same_search(space, flowers, cluster, tmp_path):
    alone = search(space, flowers, resolve({**REAL, "workers": "0"}), tmp_path / "alone")
    settings = resolve({**REAL, "scheduler": cluster})
    found = search(space, flowers, settings, tmp_path / "cluster")
    assert found.reason == "generation limit" and found.best.config == alone.best.config
    assert lines(on_disk(tmp_path / "cluster")) == lines(on_disk(tmp_path / "alone"))
    assert lines(found.trials) == lines(alone.trials)
    assert len({trial.meta["worker"] for trial in found.trials}) == 2
    assert not (tmp_path / "cluster" / "checkpoints").exists()


def test_devices_are_those_of_the_workers(cluster, monkeypatch):
    """Asked there: what the machine of the driver has does not matter."""
    source = open_data("synthetic", None, 8, 1)
    images, _ = open_train(source)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    for name in ("auto", "cpu"):
        target = cross_validation(images, source.num_classes, 2, 5, device=name)
        settings = resolve({"scheduler": cluster, "device": name})
        assert facts(settled(target, settings)) == {"device": "cpu", "gpu": None}
        assert target.device_name == "cpu"
    target = cross_validation(images, source.num_classes, 2, 5, device="cuda")
    with pytest.raises(InputError, match="--device cuda: PyTorch sees no CUDA device here"):
        settled(target, resolve({"scheduler": cluster, "device": "cuda"}))


def test_a_worker_that_comes_later_without_a_gpu_is_closed(monkeypatch):
    engine_cluster = pytest.importorskip(
        "engine.workers.cluster", reason="needs requirements-cluster.txt"
    )
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    source = open_data("synthetic", None, 8, 1)
    images, _ = open_train(source)
    target = cross_validation(images, source.num_classes, 2, 5, device="cuda")
    asked = []
    worker = SimpleNamespace(state=SimpleNamespace(nthreads=1), close="close")
    worker.loop = SimpleNamespace(add_callback=lambda what, reason: asked.append((what, reason)))
    with pytest.raises(InputError, match="--device cuda"):
        engine_cluster.Supervised("run", target, 1.0, None).setup(worker)
    ((what, reason),) = asked
    assert what == "close" and "PyTorch sees no CUDA device" in reason


def test_faults_on_a_cluster_are_results_too(space, first_members, cluster):
    wrong = dict(zip(map(canonical, first_members), FAULTS, strict=False))
    given = {"pop_size": 8, "scheduler": cluster, "trial_timeout": 8, "max_memory_gb": 1}
    result = search(space, Misbehaving(wrong), resolve({**STUB, **given, "max_generations": 0}))
    for trial in result.trials:
        how = wrong.get(canonical(trial.config))
        assert (trial.status, trial.error) == FAULTS.get(how, ("ok", None))


def test_a_scheduler_that_is_not_there_is_told(space, monkeypatch):
    engine_cluster = pytest.importorskip(
        "engine.workers.cluster", reason="needs requirements-cluster.txt"
    )
    monkeypatch.setattr(engine_cluster, "CONNECT_SECONDS", 1)
    settings = resolve({**STUB, "scheduler": "tcp://127.0.0.1:9"})
    with pytest.raises(InputError, match="no Dask scheduler answers"):
        search(space, StubTarget(), settings)
