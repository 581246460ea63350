"""A network in training: everything that continues it exactly, in memory and on disk."""

import contextlib
import ctypes
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save_file
from torch import nn

from cnn import build_network
from utils import InputError, derive_seed, replacing

OPTIMIZERS = {"adam": torch.optim.Adam, "adamw": torch.optim.AdamW}
SCORING_BATCH = 256  # images; fixed, so that scores never depend on a setting


def choose_device(name: str) -> torch.device:
    """'auto', 'cpu' or 'cuda' -> the device; InputError for cuda where there is none."""
    if name == "cuda" and not torch.cuda.is_available():
        raise InputError(
            "--device cuda: PyTorch sees no CUDA device here; use --device cpu or auto"
        )
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def training_options(settings: Any) -> dict[str, Any]:
    """What the settings say of how and where to train, as `target.cross_validation` takes it."""
    return {
        "optimizer": settings.optimizer,
        "device": choose_device(settings.device),
        "arithmetic": settings.arithmetic,
        "compiled": settings.compile,
        "threads": settings.threads,
        "per_batch": settings.precision == "per_batch",
    }


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
    torch.utils.deterministic.fill_uninitialized_memory = False
    torch.backends.cudnn.benchmark = False
    precision = "tf32" if arithmetic == "tf32" else "ieee"
    torch.backends.cuda.matmul.fp32_precision = precision
    torch.backends.cudnn.conv.fp32_precision = precision
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

    On a wide network that takes more time than the arithmetic (docs/LOG.md). Changes no result.
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


class Standardize(nn.Module):
    """(N, 3, S, S) in [0, 1] -> mean 0 and variance 1 per channel over the training images."""

    def __init__(self, mean: Sequence[float], std: Sequence[float]):
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(3, 1, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x - self.mean) / self.std


class Learner:
    """Weights, optimizer, generators and epochs done: they go on together or not at all.

    scale: mean and standard deviation per channel by which the network standardizes images.
    arithmetic: 'float32', 'tf32' (as float32 where there is no such GPU) or 'bfloat16' (layers
    that bear it; weights, moments and loss stay float32). compiled: the training step runs as code
    that torch.compile makes, on a GPU as CUDA graphs; needs a C++ compiler, or Triton for a GPU.
    """

    def __init__(
        self,
        config: Mapping[str, Any],
        *,
        image_size: int,
        num_classes: int,
        scale: tuple[Sequence[float], Sequence[float]],
        optimizer: str,
        device: torch.device,
        seed: int,
        arithmetic: str = "float32",
        compiled: bool = False,
    ):
        self.batch_size = int(config["batch_size"])
        self.device = device
        self.epochs = 0
        self.order = torch.Generator().manual_seed(derive_seed(seed, "order"))
        self.dropout = torch.Generator(device).manual_seed(derive_seed(seed, "dropout"))
        weights = torch.Generator().manual_seed(derive_seed(seed, "weights"))
        network = build_network(
            config, image_size, num_classes, init_generator=weights, dropout_generator=self.dropout
        )
        self.network = nn.Sequential(Standardize(*scale), *network).to(device)
        self.optimizer = OPTIMIZERS[optimizer](
            self.network.parameters(), lr=config["learning_rate_init"], fused=True
        )
        self.loss = nn.CrossEntropyLoss()
        self.bfloat16 = arithmetic == "bfloat16"
        self.forward: Callable[[torch.Tensor], torch.Tensor] = self.network
        if compiled:
            torch.compiler.reset()  # else code of networks before counts against a limit
            mode = "reduce-overhead" if device.type == "cuda" else "default"
            self.forward = torch.compile(self.network, dynamic=False, mode=mode)

    def _reduced(self) -> contextlib.AbstractContextManager[Any]:
        if self.bfloat16:
            return torch.autocast(self.device.type, torch.bfloat16)
        return contextlib.nullcontext()

    def train_epoch(self, images: torch.Tensor, labels: torch.Tensor) -> None:
        """A pass over images (N, S, S, 3) and labels (N,) in random order, the last batch smaller.

        Nothing here waits for the device.
        """
        self.network.train()
        order = torch.randperm(len(labels), generator=self.order)
        order = order.to(self.device, non_blocking=True)
        for batch in order.split(self.batch_size):
            with self._reduced():
                # The transposed view of what was indexed is channels_last without a copy.
                logits = self.forward(images[batch].permute(0, 3, 1, 2))
            self.optimizer.zero_grad(set_to_none=True)
            self.loss(logits.float(), labels[batch]).backward()
            self.optimizer.step()
        self.epochs += 1

    @torch.no_grad()
    def scores(self, images: torch.Tensor) -> np.ndarray:
        """Logits, float32 (N, K), of images (N, S, S, 3); draws and changes nothing."""
        self.network.eval()
        batches = images.permute(0, 3, 1, 2).split(SCORING_BATCH)
        with self._reduced():
            return torch.cat([self.network(batch) for batch in batches]).float().cpu().numpy()

    def state(self) -> dict[str, Any]:
        """All that continues the training exactly: tensors and plain types only."""
        return {
            "epochs": self.epochs,
            "network": self.network.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "order": self.order.get_state(),
            "dropout": self.dropout.get_state(),
        }

    def restore(self, state: Mapping[str, Any]) -> None:
        """Takes over what `state` gave, from the CPU or any device."""
        self.network.load_state_dict(state["network"])
        self.optimizer.load_state_dict(state["optimizer"])
        self.order.set_state(state["order"].cpu())
        self.dropout.set_state(state["dropout"].cpu())
        self.epochs = state["epochs"]


def read_state(path: str | Path | None, key: str, epochs: int) -> list[dict[str, Any]] | None:
    """The saved folds, or None if the file holds no usable state of the training `key`."""
    if path is None or not Path(path).exists():
        return None
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
        return saved["folds"] if saved["key"] == key and saved["epochs"] <= epochs else None
    except Exception:  # torch.load documents no closed list of what a damaged file can raise
        return None


def write_state(path: Path, state: dict[str, Any]) -> str | None:
    """Replaces the file whole or not at all; returns why it could not, if so.

    A state saves time only: without it, training begins anew, to the same result.
    """
    try:
        with replacing(path) as temporary:
            torch.save(state, temporary)
    except (OSError, RuntimeError) as error:  # torch reports a full disk as a RuntimeError
        return f"not saved: {str(error).splitlines()[0]}"
    return None


def save_weights(path: Path, network: nn.Module, facts: Mapping[str, str]) -> None:
    """Weights as safetensors, with `facts` (texts) as its metadata."""
    weights = {name: tensor.cpu().contiguous() for name, tensor in network.state_dict().items()}
    save_file(weights, path, metadata=dict(facts))
