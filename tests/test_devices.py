"""The choice of the device, its facts, and that only workers touch CUDA."""

import contextlib
import functools
import json
import runpy
import subprocess
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

import optimizer
from engine.cli.settings import resolve
from engine.workers import devices as engine_devices
from engine.workers import executor as engine_executor
from engine.workers.executor import GPU_WORKER_BYTES, evaluate, memory_limit, open_executor
from search.trial import Job
from target import ImageTarget
from tests.command_line import call, check_complaint, complaint, lines_of, read, search
from tests.trainings import CONFIG, make_target
from training import device, gpus
from training.device import MEMORY_SHARE, choose_device, layout, out_of_memory_as_memory_error
from utils import InputError

pytestmark = pytest.mark.usefixtures("no_flowers")
GIGABYTE = 10**9
CARD = {"name": "Some GPU", "compute_capability": "8.0", "multiprocessors": 108}
CARD |= {"memory_bytes": 40 * GIGABYTE, "cuda": "13.0", "cudnn": 91002, "driver": "580.1"}


def a_gpu(number=0, free=40, why=None, exclusive=False, **facts):
    """The answer of the process that looks for GPUs about one; free: GB."""
    card = {**CARD, **facts}
    known = {"why": why, "facts": card, "free": free * GIGABYTE, "total": card["memory_bytes"]}
    return {**known, "exclusive": exclusive, "variables": {"CUDA_VISIBLE_DEVICES": str(number)}}


@pytest.fixture
def machine(monkeypatch):
    """Simulates a machine with these GPUs; touching CUDA in this process fails."""

    def touched():
        raise AssertionError("CUDA was touched")

    def give(*found):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(found))
        monkeypatch.setattr(torch.cuda, "_lazy_init", touched)
        monkeypatch.setattr(torch.cuda, "is_available", touched)
        monkeypatch.setattr(gpus, "_probe_in_subprocess", lambda: json.loads(json.dumps(found)))

    return give


@pytest.fixture
def gpu_here(monkeypatch):
    """Simulates a GPU of that capability, whose kernels raise that error."""

    def give(capability, error=None):
        def tried(device):
            if error is not None:
                raise error

        monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
        monkeypatch.setattr(torch.cuda, "get_device_name", lambda number: "GeForce GTX 1060 3GB")
        monkeypatch.setattr(torch.cuda, "get_device_capability", lambda number: capability)
        monkeypatch.setattr(torch.cuda, "get_arch_list", lambda: ["sm_75", "sm_80"])
        monkeypatch.setattr("training.device._try", tried)

    return give


NO_KERNEL = RuntimeError("CUDA error: no kernel image is available for execution on the device")
NO_ENGINE = RuntimeError("GET was unable to find an engine to execute this computation")
BUSY = RuntimeError("CUDA error: all devices are busy or unavailable\nCompile with")


@pytest.mark.parametrize(
    ("capability", "error", "words"),
    [
        ((6, 1), NO_KERNEL, ("GeForce GTX 1060 3GB", "6.1", "sm_75 sm_80", "whl/cu126")),
        ((13, 0), NO_KERNEL, ("13.0", "sm_75 sm_80 only; use --device cpu or auto")),
        ((6, 1), NO_ENGINE, ("6.1", "has no convolution for it", "cu126")),
        ((8, 0), BUSY, ("busy or unavailable); use --device cpu or auto",)),
    ],
    ids=["too old", "too new", "dropped by cuDNN", "taken"],
)
def test_a_gpu_is_taken_if_a_convolution_runs_or_refused_with_the_reason(
    gpu_here, caplog, capability, error, words
):
    device._try(torch.device("cpu"))  # so that it runs at all
    gpu_here(capability)
    assert choose_device("auto").type == choose_device("cuda").type == "cuda"
    gpu_here(capability, error)
    with pytest.raises(InputError) as refused:
        choose_device("cuda")
    said = str(refused.value)
    assert all(word in said for word in words) and "\n" not in said
    assert choose_device("auto").type == "cpu" and "training on the CPU" in caplog.text


