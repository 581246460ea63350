"""Which device trains, what is known of it, and that only who trains touches CUDA."""

import json
import os
import subprocess
from types import SimpleNamespace

import pytest
import torch

import optimizer
from engine.cli.settings import resolve
from engine.storage.resuming import differences
from engine.workers import devices as engine_devices
from engine.workers.executor import GPU_WORKER_BYTES, evaluate, memory_limit, open_executor
from search.trial import Job
from target import ImageTarget
from tests.command_line import check_complaint, complaint, read, save, search
from tests.trainings import CONFIG, make_target
from training import device, gpus
from training.device import MEMORY_SHARE, choose_device, layout, out_of_memory_as_memory_error
from utils import InputError

pytestmark = pytest.mark.usefixtures("no_flowers")
GIGABYTE = 10**9
CARD = {
    "name": "Some GPU",
    "compute_capability": "8.0",
    "multiprocessors": 108,
    "memory_bytes": 40 * GIGABYTE,
    "cuda": "13.0",
    "cudnn": 91002,
    "driver": "580.1",
}


def a_gpu(number=0, free=40, why=None, exclusive=False, **facts):
    """What the process that looks for GPUs says of one; free: GB."""
    card = {**CARD, **facts}
    known = {"why": why, "facts": card, "free": free * GIGABYTE, "total": card["memory_bytes"]}
    return {
        **known,
        "exclusive": exclusive,
        "variables": {"CUDA_VISIBLE_DEVICES": str(number)},
    }


@pytest.fixture
def machine(monkeypatch):
    """A machine with these GPUs, as far as asking goes; to touch CUDA in this process fails."""

    def touched():
        raise AssertionError("CUDA was touched")

    def give(*found):
        monkeypatch.setattr(torch.cuda, "device_count", lambda: len(found))
        monkeypatch.setattr(torch.cuda, "_lazy_init", touched)
        monkeypatch.setattr(torch.cuda, "is_available", touched)
        monkeypatch.setattr(gpus, "_ask", lambda: json.loads(json.dumps(found)))

    return give


# --------------------------------------------------------------- in the process that trains


def test_without_a_gpu_auto_is_the_cpu_and_cuda_is_refused(monkeypatch, caplog):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    with pytest.raises(InputError, match="--device cuda: PyTorch sees no .*use --device cpu or"):
        choose_device("cuda")
    assert choose_device("auto").type == choose_device("cpu").type == "cpu"
    assert not caplog.text


@pytest.fixture
def gpu_here(monkeypatch):
    """This process has a GPU of that capability, whose kernels raise that error."""

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


def test_a_gpu_on_which_a_kernel_runs_is_taken(gpu_here):
    gpu_here((6, 1))
    assert choose_device("auto").type == choose_device("cuda").type == "cuda"
    assert choose_device("cpu").type == "cpu"


def test_a_gpu_that_is_too_old_for_this_wheel_is_named_with_the_wheel_that_has_it(
    gpu_here, caplog
):
    gpu_here((6, 1), NO_KERNEL)
    with pytest.raises(InputError) as refused:
        choose_device("cuda")
    said = str(refused.value)
    for words in ("GeForce GTX 1060 3GB", "6.1", torch.__version__, "sm_75 sm_80", "whl/cu126"):
        assert words in said
    assert "\n" not in said and "use --device cpu or auto" in said
    assert choose_device("auto").type == "cpu"
    assert "NOTE: GeForce GTX 1060 3GB" in caplog.text and "training on the CPU" in caplog.text


def test_a_gpu_that_is_too_new_is_not_sent_to_an_old_wheel(gpu_here):
    gpu_here((13, 0), NO_KERNEL)
    with pytest.raises(InputError, match="13.0") as refused:
        choose_device("cuda")
    assert "whl" not in str(refused.value)


def test_a_gpu_for_which_cudnn_has_no_kernels_is_named(gpu_here):
    """Its wheel may still have PyTorch's own kernels."""
    gpu_here((6, 1), RuntimeError("GET was unable to find an engine to execute this computation"))
    with pytest.raises(InputError, match="GTX 1060.* 6.1, .* has no convolution for it.*cu126"):
        choose_device("cuda")


def test_a_gpu_is_tried_by_a_convolution_forward_and_backward(monkeypatch):
    seen, convolve = [], torch.nn.functional.conv2d

    def watched(images, weights, **options):
        for one in (images, weights):
            one.register_hook(seen.append)
        return convolve(images, weights, **options)

    monkeypatch.setattr(torch.nn.functional, "conv2d", watched)
    device._try(torch.device("cpu"))
    assert len(seen) == 2, "gradients of both"


