"""The program's guarantees on a GPU: the checks of benchmarks/gpu_check.py, one per test.

`make gpu-check` also measures. Skipped with the reason if no GPU is usable.
"""

import json
import math

import pytest
import torch

import optimizer
from benchmarks.gpu_check import possible
from benchmarks.gpu_promises import PROMISES, Scale
from benchmarks.gpu_rates import Sizes
from engine.workers.pool import ProcessPool
from tests.command_line import decided, read, search
from tests.trainings import CONFIG, make_target
from training import gpus
from training.device import choose_device, refusal

# Asks another process: the first guarantee is that a driver never touches CUDA.
FOUND = gpus.devices("auto")
WHY = FOUND[0]["note"] or "PyTorch sees no CUDA device here"
pytestmark = pytest.mark.skipif(FOUND[0]["device"] == "cpu", reason=WHY)


@pytest.mark.parametrize("name", PROMISES)
def test_promise(name):
    scale, _ = possible(FOUND[0], Scale(), Sizes())
    assert PROMISES[name](scale)


def test_a_gpu_is_found_and_told_whole():
    facts = FOUND[0]["facts"]
    assert all(facts.values()), facts
    assert facts["memory_bytes"] == torch.cuda.get_device_properties(0).total_memory
    assert 0 < FOUND[0]["free"] <= FOUND[0]["total"] and FOUND[0]["slots"] >= 1
    assert refusal() is None and choose_device("auto").type == "cuda"


def worker_memory(target):
    """Runs in a worker: the memory of its share, and the GPU memory that it uses."""
    target.evaluate(CONFIG, 1, 4)
    free, total = torch.cuda.mem_get_info(0)
    share = torch.cuda.get_per_process_memory_fraction(0)
    return {"share": share, "free": free, "total": total, "status": "ok", "meta": {}}


def test_workers_have_shares_and_more_than_one_fits():
    target = make_target(device="cuda")
    places = target.environments(2)
    with ProcessPool(target, 2, math.inf, 10**12, places) as pool:
        asked = [pool.submit(worker_memory) for _ in range(2)]  # both exist at once
        seen = [future.result() for future in asked]
    assert {one["meta"]["worker"] for one in seen} == {0, 1}
    for one in seen:
        assert 0 < one["share"] < 0.5 and one["free"] > 0


def test_a_search_on_a_gpu_goes_on_to_the_same_result(tmp_path, folder, no_flowers):
    arguments = ["--dataset", folder, "--device", "cuda", "--workers", "2"]
    assert search(tmp_path, *arguments, name="whole") == 0
    assert search(tmp_path, *arguments, "--max_time", 0, name="stopped") == 0
    resumed = ["--resume", "stopped", "--runs_dir", str(tmp_path), "--max_time", "3600"]
    assert optimizer.main(resumed) == 0
    whole, stopped = tmp_path / "whole", tmp_path / "stopped"
    key = lambda line: json.dumps(line, sort_keys=True)  # noqa: E731
    assert sorted(decided(whole), key=key) == sorted(decided(stopped), key=key)
    record = read(whole / "run.json")
    assert record["device"] == "cuda" and record["gpu"] == FOUND[0]["facts"]
