"""Where networks are trained: the device, what results may depend on there, and its memory."""

import ctypes
import logging
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from utils import InputError

NO_GPU = "PyTorch sees no CUDA device here"
log = logging.getLogger("nas")
MEMORY_SHARE = "NAS_GPU_MEMORY_SHARE"  # variable of a worker: its share of its GPU's memory
LAST_WITH_OLD_GPUS = "cu126"  # the CUDA of PyTorch's wheels that still has kernels for old GPUs
FIRST_BY_DEFAULT = (7, 5)  # compute capability from which on the other wheels have kernels
# What CUDA and its libraries say where their own allocations fail; the rest is OutOfMemoryError.
OUT_OF_MEMORY = (
    *("can't allocate memory", "CUDA error: out of memory"),
    *("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"),
    *("CUBLAS_STATUS_NOT_INITIALIZED", "DEVICE_ALLOCATION_FAILED"),  # cublasCreate; cuDNN 9
)


def choose_device(name: str) -> torch.device:
    """'auto', 'cpu' or 'cuda' -> the device of the process that trains; starts CUDA if it can.

    'auto' is the CPU where a GPU is of no use, with a note. InputError for 'cuda' there.
    """
    _fix_workspaces()
    why = refusal() if name != "cpu" else None
    if name == "cpu" or (name == "auto" and why):
        if why and torch.cuda.device_count():
            log.warning("NOTE: %s: training on the CPU", why)
        return torch.device("cpu")
    if why:
        raise InputError(no_cuda(why))
    if share := os.environ.get(MEMORY_SHARE):
        torch.cuda.set_per_process_memory_fraction(float(share), 0)
    return torch.device("cuda")


def no_cuda(why: str) -> str:
    """A sentence for who asked for CUDA where there is none."""
    return f"--device cuda: {why}; use --device cpu or auto"


def refusal(number: int = 0) -> str | None:
    """Why a GPU cannot train here: found by a convolution on it. None if it can."""
    if torch.cuda.device_count() == 0:
        return NO_GPU
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of GPUs that are too old: the sentence says more
            _try(torch.device("cuda", number))
    except (RuntimeError, AssertionError) as error:  # AssertionError: PyTorch without CUDA
        if "no kernel image" in str(error):
            return _too_old(number, f"kernels for {' '.join(torch.cuda.get_arch_list())} only")
        if "find an engine" in str(error):  # cuDNN's libraries drop old GPUs before PyTorch does
            return _too_old(number, "no convolution for it, or no memory is left for one")
        return f"the GPU cannot be used ({str(error).splitlines()[0].rstrip('.')})"
    return None


def _try(device: torch.device) -> None:
    """Kernels of PyTorch, and a convolution of cuDNN forward and backward; waits for them."""
    both = torch.ones(2, 8, 8, 5, 5, device=device, requires_grad=True)  # images, and weights
    torch.nn.functional.conv2d(both[0], both[1], padding=2).sum().backward()
    both.grad.sum().item()  # type: ignore[union-attr]


def _too_old(number: int, lack: str) -> str:
    """Names a GPU for which PyTorch lacks kernels, and the wheel that may have them."""
    name = torch.cuda.get_device_name(number)
    capability = torch.cuda.get_device_capability(number)
    version = torch.__version__.partition("+")[0]
    words = f"{name} has compute capability {'.'.join(map(str, capability))}, and this PyTorch "
    words += f"({torch.__version__}) has {lack}"
    if capability >= FIRST_BY_DEFAULT:
        return words
    wheel = f"https://download.pytorch.org/whl/{LAST_WITH_OLD_GPUS}"
    return f"{words} (pip install torch=={version} --index-url {wheel} may have them)"


def layout(device: torch.device, dtype: str) -> torch.memory_format:
    """How activations and weights lie in memory.

    channels_last, but for float32 on a GPU: without tensor cores convolutions are slower that way
    (pytorch issue 44943: 2.76 s instead of 1.68 s). `benchmarks/gpu_check.py` measures both.
    """
    if device.type == "cuda" and dtype == "float32":
        return torch.contiguous_format
    return torch.channels_last


def prepare_torch(threads: int, dtype: str = "float32") -> None:
    """Fixes what results may depend on in this process: algorithms and number of CPU threads.

    And whether a GPU may round the factors of products to TF32 (`Trainer`): PyTorch has it do so
    in convolutions, unless told otherwise.
    """
    _fix_workspaces()
    torch.use_deterministic_algorithms(True)
    # That mode would also fill each new tensor with NaN; nothing here reads memory it did not set.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    # By the older names: mixed with the newer ones, PyTorch refuses to tell what holds.
    torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
    torch.backends.cudnn.allow_tf32 = dtype == "tf32"
    torch.set_num_threads(threads)
    _keep_freed_memory()


def _fix_workspaces() -> None:
    """Has cuBLAS repeat its bits: read once, when a process first uses it."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Within, denormal floats count as 0: some processors handle them a hundred times slower.

    The moments of dead units decay into them. Outside, the process must calculate as ever: the
    mode would also hold for the Python code that decides.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _keep_freed_memory() -> None:
    """Has glibc keep large freed blocks: else each activation is mapped and zeroed anew each step.

    On a wide network that takes more time than the arithmetic (docs/decisions/cpu.md). It
    changes no result.
    """
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD, bytes
        mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD, bytes


def release_memory() -> None:
    """Gives freed memory back: to the system (glibc), and from PyTorch's store to the GPU."""
    malloc_trim = _glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)
    if torch.cuda.is_initialized():  # only where this process trains on a GPU
        torch.cuda.empty_cache()


@contextmanager
def out_of_memory_as_memory_error() -> Iterator[None]:
    """PyTorch tells a lack of memory by errors of its own; MemoryError is what others know.

    Also a lack that PyTorch hides: where cuDNN's first algorithm has no room for its workspace it
    takes the next one, whose bits differ, and keeps that for the life of the process.
    """
    before = _out_of_memory_count()
    try:
        yield
    except RuntimeError as error:
        said = any(words in str(error) for words in OUT_OF_MEMORY)
        known = said or isinstance(error, torch.OutOfMemoryError)
        if not known and _out_of_memory_count() == before:
            raise
        raise MemoryError(str(error).splitlines()[0]) from None
    if _out_of_memory_count() > before:
        raise MemoryError("the GPU has no room for cuDNN's workspace, and another algorithm ran")


def _out_of_memory_count() -> int:
    """How often PyTorch's allocator had too little of the GPU in this process, told or not."""
    return torch.cuda.memory_stats(0).get("num_ooms", 0)  # empty before CUDA has started


def _glibc(name: str) -> Any:
    """A function of glibc; None where the system has another library."""
    return getattr(ctypes.CDLL(None), name, None)
