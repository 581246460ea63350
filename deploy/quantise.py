"""Int8 by ONNX Runtime's static quantisation: QDQ format, one scale per output channel."""

import logging
import tempfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from deploy.graph import INPUT

CALIBRATION = 1024  # training images at most, evenly spaced
BATCH = 64


def quantise(model: Any, pixels: np.ndarray) -> Any:
    """The model with int8 weights and activations, calibrated on training images.

    pixels: uint8 (N, S, S, 3). Weights have 7 bits: with 8, the sum of two products overflows
    16 bits on processors with AVX2 and without VNNI, with wrong results.
    """
    import onnx
    from onnxruntime import quantization

    chosen = pixels[np.unique(np.linspace(0, len(pixels) - 1, CALIBRATION).astype(int))]
    batches = ({INPUT: chosen[i : i + BATCH]} for i in range(0, len(chosen), BATCH))
    reader = SimpleNamespace(get_next=lambda: next(batches, None))
    silent = logging.root.manager.disable
    logging.disable(logging.WARNING)  # advice on preprocessing, unnecessary for this graph
    try:
        with tempfile.TemporaryDirectory() as folder:
            before, after = Path(folder) / "float.onnx", Path(folder) / "int8.onnx"
            onnx.save(model, before)
            quantization.quantize_static(
                before,
                after,
                reader,
                quant_format=quantization.QuantFormat.QDQ,
                activation_type=quantization.QuantType.QInt8,
                weight_type=quantization.QuantType.QInt8,
                per_channel=True,
                reduce_range=True,
                nodes_to_exclude=["probabilities"],
            )
            quantised = onnx.load(after)
    finally:
        logging.disable(silent)
    _order(quantised.graph)
    del quantised.graph.value_info[:]  # shapes, which readers infer
    onnx.checker.check_model(quantised)
    return quantised


def _order(graph: Any) -> None:
    """Orders nodes depth first, as in the float32 model: one branch ends before the next starts.

    The quantisation leaves them breadth first, with both branches in memory at once.
    """
    made_by = {node.output[0]: node for node in graph.node}
    ordered: dict[str, Any] = {}

    def visit(name: str) -> None:
        if name in made_by and name not in ordered:
            for needed in made_by[name].input:
                visit(needed)
            ordered[name] = made_by[name]

    for output in graph.output:
        visit(output.name)
    nodes = [*ordered.values()]
    del graph.node[:]
    graph.node.extend(nodes)