def test_a_worker_takes_its_share_of_its_gpu_before_its_first_training(gpu_here, monkeypatch):
    """An error there is reported as such, and no trial fails."""
    set_to = []
    share = "set_per_process_memory_fraction"
    monkeypatch.setattr(torch.cuda, share, lambda *given: set_to.append(given))
    gpu_here((8, 0))
    choose_device("cuda")
    assert set_to == []
    monkeypatch.setenv(MEMORY_SHARE, "0.125000")
    choose_device("cuda")
    assert set_to == [(0.125, 0)]
    gpu_here((8, 0), BUSY)
    make_target(device="cpu").take_device()
    with pytest.raises(InputError, match="busy"):
        make_target(device="cuda").take_device()


LACKS = [
    "CUDA error: out of memory\nCUDA kernel errors might be",
    "CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(h)`",
    "cuDNN error: CUDNN_STATUS_ALLOC_FAILED",
    "CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(h)`",
    "cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED",
    "[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: can't allocate memory",
]


def test_whatever_says_that_memory_is_out_is_a_memory_error():
    told = torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore")
    for error in (told, *map(RuntimeError, LACKS)):
        with pytest.raises(MemoryError, match="^[^\n]*$"), out_of_memory_as_memory_error():
            raise error
    with pytest.raises(RuntimeError, match="device-side assert"), out_of_memory_as_memory_error():
        raise RuntimeError("CUDA error: device-side assert triggered")


@pytest.fixture
def lacks(monkeypatch):
    """Simulates CUDA; `lacks()` counts one failed allocation."""
    count = [3]  # earlier ones
    monkeypatch.setattr(torch.cuda, "memory_stats", lambda device: {"num_ooms": count[0]})

    def once():
        count[0] += 1

    return once


def test_a_lack_of_memory_that_cudnn_hides_is_a_memory_error_too(lacks):
    with out_of_memory_as_memory_error():
        pass
    with pytest.raises(MemoryError, match="workspace"), out_of_memory_as_memory_error():
        lacks()
    with pytest.raises(MemoryError, match="find an engine"), out_of_memory_as_memory_error():
        lacks()
        raise NO_ENGINE
    with pytest.raises(RuntimeError, match="find an engine"), out_of_memory_as_memory_error():
        raise NO_ENGINE


def test_a_training_by_another_algorithm_is_no_result(lacks, monkeypatch):
    """Else its bits would depend on the number of workers on a GPU."""
    target, forward = make_target(), torch.nn.Conv2d.forward
    hidden = lambda self, x: lacks() or forward(self, x)  # noqa: E731
    monkeypatch.setattr(torch.nn.Conv2d, "forward", hidden)
    outcome = evaluate(target, Job(0, 0, 1, 0, 1, 1, CONFIG), 4, None, None)
    assert outcome["status"] == "out_of_memory" and "metrics" not in outcome


def test_the_layout_changes_how_it_is_computed_and_nothing_else(monkeypatch, after_three):
    """The layout of float32 on a GPU, here on the CPU: the same training except for rounding."""
    assert layout(torch.device("cuda"), "float32") == torch.contiguous_format
    assert layout(torch.device("cuda"), "tf32") == torch.channels_last
    monkeypatch.setattr("training.trainer.layout", lambda *_: torch.contiguous_format)
    seen = []
    forward = torch.nn.Conv2d.forward
    watched = lambda self, x: seen.append((self.weight, x)) or forward(self, x)  # noqa: E731
    monkeypatch.setattr(torch.nn.Conv2d, "forward", watched)
    result = make_target().evaluate(CONFIG, 3, 4)
    assert seen and all(one.is_contiguous() for pair in seen for one in pair)
    assert result["loss"] == pytest.approx(after_three["loss"], abs=0.05)


