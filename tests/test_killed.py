"""Searches that are killed or get signals: what is left, and that nothing outlives its parent."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import psutil
import pytest

from tests.stubs import processes_of

ROOT = Path(__file__).resolve().parent.parent


def gone(pids, seconds=30):
    deadline = time.monotonic() + seconds
    while any(psutil.pid_exists(pid) for pid in pids) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not any(psutil.pid_exists(pid) for pid in pids)


def test_no_worker_outlives_a_killed_driver(tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(
        textwrap.dedent(f"""
        import sys
        sys.path.insert(0, {str(ROOT)!r})
        from engine.workers.executor import evaluate
        from engine.workers.pool import ProcessPool
        from search.trial import Job, canonical
        from tests.stub_target import Misbehaving

        if __name__ == "__main__":
            config = {{"x": 1}}
            pool = ProcessPool(Misbehaving({{canonical(config): "hang"}}), 2, 1e9, 10**12)
            jobs = [Job(i, 0, 0, 0, 1, 1, config) for i in range(2)]
            futures = [pool.submit(evaluate, job, 1, None, None) for job in jobs]
            futures[0].result()
        """)
    )
    driver = subprocess.Popen([sys.executable, str(script)], stderr=subprocess.DEVNULL)
    deadline = time.monotonic() + 60
    while len(processes_of(driver.pid)) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)  # two workers, and multiprocessing's tracker of resources
    children = [child.pid for child in processes_of(driver.pid)]
    assert len(children) >= 2
    time.sleep(1)
    driver.kill()
    driver.wait()
    assert gone(children), "a worker outlived its driver"


@pytest.mark.slow  # the fast siblings: a killed driver, a killed worker, a journal cut anywhere
def test_a_search_that_is_killed_again_and_again_ends_as_if_nothing_had_happened():
    words = [sys.executable, str(ROOT / "benchmarks" / "crash.py"), "--kills", "2", "--seed", "3"]
    words += ["--config", str(ROOT / "configs" / "modern.json")]
    ended = subprocess.run(words, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout.count(": yes") == 5


def start_search(folder):
    """A search of two workers that goes on and on, leader of its own group of processes."""
    words = [sys.executable, "-u", str(ROOT / "optimizer.py"), "--dataset", "synthetic"]
    words += ["--workers", "2", "--pop_size", "4", "--epochs", "100000", "-s", "1e5"]
    pipe = subprocess.PIPE
    return subprocess.Popen(
        words, cwd=folder, start_new_session=True, stdout=pipe, stderr=pipe, text=True
    )


def test_ctrl_c_while_workers_start_is_told_by_nobody_but_the_driver(tmp_path):
    driver = start_search(tmp_path)
    while not driver.stdout.readline().startswith("estimated time"):
        assert driver.poll() is None
    time.sleep(0.3)
    os.killpg(driver.pid, signal.SIGINT)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 130 and err == "" and "The search ended" in out


def test_a_signal_to_the_whole_group_ends_busy_workers_and_search_in_order(tmp_path):
    driver = start_search(tmp_path)
    deadline = time.monotonic() + 120
    busy = []
    while len(busy) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)
        busy = [p for p in processes_of(driver.pid) if p.cpu_times().user > 4]
    os.killpg(driver.pid, signal.SIGTERM)
    out, err = driver.communicate(timeout=60)
    assert driver.returncode == 143 and err == ""
    assert "The search ended" in out and len(busy) == 2
    assert gone([process.pid for process in busy])
