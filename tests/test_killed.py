"""Searches killed or signalled together with their workers: files and messages."""

import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.stubs import ROOT, processes_of


@pytest.mark.slow  # fast variants: a killed driver, a killed worker, a cut journal
def test_a_search_that_is_killed_again_and_again_ends_as_if_nothing_had_happened():
    words = [sys.executable, str(ROOT / "benchmarks" / "crash.py"), "--kills", "2", "--seed", "3"]
    words += ["--config", str(ROOT / "configs" / "modern.json")]
    ended = subprocess.run(words, capture_output=True, text=True)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert "main process: 0," not in ended.stdout, ended.stdout  # else nothing was tested
    assert ended.stdout.count(": yes") == 5


SEARCH = f"""
import sys
sys.path.insert(0, {str(ROOT)!r})

if __name__ == "__main__":
    from engine.callbacks import Callback
    from engine.cli.settings import resolve
    from engine.storage.run import RunFolder
    from optimizer import search
    from search.trial import canonical
    from tests.stub_target import Misbehaving
    from tests.stubs import small_space

    class Told(Callback):
        def generation_begins(self, *facts):
            print("begins", flush=True)

    hanging = Misbehaving({{canonical({{"x": x}}): "hang" for x in range(1, 7)}})
    hanging.static_metrics = lambda config: {{}}
    settings = resolve({{"workers": 2, "pop_size": 4, "constraints": []}})
    print(search(small_space(), hanging, settings, RunFolder(sys.argv[1]), [Told()]).reason)
"""


@pytest.mark.parametrize(
    ("number", "seconds", "reason"),
    [(signal.SIGINT, 0.2, "interrupted"), (signal.SIGTERM, 2.0, "terminated")],
    ids=["Ctrl-C while workers start", "SIGTERM while they are busy"],
)
def test_a_signal_to_the_whole_group_is_told_by_nobody_but_the_driver(
    tmp_path, number, seconds, reason
):
    (tmp_path / "driver.py").write_text(SEARCH)
    driver = subprocess.Popen(
        [sys.executable, str(tmp_path / "driver.py"), str(tmp_path / "run")],
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert driver.stdout.readline() == "begins\n", driver.communicate()
    deadline = time.monotonic() + 60
    while len(processes_of(driver.pid)) < 3 and time.monotonic() < deadline:
        time.sleep(0.01)  # two workers, and multiprocessing's resource tracker
    started = processes_of(driver.pid)
    time.sleep(seconds)
    os.killpg(driver.pid, number)
    deadline = time.monotonic() + 60
    out, err = driver.communicate(timeout=60)
    assert (driver.returncode, out, err) == (0, f"{reason}\n", "")
    assert len(started) == 3
    while any(one.is_running() and one.status() != psutil.STATUS_ZOMBIE for one in started):
        assert time.monotonic() < deadline, "a worker outlived its driver"
        time.sleep(0.05)