def test_all_gpus_of_the_first_kind_are_used_and_others_stay_idle(machine, caplog):
    other_size = CARD["memory_bytes"] - 4 * 10**6  # as of two cards of one model
    machine(a_gpu(0), a_gpu(1, name="Another GPU"), a_gpu(2, free=20, memory_bytes=other_size))
    assert gpus.devices("cpu") == [{"device": "cpu", "note": ""}]
    found = gpus.devices("auto")
    assert [one["variables"]["CUDA_VISIBLE_DEVICES"] for one in found] == ["0", "2"]
    assert {one["device"] for one in found} == {"cuda"}
    assert found[0]["slots"] == found[1]["slots"] == 9, "as the fuller one allows"
    assert gpus.devices("auto", images=2 * GIGABYTE)[0]["slots"] == 4
    assert "1 of 3 GPUs stay idle: Another GPU is not the same" in found[0]["note"]
    engine_devices.tell(found)
    assert caplog.text.count("stay idle") == 1, "and not for each GPU that is used"
    machine(a_gpu(0, why="old"), a_gpu(1))
    assert "1 of 2 GPUs stay idle: old" in gpus.devices("cuda")[0]["note"]
    machine()
    assert gpus.devices("auto") == [{"device": "cpu", "note": ""}]


def test_workers_share_a_gpus_memory_and_leave_what_cuda_itself_needs(machine):
    machine(a_gpu(0), a_gpu(1, free=30))
    found = gpus.devices("cuda")
    for workers, each in ((1, 1), (2, 1), (3, 2), (8, 4)):
        places = gpus.environments(found, workers)
        assert [place["CUDA_VISIBLE_DEVICES"] for place in places] == ["0", "1"]
        (share,) = {place[MEMORY_SHARE] for place in places}  # equal on all GPUs
        held = float(share) * found[1]["total"] + gpus.CONTEXT_BYTES
        assert 0.9 * found[1]["free"] < each * held <= found[1]["free"]


def test_too_many_workers_for_a_gpu_are_refused_with_what_is_allowed(machine):
    machine(a_gpu(free=3, memory_bytes=3 * GIGABYTE))
    found = gpus.devices("cuda")
    assert found[0]["slots"] == 1 and gpus.environments(found, 3)
    with pytest.raises(InputError, match=r"4 worker\(s\): Some GPU has 3.0 GB .* at most 3 a GPU"):
        gpus.environments(found, 4)
    machine(a_gpu(exclusive=True))  # its driver allows one process
    found = gpus.devices("cuda")
    assert found[0]["slots"] == 1 and gpus.environments(found, 1)
    with pytest.raises(InputError, match="exclusive mode.* use --workers 1 or auto"):
        gpus.environments(found, 2)


def said(out):
    return lambda *_, **__: SimpleNamespace(stdout=out)


