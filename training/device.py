"""Where networks are trained: the device, what results may depend on there, and its memory."""

import ctypes
import os
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch

from utils import InputError


def choose_device(name: str) -> torch.device:
    """'auto', 'cpu' or 'cuda' -> the device; InputError for cuda where there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "--device cuda: PyTorch sees no CUDA device here; use --device cpu or auto"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def visible_gpus() -> list[dict[str, str]]:
    """For each GPU that this process sees, the variable by which another will see it alone."""
    named = os.environ.get("CUDA_VISIBLE_DEVICES")
    names = named.split(",") if named else [str(i) for i in range(torch.cuda.device_count())]
    return [{"CUDA_VISIBLE_DEVICES": name.strip()} for name in names]


def prepare_torch(threads: int, arithmetic: str = "float32") -> None:
    """Fixes what results may depend on in this process: algorithms and number of CPU threads.

    And whether a GPU may round the factors of products to TF32 (`Learner`): PyTorch has it do so
    in convolutions, unless told otherwise.
    """
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read by cuBLAS when CUDA starts
    torch.use_deterministic_algorithms(True)
    # That mode would also fill each new tensor with NaN; nothing here reads memory it did not set.
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]
    torch.backends.cudnn.benchmark = False
    # By the older names: mixed with the newer ones, PyTorch refuses to tell what holds.
    torch.backends.cuda.matmul.allow_tf32 = arithmetic == "tf32"
    torch.backends.cudnn.allow_tf32 = arithmetic == "tf32"
    torch.set_num_threads(threads)
    _keep_freed_memory()


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

    On a wide network that takes more time than the arithmetic (docs/decisions/speed.md). It
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
    if torch.cuda.is_available():
        torch.cuda.empty_cache()


@contextmanager
def out_of_memory_as_memory_error() -> Iterator[None]:
    """PyTorch tells a lack of memory by errors of its own; MemoryError is what others know."""
    try:
        yield
    except RuntimeError as error:
        short = isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
        if not short:
            raise
        raise MemoryError(str(error).splitlines()[0]) from None


def _glibc(name: str) -> Any:
    """A function of glibc; None where the system has another library."""
    return getattr(ctypes.CDLL(None), name, None)