def test_a_gpu_that_is_taken_by_others_is_refused_in_one_sentence(gpu_here):
    gpu_here((8, 0), RuntimeError("CUDA error: all devices are busy or unavailable\nCompile with"))
    with pytest.raises(InputError, match=r"busy or unavailable\); use --device cpu or auto$"):
        choose_device("cuda")


def test_a_worker_takes_its_gpu_before_its_first_training(gpu_here):
    """What fails there is told as such, and no trial fails."""
    gpu_here((8, 0), RuntimeError("CUDA error: all devices are busy or unavailable"))
    with pytest.raises(InputError, match="busy"):
        make_target(device="cuda").take_device()
    make_target(device="cpu").take_device()


def test_a_worker_takes_no_more_than_its_share(gpu_here, monkeypatch):
    gpu_here((8, 0))
    set_to = []
    share = "set_per_process_memory_fraction"
    monkeypatch.setattr(torch.cuda, share, lambda *given: set_to.append(given))
    choose_device("cuda")
    monkeypatch.setenv(MEMORY_SHARE, "0.125000")
    choose_device("cuda")
    assert set_to == [(0.125, 0)]


@pytest.mark.parametrize(
    "error",
    [
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore"),
        RuntimeError("CUDA error: out of memory\nCUDA kernel errors might be"),
        RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(h)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_ALLOC_FAILED"),
        RuntimeError("CUDA error: CUBLAS_STATUS_NOT_INITIALIZED when calling `cublasCreate(h)`"),
        RuntimeError("cuDNN error: CUDNN_STATUS_INTERNAL_ERROR_DEVICE_ALLOCATION_FAILED"),
        RuntimeError(
            "[enforce fail at alloc_cpu.cpp:75] DefaultCPUAllocator: can't allocate memory"
        ),
    ],
    ids=["allocator", "driver", "cublas", "cudnn", "cublas at start", "cudnn 9", "cpu"],
)
def test_whatever_says_that_memory_is_out_is_a_memory_error(error):
    with pytest.raises(MemoryError, match="^[^\n]*$"), out_of_memory_as_memory_error():
        raise error


@pytest.fixture
def lacks(monkeypatch):
    """CUDA runs here; `lacks()`: its allocator has too little for something, and raises that."""
    count = [3]  # of before
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
        raise RuntimeError("GET was unable to find an engine to execute this computation")
    with pytest.raises(RuntimeError, match="find an engine"), out_of_memory_as_memory_error():
        raise RuntimeError("GET was unable to find an engine to execute this computation")


def test_a_training_by_another_algorithm_is_no_result(lacks, monkeypatch):
    """Else its bits would depend on how many workers share a GPU."""
    target, forward = make_target(), torch.nn.Conv2d.forward
    hidden = lambda self, x: lacks() or forward(self, x)  # noqa: E731
    monkeypatch.setattr(torch.nn.Conv2d, "forward", hidden)
    outcome = evaluate(target, Job(0, 0, 1, 0, 1, 1, CONFIG), 4, None, None)
    assert outcome["status"] == "out_of_memory" and "metrics" not in outcome


def test_other_errors_stay_what_they_are():
    with pytest.raises(RuntimeError, match="device-side assert"), out_of_memory_as_memory_error():
        raise RuntimeError("CUDA error: device-side assert triggered")


@pytest.mark.parametrize(
    ("kind", "dtype", "expected"),
    [
        ("cpu", "float32", torch.channels_last),
        ("cpu", "bfloat16", torch.channels_last),
        ("cuda", "float32", torch.contiguous_format),
        ("cuda", "tf32", torch.channels_last),
        ("cuda", "bfloat16", torch.channels_last),
    ],
)
def test_float32_on_a_gpu_is_not_channels_last(kind, dtype, expected):
    assert layout(torch.device(kind), dtype) == expected


def test_the_layout_changes_how_it_is_computed_and_nothing_else(monkeypatch, after_three):
    """What a GPU does with float32, here on the CPU: the same training but for rounding."""
    monkeypatch.setattr("training.trainer.layout", lambda *_: torch.contiguous_format)
    seen = []
    forward = torch.nn.Conv2d.forward
    watched = lambda self, x: seen.append((self.weight, x)) or forward(self, x)  # noqa: E731
    monkeypatch.setattr(torch.nn.Conv2d, "forward", watched)
    result = make_target().evaluate(CONFIG, 3, 4)
    assert seen and all(one.is_contiguous() for pair in seen for one in pair)
    assert result["loss"] == pytest.approx(after_three["loss"], abs=0.05)