@pytest.mark.filterwarnings("ignore:.*found in sys.modules")  # a second copy of the module runs
@pytest.mark.skipif(torch.cuda.device_count() > 0, reason="there is a GPU: tests/test_cuda.py")
def test_another_process_is_asked_and_what_goes_wrong_there_is_a_reason(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    def asked(words, cwd, **_):
        """Runs the same module here, since another process would import torch for seconds."""
        assert (Path(cwd) / f"{words[-1].replace('.', '/')}.py").is_file() and words[1] == "-m"
        runpy.run_module(words[-1], run_name="__main__")
        return SimpleNamespace(stdout=capsys.readouterr().out)

    def fails(*_, **__):
        raise subprocess.CalledProcessError(1, ["python"], stderr="Traceback\nImportError: no x")

    def hangs(*_, **__):
        raise subprocess.TimeoutExpired(["python"], 1)

    for answer, words in (
        (asked, "CUDA cannot start"),
        (fails, "ImportError: no x"),
        (hangs, "did not answer"),
        (said("nothing useful"), "cannot be used"),
    ):
        monkeypatch.setattr(gpus.subprocess, "run", answer)
        (found,) = gpus.devices("auto")
        assert found["device"] == "cpu" and words in found["note"]


def test_each_gpu_is_told_with_its_facts(monkeypatch, gpu_here, tmp_path):
    gpu_here((8, 0))
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    properties = SimpleNamespace(name="X", major=8, minor=6, multi_processor_count=7)
    properties.total_memory = 5
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (4, 5))
    monkeypatch.setattr(gpus.subprocess, "run", said("580.1, Default\n580.1, Default\n"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    first, second = json.loads(json.dumps(gpus._probe_gpus()))
    assert first["facts"].keys() == CARD.keys() and first["facts"]["driver"] == "580.1"
    assert first["facts"]["compute_capability"] == "8.6" and first["free"] == 4
    assert [one["variables"]["CUDA_VISIBLE_DEVICES"] for one in (first, second)] == ["0", "1"]
    assert first["why"] is None and not first["exclusive"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a, GPU-b")
    monkeypatch.setattr(gpus.subprocess, "run", said("580.1, Exclusive_Process\n"))
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path / "none"))
    first, second = gpus._probe_gpus()
    assert second["variables"]["CUDA_VISIBLE_DEVICES"] == "GPU-b" and first["exclusive"]
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    assert not gpus._probe_gpus()[0]["exclusive"], "the multi-process service shares it"


@pytest.fixture
def stub_gpus(machine, monkeypatch):
    """Simulates two GPUs for the driver of a search; its workers train on the CPU."""
    machine(a_gpu(0), a_gpu(1))
    reduce, sent = ImageTarget.__reduce__, []

    def for_workers(target):
        made, arguments = reduce(target)
        sent.append(made.keywords["device"])
        return functools.partial(made, device="cpu"), arguments

    monkeypatch.setattr(ImageTarget, "__reduce__", for_workers)
    return sent


def test_the_driver_of_a_search_never_touches_cuda(stub_gpus, tmp_path, folder):
    """Images, time estimate, journal and winner need no context on a GPU."""
    for touch in (lambda: torch.ones(1, device="cuda"), lambda: torch.ones(1).to("cuda")):
        with pytest.raises(AssertionError, match="CUDA was touched"):
            touch()
    assert search(tmp_path, "--dataset", folder, "--workers", "1", "--max_generations", 0) == 0
    assert not torch.cuda.is_initialized()
    assert stub_gpus == ["cuda"], "workers are told what auto is, and choose nothing"
    record = read(tmp_path / "tiny" / "run.json")
    assert record["device"] == "cuda" and record["gpu"] == CARD
    assert [line["status"] for line in lines_of(tmp_path / "tiny")] == ["ok", "ok"]
    said = (tmp_path / "tiny" / "log.txt").read_text()
    assert "estimated time" in said and "device: 2 x Some GPU" in said


def test_a_run_goes_on_with_the_same_kind_of_gpu_only(
    stub_gpus, machine, tmp_path, folder, capsys
):
    arguments = ["--dataset", folder, "--workers", "1", "--max_generations", 0, "--max_time", 0]
    assert search(tmp_path, *arguments) == 0
    again = ["--resume", "tiny", "--runs_dir", tmp_path]
    before = read(tmp_path / "tiny" / "run.json")
    machine(a_gpu(driver="590.2"))
    err = complaint(capsys, optimizer, again)
    assert "gpu driver was 580.1 in this run and is 590.2 now" in err and "--allow_inexact" in err
    machine(a_gpu(name="Other"))
    assert "gpu name was Some GPU in this run and is Other now" in complaint(
        capsys, optimizer, again
    )
    machine()
    assert "device was cuda in this run and is cpu now" in complaint(capsys, optimizer, again)
    assert read(tmp_path / "tiny" / "run.json") == before
    machine(a_gpu(1))
    assert call(optimizer, *again) == 0


def test_bfloat16_is_refused_where_cudnn_has_no_convolutions_in_it(machine):
    machine(a_gpu(compute_capability="7.5"))
    settings = resolve({"dtype": "bfloat16"})
    with pytest.raises(InputError, match="Some GPU .* 8.0; allowed are float32 and tf32"):
        engine_devices.resolve_devices(make_target(device="auto"), settings)
    for capability, dtype in (("7.5", "tf32"), ("8.6", "bfloat16"), ("10.0", "bfloat16")):
        machine(a_gpu(compute_capability=capability))
        assert engine_devices.resolve_devices(
            make_target(device="auto"), resolve({"dtype": dtype})
        )
    machine()  # a CPU has bfloat16
    assert engine_devices.resolve_devices(make_target(device="auto"), settings)


def test_gpus_that_do_not_do_are_told_and_leave_no_folder_behind(
    machine, tmp_path, folder, capsys
):
    runs, cuda = tmp_path / "runs", ["--dataset", folder, "--device", "cuda"]
    machine(a_gpu(why="Some GPU has compute capability 6.1"))
    check_complaint(capsys, runs, cuda, "--device cuda", "capability 6.1", "--device cpu or auto")
    assert search(tmp_path / "others", "--dataset", folder, "--max_time", 0) == 0
    assert "capability 6.1: training on the CPU" in capsys.readouterr().out
    assert read(tmp_path / "others" / "tiny" / "run.json")["device"] == "cpu"
    machine(a_gpu(free=1, memory_bytes=3 * GIGABYTE))
    check_complaint(capsys, runs, [*cuda, "--workers", "2"], "Some GPU has 1.0 GB", "--workers")


def test_workers_get_a_gpu_each_and_a_share_of_it(machine, monkeypatch):
    """In their environments, which are set before the target: see tests/test_children.py."""
    machine(a_gpu(0), a_gpu(1))
    given = []
    pool = contextlib.nullcontext()
    monkeypatch.setattr(engine_executor, "ProcessPool", lambda *all: given.append(all) or pool)
    with open_executor(make_target(device="auto"), resolve({"workers": "3"}), "run"):
        ((_, count, _, limit, places),) = given
    assert count == 3 and limit >= GPU_WORKER_BYTES
    assert [place["CUDA_VISIBLE_DEVICES"] for place in places] == ["0", "1"]
    (share,) = {place[MEMORY_SHARE] for place in places}
    assert 0.4 < float(share) < 0.5, "two workers on the first GPU"


def test_workers_may_always_hold_what_cuda_takes(monkeypatch):
    """For any number of workers: a worker that ends at its start would never train."""
    monkeypatch.setattr("engine.workers.executor.usable_memory", lambda: 16 * GIGABYTE)
    assert memory_limit(None, 8, on_gpus=True) == GPU_WORKER_BYTES
    assert memory_limit(None, 8, on_gpus=False) < 2 * GIGABYTE
    assert memory_limit(None, 2, on_gpus=True) > 7 * GIGABYTE
    assert memory_limit(5 * GIGABYTE, 8, on_gpus=True) == 5 * GIGABYTE
    assert memory_limit(GIGABYTE, 8, on_gpus=False) == GIGABYTE
    with pytest.raises(InputError, match="--max_memory_gb is 1, .* CUDA may take 4 GB .* or more"):
        memory_limit(GIGABYTE, 8, on_gpus=True)


@pytest.fixture
def workers_say(monkeypatch):
    """The answers of the workers of a cluster; the driver's machine has no GPU."""

    def give(**answers):
        asked = SimpleNamespace(devices_of=lambda address, target: answers)
        monkeypatch.setattr(engine_devices, "cluster", lambda: asked)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)

    return give


