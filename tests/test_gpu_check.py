"""The check of the CUDA path, rehearsed on the CPU as far as possible."""

import subprocess
import sys

import pytest
import torch

from benchmarks import gpu_check, gpu_promises, gpu_rates
from benchmarks.gpu_promises import PROMISES, REHEARSAL
from engine.workers.executor import InProcess
from tests.stubs import ROOT

# Smaller than the rehearsal: each process takes seconds to start.
SMALL = REHEARSAL._replace(workers=(1,), dtypes=("float32",))
TINY = gpu_rates.Sizes(0.0, (1, 2), 64, ("small", "modern"))


# These restart workers often; test_workers.py tests the same with a worker on the CPU.
SLOW = ("out of memory is a trial", "kill -9 frees memory")


# The last test covers "one journal".
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.slow if name in SLOW else ())
        for name in PROMISES
        if name != "one journal"
    ],
)
def test_a_promise_holds_on_the_cpu(name):
    assert PROMISES[name](SMALL)


@pytest.mark.parametrize("name", gpu_check.FIGURES)
def test_figures_are_measured(name, monkeypatch):
    # The work of workers runs in this process.
    monkeypatch.setattr(gpu_rates, "ProcessPool", lambda target, *_: InProcess(target))
    found = list(gpu_check.FIGURES[name](SMALL, TINY))
    assert found and all(what and words for what, words in found)


def test_a_training_that_drifts_breaks_the_promise(monkeypatch):
    """Each training differs a little from the one before."""
    evaluate, count = gpu_promises.ImageTarget.evaluate, iter(range(1000))

    def drifts(self, *arguments):
        result = evaluate(self, *arguments)
        return {**result, "loss": result["loss"] + 1e-9 * next(count)}

    monkeypatch.setattr(gpu_promises.ImageTarget, "evaluate", drifts)
    monkeypatch.setattr(gpu_promises, "RUNGS", (1, 2))
    with pytest.raises(AssertionError, match="differ"):
        gpu_promises.continues_exactly(SMALL._replace(networks=("published",)))


def test_what_is_broken_or_fails_is_told_and_ends_with_1(monkeypatch, capsys):
    def broken(scale):
        raise AssertionError("two runs\ndiffer")

    def fails(scale, sizes):
        yield "first", "1.0"
        raise RuntimeError("no kernel")

    monkeypatch.setitem(gpu_check.PROMISES, "CPU and GPU agree", broken)
    monkeypatch.setitem(gpu_check.PROMISES, "one journal", lambda scale: "all | well")
    arguments = ["--device", "cpu", "--rehearse", "--only", "one journal", "CPU and GPU agree"]
    assert gpu_check.main(arguments) == 1
    out = capsys.readouterr().out
    assert "| CPU and GPU agree | FAILED | AssertionError: two runs differ | 0 |" in out
    assert "| one journal | ok | all / well | 0 |" in out and "| all | FAILED |" in out
    assert gpu_check.main(arguments[:-1]) == 0
    assert "| all | ok |" in capsys.readouterr().out
    monkeypatch.setattr(gpu_check, "FIGURES", {"some": fails, "other": lambda *_: [("a", "2")]})
    monkeypatch.setattr(gpu_check, "PROMISES", {})
    assert gpu_check.main(arguments[:3]) == 1
    out = capsys.readouterr().out
    assert "| first | measured | 1.0 |" in out and "| a | measured | 2 |" in out
    assert "| some | FAILED | RuntimeError: no kernel |" in out


def test_what_the_gpu_does_not_allow_is_left_out_and_told(monkeypatch, capsys):
    whole = gpu_promises.Scale(), gpu_rates.Sizes()
    monkeypatch.setattr(gpu_check, "usable_memory", lambda: 64 * 10**9)
    found = {"slots": 5, "facts": {"compute_capability": "7.5"}}
    scale, sizes = gpu_check.possible(found, *whole)
    assert scale.workers == (1, 2) and sizes.workers == (1, 2, 4)
    assert scale.dtypes == ("float32", "tf32")
    out = capsys.readouterr().out
    assert "| workers 8, 16 | left out |" in out and "| bfloat16 | left out |" in out
    found = {"slots": 60, "facts": {"compute_capability": "10.0"}}
    assert gpu_check.possible(found, *whole) == whole


def test_without_a_gpu_nothing_is_proved(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    assert gpu_check.main([]) == 2
    err = capsys.readouterr().err
    assert err.startswith("gpu_check.py: --device cuda: PyTorch sees no") and err.count("\n") == 1
    assert "--rehearse" in err and "auto" not in err
    assert gpu_check.main(["--device", "cpu"]) == 2
    assert "--rehearse" in capsys.readouterr().err


def test_it_needs_four_packages():
    """No other package is needed on a machine with a GPU: see the docstring of the check."""
    code = """
import sys
for name in ("schedulefree", "safetensors", "psutil", "PIL", "torchvision", "rich"):
    sys.modules[name] = None  # as if it were not installed
for name in ("wandb", "altair", "vl_convert", "jinja2", "sklearn", "threadpoolctl", "shtab"):
    sys.modules[name] = None
sys.modules["distributed"] = None
from benchmarks import gpu_check, gpu_promises
assert gpu_promises.optimizer_here() == "adamw"
print(gpu_promises.one_journal(gpu_promises.REHEARSAL._replace(workers=(1,))))
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "trials each with workers 1: " in done.stdout
