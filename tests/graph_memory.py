"""The memory that an ONNX graph needs on a device, read from the graph: an oracle for `cnn.py`.

It uses no list of layers: it counts the stored constants and the live activations.
"""

from typing import Any

import numpy as np

from cnn import KB
from deploy.graph import INPUT

# Nodes that change only the form of the values; on a device they are part of their neighbours.
ALIASES = ("QuantizeLinear", "DequantizeLinear", "Cast", "Transpose", "Flatten", "Reshape")
IN_PLACE = ("Relu", "Sigmoid", "Mul", "Add", "Softmax")


def flash_kb(model: Any) -> float:
    """Size of weights, biases and, in int8, the scales of weights, in units of 1024 bytes.

    Excludes constants that a device does not store: zero points, which are 0, the scales of
    biases, which are products of others, and one scale per activation.
    """
    from onnx import numpy_helper

    constants = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    stored = 0
    for node in model.graph.node:
        for name in node.input if node.op_type in ("Conv", "Gemm") else ():
            stored += constants[name].nbytes if name in constants else 0
        if node.op_type == "DequantizeLinear" and node.input[0] in constants:
            value, scale = (constants[name] for name in node.input[:2])
            stored += value.nbytes + (scale.nbytes if value.dtype == np.int8 else 0)
    return stored / KB


def ram_kb(model: Any) -> float:
    """Peak size of the live activations for one image, one byte each, in units of 1024 bytes.

    In the order of the nodes. An elementwise node overwrites an input that no later node reads.
    """
    graph = model.graph
    sizes, constants = _sizes(model), {one.name for one in graph.initializer}
    root: dict[str, str] = {}  # name -> the tensor that holds its values
    steps = []
    for node in graph.node:
        inputs = [root.get(name, name) for name in node.input if name not in constants]
        if node.op_type in ALIASES:
            root[node.output[0]] = inputs[0] if inputs else node.output[0]
            constants |= set() if inputs else {node.output[0]}
        else:
            steps.append((inputs, node.output[0], _works_in_place(node)))
    last = {name: i for i, (inputs, *_) in enumerate(steps) for name in inputs}
    alive, peak = {INPUT}, sizes[INPUT]
    for i, (inputs, output, in_place) in enumerate(steps):
        ended = {name for name in inputs if last[name] == i}
        reused = in_place and any(sizes[name] == sizes[output] for name in ended)
        now = sum(sizes[name] for name in alive) + (0 if reused else sizes[output])
        peak = max(peak, now)
        alive = (alive - ended) | {output}
    return peak / KB


def _works_in_place(node: Any) -> bool:
    """Whether each output value depends on a single position of the inputs."""
    if node.op_type in IN_PLACE:
        return True
    known = {one.name: one for one in node.attribute}
    if node.op_type != "Conv" or list(known["kernel_shape"].ints) != [1, 1]:
        return False
    return bool(known["group"].i > 1)


def _sizes(model: Any) -> dict[str, int]:
    """The number of values of each tensor of the graph, for one image."""
    from onnx import shape_inference

    graph = shape_inference.infer_shapes(model).graph
    return {
        value.name: int(
            np.prod([part.dim_value or 1 for part in value.type.tensor_type.shape.dim])
        )
        for value in (*graph.input, *graph.value_info, *graph.output)
    }