# --------------------------------------------------------------- which devices a machine has


def test_the_cpu_is_taken_without_a_look_at_gpus(machine):
    machine(a_gpu())
    assert gpus.devices("cpu") == [{"device": "cpu", "note": ""}]


def test_all_gpus_of_the_first_kind_are_used(machine):
    machine(a_gpu(0), a_gpu(1, name="Another GPU"), a_gpu(2, free=20))
    found = gpus.devices("auto")
    assert [one["variables"]["CUDA_VISIBLE_DEVICES"] for one in found] == ["0", "2"]
    assert {one["device"] for one in found} == {"cuda"}
    assert found[0]["room"] == found[1]["room"] == 9, "as the fuller one allows"
    assert "1 of 3 GPUs stay idle: Another GPU is not the same" in found[0]["note"]


def test_a_gpu_of_no_use_is_left_idle_or_the_cpu_trains(machine):
    machine(a_gpu(0, why="old"), a_gpu(1))
    assert "1 of 2 GPUs stay idle: old" in gpus.devices("cuda")[0]["note"]
    machine(a_gpu(0, why="old"))
    assert gpus.devices("auto") == [{"device": "cpu", "note": "old: training on the CPU"}]
    with pytest.raises(InputError, match="--device cuda: old; use --device cpu or auto"):
        gpus.devices("cuda")
    machine()
    assert gpus.devices("auto") == [{"device": "cpu", "note": ""}]


def test_where_the_driver_allows_one_process_there_is_one(machine):
    machine(a_gpu(exclusive=True))
    (gpu,) = gpus.devices("cuda")
    assert gpu["room"] == 1 and gpus.environments([gpu], 1)
    with pytest.raises(InputError, match="exclusive mode.* use --workers 1 or auto"):
        gpus.environments([gpu], 2)


def test_workers_share_a_gpus_memory_and_leave_what_cuda_itself_needs(machine):
    machine(a_gpu(0), a_gpu(1, free=30))
    found = gpus.devices("cuda")
    for workers, each in ((1, 1), (2, 1), (3, 2), (8, 4)):
        places = gpus.environments(found, workers)
        assert [place["CUDA_VISIBLE_DEVICES"] for place in places] == ["0", "1"]
        (share,) = {place[MEMORY_SHARE] for place in places}  # what fits does not depend on where
        held = float(share) * found[1]["total"] + gpus.CONTEXT_BYTES
        assert 0.9 * found[1]["free"] < each * held <= found[1]["free"]


def test_too_many_workers_for_a_gpu_are_refused_with_what_is_allowed(machine):
    machine(a_gpu(free=3, memory_bytes=3 * GIGABYTE))
    found = gpus.devices("cuda")
    assert found[0]["room"] == 1 and gpus.environments(found, 3)
    with pytest.raises(InputError, match=r"4 worker\(s\): Some GPU has 3.0 GB .* at most 3 a GPU"):
        gpus.environments(found, 4)


def said(out="", err="", code=0):
    return lambda *_, **__: SimpleNamespace(stdout=out, stderr=err, returncode=code)


def test_what_goes_wrong_in_the_asked_process_is_a_reason(monkeypatch):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)

    def fails(*_, **__):
        raise subprocess.CalledProcessError(1, ["python"], stderr="Traceback\nImportError: no x")

    monkeypatch.setattr(gpus.subprocess, "run", fails)
    assert "ImportError: no x" in gpus.devices("auto")[0]["note"]

    def hangs(*_, **__):
        raise subprocess.TimeoutExpired(["python"], 1)

    monkeypatch.setattr(gpus.subprocess, "run", hangs)
    assert "did not answer" in gpus.devices("auto")[0]["note"]
    monkeypatch.setattr(gpus.subprocess, "run", said("nothing useful"))
    assert gpus.devices("auto")[0]["device"] == "cpu"


@pytest.mark.skipif(torch.cuda.device_count() > 0, reason="there is a GPU: tests/test_cuda.py")
def test_the_asked_process_answers_here_too():
    (only,) = gpus._ask()
    assert "CUDA cannot start" in only["why"]


