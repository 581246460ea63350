"""The training device: its choice, what results may depend on there, and its memory."""

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
MEMORY_SHARE = "NAS_GPU_MEMORY_SHARE"  # environment variable: a worker's share of GPU memory
LAST_WITH_OLD_GPUS = "cu126"  # the last CUDA whose PyTorch wheels have kernels for old GPUs
FIRST_BY_DEFAULT = (7, 5)  # lowest compute capability with kernels in the other wheels
# Messages of failed allocations in CUDA and its libraries; the rest raises OutOfMemoryError.
OUT_OF_MEMORY = (
    *("can't allocate memory", "CUDA error: out of memory"),
    *("CUBLAS_STATUS_ALLOC_FAILED", "CUDNN_STATUS_ALLOC_FAILED"),
    *("CUBLAS_STATUS_NOT_INITIALIZED", "DEVICE_ALLOCATION_FAILED"),  # cublasCreate; cuDNN 9
)


def choose_device(name: str) -> torch.device:
    """'auto', 'cpu' or 'cuda' -> the device of this training process; starts CUDA if possible.

    Without a usable GPU, 'auto' is the CPU, with a note, and 'cuda' raises InputError.
    """
    _set_variables()
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
    """The error message for --device cuda without a usable GPU."""
    return f"--device cuda: {why}; use --device cpu or auto"


def refusal(number: int = 0) -> str | None:
    """Why a GPU cannot train, found by a convolution on it; None if it can."""
    if torch.cuda.device_count() == 0:
        return NO_GPU
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of old GPUs: the message below says more
            _try(torch.device("cuda", number))
    except (RuntimeError, AssertionError) as error:  # AssertionError: PyTorch without CUDA
        if "no kernel image" in str(error):
            return _too_old(number, f"kernels for {' '.join(torch.cuda.get_arch_list())} only")
        if "find an engine" in str(error):  # cuDNN's libraries drop old GPUs before PyTorch does
            return _too_old(number, "no convolution for it, or no memory is left for one")
        return f"the GPU cannot be used ({str(error).splitlines()[0].rstrip('.')})"
    return None


def _try(device: torch.device) -> None:
    """Runs PyTorch kernels and a cuDNN convolution, forward and backward; waits for them."""
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
    """The memory format of activations and weights.

    channels_last, except for float32 on a GPU, which uses no tensor cores and is slower in it
    (pytorch issue 44943: 2.76 s instead of 1.68 s). `benchmarks/gpu_check.py` measures both.
    """
    if device.type == "cuda" and dtype == "float32":
        return torch.contiguous_format
    return torch.channels_last


def prepare_torch(threads: int, dtype: str = "float32") -> None:
    """Fixes what results may depend on in this process: algorithms and number of CPU threads.

    It also fixes whether a GPU rounds the factors of products to TF32 (`Trainer`), which is
    PyTorch's default in convolutions.
    """
    _set_variables()
    torch.use_deterministic_algorithms(True)
    # That mode also fills new tensors with NaN; nothing here reads uninitialised memory.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    # The older names: if they are mixed with the newer ones, PyTorch cannot read the settings.
    torch.backends.cuda.matmul.allow_tf32 = dtype == "tf32"
    torch.backends.cudnn.allow_tf32 = dtype == "tf32"
    torch.set_num_threads(threads)
    _keep_freed_memory()


def _set_variables() -> None:
    """Makes cuBLAS deterministic, and limits cuDNN's cache of plans, which has one for each shape.

    Both read their variable once, at the first use in a process. By default the cache takes up to
    4 GB of host memory after some hundred networks (pytorch issue 104701).
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")
    os.environ.setdefault("TORCH_CUDNN_V8_API_LRU_CACHE_LIMIT", "500")


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Sets denormal floats to 0 inside: some processors handle them a hundred times slower.

    The moments of dead units decay into them. The mode is off outside, as it would also apply to
    the Python code of the search.
    """
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


def _keep_freed_memory() -> None:
    """Makes glibc keep large freed blocks: otherwise each step maps and zeroes activations again.

    On a wide network that takes more time than the arithmetic (docs/decisions/cpu.md). It
    changes no result.
    """
    mallopt = _glibc("mallopt")
    if mallopt is not None:
        mallopt(-3, 1 << 30)  # M_MMAP_THRESHOLD, bytes
        mallopt(-1, (1 << 31) - 1)  # M_TRIM_THRESHOLD, bytes


def release_memory() -> None:
    """Returns freed memory to the system (glibc), and PyTorch's cache to the GPU."""
    malloc_trim = _glibc("malloc_trim")
    if malloc_trim is not None:
        malloc_trim(0)
    if torch.cuda.is_initialized():  # only where this process trains on a GPU
        torch.cuda.empty_cache()


@contextmanager
def out_of_memory_as_memory_error() -> Iterator[None]:
    """Raises MemoryError for PyTorch's own out-of-memory errors.

    Also for one that PyTorch hides: if the workspace of cuDNN's first algorithm does not fit,
    PyTorch uses the next algorithm, whose bits differ, for the life of the process.
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
        raise MemoryError("the GPU is too full for cuDNN's workspace, and another algorithm ran")


def _out_of_memory_count() -> int:
    """The number of failed GPU allocations of PyTorch in this process, including hidden ones."""
    return torch.cuda.memory_stats(0).get("num_ooms", 0)  # empty before CUDA has started


def _glibc(name: str) -> Any:
    """A function of glibc; None where the system has another library."""
    return getattr(ctypes.CDLL(None), name, None)