def entry(**changes):
    return [{"device": "cuda", "note": "", "slots": 3, **a_gpu(**changes)}]


def facts_of(target, settings):
    found = engine_devices.resolve_devices(target, settings)
    engine_devices.tell(found)
    return engine_devices.facts(found)


CLUSTER = {"scheduler": "tcp://somewhere:8786"}


def test_a_driver_without_a_gpu_uses_those_of_the_workers(workers_say):
    workers_say(a=entry(), b=entry())
    for name in ("auto", "cuda"):
        target = make_target(device=name)
        facts = facts_of(target, resolve({**CLUSTER, "device": name}))
        assert facts == {"device": "cuda", "gpu": CARD}
        assert target.device_name == "cuda", "no worker may train on its CPU now"


def test_workers_with_different_devices_are_refused_unless_that_is_allowed(workers_say, caplog):
    """Then each uses its own in any order of answers: no GPU stays idle, and no worker without
    one fails.
    """
    allowed = resolve({**CLUSTER, "allow_inexact": True})
    for first in ("gpu", "cpu"):
        answers = {"gpu": entry(), "cpu": [{"device": "cpu", "note": ""}]}
        workers_say(**{first: answers[first], **answers})
        with pytest.raises(InputError, match="--allow_inexact") as refused:
            facts_of(make_target(device="auto"), resolve(CLUSTER))
        assert "Some GPU" in str(refused.value) and "cpu at cpu" in str(refused.value)
        target = make_target(device="auto")
        assert facts_of(target, allowed) == {"device": "cuda", "gpu": CARD}
        assert target.device_name == "auto"
    assert "NOTE: the workers have different devices" in caplog.text
    workers_say(a=entry(), b=entry(name="Other"))
    facts_of(target, allowed)
    assert target.device_name == "cuda"
