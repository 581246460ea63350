"""ONNX Runtime: the logits of images, and the latency of one image on this machine."""

import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from deploy.graph import INPUT, LOGITS
from engine.storage.environment import processor_name

BATCH = 256  # images
RUNS, WARM_UP = 200, 20  # of one image


def open_session(model: Any) -> Any:
    """A single-threaded CPU session for a ModelProto."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3  # errors
    return onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )


def logits_of(model: Any, pixels: np.ndarray) -> np.ndarray:
    """Logits in float32 (N, K); pixels: uint8 (N, S, S, 3)."""
    session = open_session(model)
    starts = range(0, len(pixels), BATCH)
    parts = [session.run([LOGITS], {INPUT: pixels[i : i + BATCH]})[0] for i in starts]
    return np.concatenate(parts)


def latency(model: Any, image: np.ndarray) -> dict[str, Any]:
    """Milliseconds for one image (1, S, S, 3): median and 95 % quantile of 200 runs; the machine.

    For display only.
    """
    import onnxruntime

    session = open_session(model)
    milliseconds = []
    for _ in range(WARM_UP + RUNS):
        started = time.perf_counter()
        session.run([LOGITS], {INPUT: image})
        milliseconds.append(1000 * (time.perf_counter() - started))
    median, high = np.quantile(milliseconds[WARM_UP:], [0.5, 0.95])
    return {
        "median_ms": float(median),
        "p95_ms": float(high),
        "runs": RUNS,
        "threads": 1,
        "on": f"{processor_name()}, onnxruntime {onnxruntime.__version__}",
    }


def in_words(measured: Mapping[str, Any]) -> str:
    """The result of `latency` in words."""
    return (
        f"median {measured['median_ms']:.3f} ms, 95 % within {measured['p95_ms']:.3f} ms "
        f"({measured['runs']} runs, one image, one thread; {measured['on']})"
    )