def test_each_gpu_is_told_with_its_facts(monkeypatch, gpu_here):
    gpu_here((8, 0))
    monkeypatch.setattr(torch.cuda, "init", lambda: None)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    properties = SimpleNamespace(name="X", major=8, minor=6, multi_processor_count=7)
    properties.total_memory = 5
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda number: properties)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda number: (4, 5))
    monkeypatch.setattr(gpus.subprocess, "run", said("580.1, Default\n580.1, Default\n"))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    first, second = json.loads(json.dumps(gpus._offered()))
    assert first["facts"].keys() == CARD.keys() and first["facts"]["driver"] == "580.1"
    assert first["facts"]["compute_capability"] == "8.6" and first["free"] == 4
    assert [one["variables"]["CUDA_VISIBLE_DEVICES"] for one in (first, second)] == ["0", "1"]
    assert first["why"] is None and not first["exclusive"]
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-a, GPU-b")
    monkeypatch.setattr(gpus.subprocess, "run", said("580.1, Exclusive_Process\n"))
    first, second = gpus._offered()
    assert second["variables"]["CUDA_VISIBLE_DEVICES"] == "GPU-b" and first["exclusive"]


# ------------------------------------------------------------------------------- in a search


def test_the_trap_of_these_tests_works(machine):
    machine(a_gpu())
    for touch in (lambda: torch.ones(1, device="cuda"), lambda: torch.ones(1).to("cuda")):
        with pytest.raises(AssertionError, match="CUDA was touched"):
            touch()


@pytest.fixture
def stub_gpus(machine, monkeypatch):
    """Two GPUs, as far as the driver of a search can tell; its workers train on the CPU."""
    machine(a_gpu(0), a_gpu(1))
    reduce, sent = ImageTarget.__reduce__, []

    def for_workers(target):
        make, (arguments, options) = reduce(target)
        sent.append(options["device"])
        return make, (arguments, {**options, "device": "cpu"})

    monkeypatch.setattr(ImageTarget, "__reduce__", for_workers)
    return sent


def test_the_driver_of_a_search_never_touches_cuda(stub_gpus, tmp_path, folder):
    """Images, estimate of the time, journal, winner: all of it without a context on a GPU."""
    assert search(tmp_path, "--dataset", folder, "--workers", "1", "--max_generations", 0) == 0
    assert not torch.cuda.is_initialized()
    assert stub_gpus == ["cuda"], "workers are told what auto is, and choose nothing"
    record = read(tmp_path / "tiny" / "run.json")
    assert record["device"] == "cuda" and record["gpu"] == CARD
    lines = (tmp_path / "tiny" / "trials.jsonl").read_text().splitlines()
    assert len(lines) == 2 and all(json.loads(line)["status"] == "ok" for line in lines)
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
    assert optimizer.main([str(word) for word in again]) == 0


def test_a_run_of_before_has_noted_no_gpu():
    now = {"device": "cuda", "gpu": CARD, "versions": {}}
    found = list(differences({"device": "cuda", "versions": {}}, now))
    assert ("gpu name", "not noted", "Some GPU") in found
    assert not list(differences({"device": "cpu"}, {"device": "cpu", "gpu": None}))


def test_cuda_where_there_is_no_usable_gpu_is_one_sentence(machine, tmp_path, folder, capsys):
    machine(a_gpu(why="Some GPU has compute capability 6.1"))
    words = "--device cuda", "capability 6.1", "--device cpu or auto"
    check_complaint(capsys, tmp_path / "runs", ["--dataset", folder, "--device", "cuda"], *words)


def test_bfloat16_is_refused_where_cudnn_has_no_convolutions_in_it(
    machine, tmp_path, folder, capsys
):
    machine(a_gpu(compute_capability="7.5"))
    arguments = ["--dataset", folder, "--dtype", "bfloat16"]
    check_complaint(capsys, tmp_path / "runs", arguments, "Some GPU", "8.0", "float32 and tf32")
    for capability, dtype in (("7.5", "tf32"), ("8.6", "bfloat16"), ("10.0", "bfloat16")):
        machine(a_gpu(compute_capability=capability))
        target = make_target(device="auto")
        assert engine_devices.settled(target, resolve({"dtype": dtype}))
    machine()  # a CPU has them
    assert engine_devices.settled(make_target(device="auto"), resolve({"dtype": "bfloat16"}))


def test_too_many_workers_leave_no_folder_behind(machine, tmp_path, folder, capsys):
    machine(a_gpu(free=1, memory_bytes=3 * GIGABYTE))
    arguments = ["--dataset", folder, "--device", "cuda", "--workers", "2"]
    check_complaint(capsys, tmp_path / "runs", arguments, "Some GPU has 1.0 GB", "--workers")


def test_a_gpu_of_no_use_is_noted_and_the_cpu_trains(machine, tmp_path, folder, capsys):
    machine(a_gpu(why="too old"))
    assert search(tmp_path, "--dataset", folder, "--max_time", 0) == 0
    assert "NOTE: too old: training on the CPU" in capsys.readouterr().out
    assert read(tmp_path / "tiny" / "run.json")["device"] == "cpu"


def test_workers_get_their_gpu_before_they_begin(stub_gpus):
    target = make_target(device="auto")
    target.__class__ = ImageTarget
    with open_executor(target, resolve({"workers": "3"}), "run") as pool:
        seen = [pool.submit(surroundings).result() for _ in range(8)]
    shares = {one["share"] for one in seen}
    assert {one["gpu"] for one in seen} <= {"0", "1"} and len(shares) == 1
    assert 0.4 < float(shares.pop()) < 0.5, "two workers on the first GPU"


def test_workers_may_always_hold_what_cuda_takes(monkeypatch):
    """However many are asked for: a worker that ends at its start would never train."""
    monkeypatch.setattr("engine.workers.executor.usable_memory", lambda: 16 * GIGABYTE)
    assert memory_limit(None, 8, on_gpus=True) == GPU_WORKER_BYTES
    assert memory_limit(None, 8, on_gpus=False) < 2 * GIGABYTE
    assert memory_limit(None, 2, on_gpus=True) > 7 * GIGABYTE
    assert memory_limit(5 * GIGABYTE, 8, on_gpus=True) == 5 * GIGABYTE
    assert memory_limit(GIGABYTE, 8, on_gpus=False) == GIGABYTE
    with pytest.raises(InputError, match="--max_memory_gb is 1, .* CUDA may take 4 GB .* or more"):
        memory_limit(GIGABYTE, 8, on_gpus=True)


def surroundings(target):
    """Runs in a worker."""
    seen = {"gpu": os.environ["CUDA_VISIBLE_DEVICES"], "share": os.environ[MEMORY_SHARE]}
    return {**seen, "status": "ok", "meta": {}}


# ------------------------------------------------------------------------------ on a cluster


@pytest.fixture
def workers_say(monkeypatch):
    """What the workers of a cluster answer; the machine of the driver has no GPU."""

    def give(**answers):
        asked = SimpleNamespace(ask=lambda address, question, target: answers)
        monkeypatch.setattr(engine_devices, "cluster", lambda: asked)
        monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)

    return give


def entry(**changes):
    return [{"device": "cuda", "note": "", "room": 3, **a_gpu(**changes)}]


def settled_facts(target, settings):
    found = engine_devices.settled(target, settings)
    engine_devices.tell(found)
    return engine_devices.facts(found)


CLUSTER = {"scheduler": "tcp://somewhere:8786"}


@pytest.mark.parametrize("name", ["auto", "cuda"])
def test_a_driver_without_a_gpu_uses_those_of_the_workers(workers_say, name):
    workers_say(a=entry(), b=entry())
    target = make_target(device=name)
    facts = settled_facts(target, resolve({**CLUSTER, "device": name}))
    assert facts == {"device": "cuda", "gpu": CARD}
    assert target.device_name == "cuda", "no worker may train on its CPU now"


def test_workers_with_different_devices_are_refused_by_name(workers_say, caplog):
    workers_say(a=entry(), b=[{"device": "cpu", "note": ""}])
    settings = resolve(CLUSTER)
    with pytest.raises(InputError, match="Some GPU.* at a; cpu at b.*--allow_inexact"):
        settled_facts(make_target(device="auto"), settings)
    settings = resolve({**CLUSTER, "allow_inexact": True})
    assert settled_facts(make_target(device="auto"), settings)["device"] == "cuda"
    assert "NOTE: the workers have different devices" in caplog.text


@pytest.mark.parametrize("first", ["gpu", "cpu"])
def test_where_devices_may_differ_each_worker_uses_its_own(workers_say, first):
    """Whoever answers first: neither may a GPU stay idle, nor a worker without one fail."""
    answers = {"gpu": entry(), "cpu": [{"device": "cpu", "note": ""}]}
    workers_say(**{first: answers[first], **answers})
    target = make_target(device="auto")
    facts = settled_facts(target, resolve({**CLUSTER, "allow_inexact": True}))
    assert facts == {"device": "cuda", "gpu": CARD} and target.device_name == "auto"
    workers_say(a=entry(), b=entry(name="Other"))
    settled_facts(target, resolve({**CLUSTER, "allow_inexact": True}))
    assert target.device_name == "cuda"


def test_an_old_preset_may_say_what_changed_nothing(tmp_path, capsys, folder):
    assert resolve({"compile": False}) == resolve({})
    preset = save(tmp_path / "old.json", {"compile": True})
    words = "compile True is gone", "leave it out"
    check_complaint(capsys, tmp_path / "runs", ["--config", preset, "--dataset", folder], *words)
