"""The ONNX graph of a network, from its list of layers and its trained weights.

pixels uint8 (N, S, S, 3), RGB -> logits float32 (N, K), probabilities float32 (N, K), any N.
Normalisation is a depthwise convolution. Batch norm is folded into the convolution before it
(Jacob et al. 2018, section 3.2); without one it also becomes a depthwise convolution.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from cnn import Layer, layers

OPSET, IR_VERSION = 17, 8  # of 2022; current runtimes support them
NORM_EPSILON = 1e-5  # PyTorch's default
INPUT, LOGITS, PROBABILITIES = "pixels", "logits", "probabilities"
Weights = Mapping[str, np.ndarray]


class _Graph:
    """Nodes and constants in the order of computation."""

    def __init__(self) -> None:
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def add(self, kind: str, name: str, inputs: Iterable[str], **attributes: Any) -> str:
        """Adds a node; returns the name of its output, which equals the node's name."""
        from onnx import helper

        self.nodes.append(helper.make_node(kind, [*inputs], [name], name, **attributes))
        return name

    def constant(self, name: str, value: np.ndarray) -> str:
        """Adds weights in float32; returns their name."""
        from onnx import numpy_helper

        array = np.ascontiguousarray(value, dtype=np.float32)
        self.constants.append(numpy_helper.from_array(array, name))
        return name

    def affine(
        self, kind: str, x: str, name: str, weight: np.ndarray, bias: np.ndarray, **attributes: Any
    ) -> str:
        """Adds a convolution or a linear layer."""
        constants = [self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)]
        return self.add(kind, name, [x, *constants], **attributes)

    def scale_and_shift(self, x: str, name: str, scale: np.ndarray, shift: np.ndarray) -> str:
        """Adds scale * x + shift for each channel."""
        weight = scale.reshape(-1, 1, 1, 1)
        return self.affine("Conv", x, name, weight, shift, group=len(scale), kernel_shape=[1, 1])


def build_model(
    config: Mapping[str, Any], image_size: int, num_classes: int, weights: Weights
) -> Any:
    """The ModelProto. weights: the state of the PyTorch module, whose layer 0 normalises."""
    import onnx
    from onnx import TensorProto, helper

    graph = _Graph()
    std = np.float64(weights["0.std"]).ravel()
    x = graph.add("Cast", "float", [INPUT], to=TensorProto.FLOAT)
    x = graph.add("Transpose", "planes", [x], perm=[0, 3, 1, 2])
    mean = np.float64(weights["0.mean"]).ravel()
    x = graph.scale_and_shift(x, "normalise", 1 / (255 * std), -mean / std)
    x = _sequence(graph, layers(config, image_size, num_classes), x, weights, "", 1)
    graph.nodes[-1].output[0] = LOGITS
    graph.add("Softmax", PROBABILITIES, [LOGITS], axis=1)
    images: list[str | int | None] = ["N", image_size, image_size, 3]
    inputs = [helper.make_tensor_value_info(INPUT, TensorProto.UINT8, images)]
    outputs = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", num_classes])
        for name in (LOGITS, PROBABILITIES)
    ]
    made = helper.make_graph(graph.nodes, "network", inputs, outputs, graph.constants)
    opset = [helper.make_opsetid("", OPSET)]
    model = helper.make_model(made, opset_imports=opset, ir_version=IR_VERSION)
    onnx.checker.check_model(model, full_check=True)
    return model


def _sequence(
    graph: _Graph, found: tuple[Layer, ...], x: str, weights: Weights, prefix: str, first: int = 0
) -> str:
    """Adds layers, whose weights are named `prefix` + number; returns the name of the output."""
    for number, layer in enumerate(found):
        own = {
            name: np.asarray(weights[f"{prefix}{first + number}.{name}"], np.float64)
            for name in ("weight", "bias", "running_mean", "running_var")
            if f"{prefix}{first + number}.{name}" in weights
        }
        if layer.kind == "residual":
            branches = [
                _sequence(graph, branch, x, weights, f"{prefix}{first + number}.{part}.")
                for part, branch in zip(("branch", "shortcut"), layer.branches, strict=True)
            ]
            x = graph.add("Add", layer.name, branches)
        elif layer.kind == "batch_norm":
            scale = own["weight"] / np.sqrt(own["running_var"] + NORM_EPSILON)
            shift = own["bias"] - own["running_mean"] * scale
            if number and found[number - 1].kind == "conv":
                x = _fold(graph, scale, shift)
            else:
                x = graph.scale_and_shift(x, layer.name, scale, shift)
        elif layer.kind != "dropout":
            x = _layer(graph, layer, x, own)
    return x


def _fold(graph: _Graph, scale: np.ndarray, shift: np.ndarray) -> str:
    """Folds a scale and a shift of the output into the weights of the last node, a convolution."""
    from onnx import numpy_helper

    bias, weight = (numpy_helper.to_array(graph.constants.pop()) for _ in range(2))
    node = graph.nodes[-1]
    graph.constant(node.input[1], weight * scale[:, None, None, None])
    graph.constant(node.input[2], bias * scale + shift)
    return node.output[0]


def _layer(graph: _Graph, layer: Layer, x: str, own: Weights) -> str:
    """Adds one layer as PyTorch computes it (training/network.py)."""
    match layer.kind:
        case "conv":
            side, pad = layer.kernel, layer.kernel // 2
            shape = {"kernel_shape": [side] * 2, "pads": [pad] * 4, "strides": [layer.stride] * 2}
            bias = own.get("bias", np.zeros(layer.outputs))
            return graph.affine(
                "Conv", x, layer.name, own["weight"], bias, group=layer.groups, **shape
            )
        case "linear":
            return graph.affine("Gemm", x, layer.name, own["weight"], own["bias"], transB=1)
        case "relu":
            return graph.add("Relu", layer.name, [x])
        case "silu":
            gate = graph.add("Sigmoid", f"{layer.name}.gate", [x])
            return graph.add("Mul", layer.name, [x, gate])
        case "max_pool":
            return graph.add("MaxPool", layer.name, [x], kernel_shape=[2, 2], strides=[2, 2])
        case "avg_pool":
            window = [layer.kernel] * 2
            return graph.add(
                "AveragePool", layer.name, [x], kernel_shape=window, strides=window, ceil_mode=1
            )
        case "global_avg_pool":
            pooled = graph.add("GlobalAveragePool", layer.name, [x])
            return graph.add("Flatten", f"{layer.name}.flat", [pooled])
        case "flatten":  # height, width, channels: the order of the weights that follow
            turned = graph.add("Transpose", f"{layer.name}.turned", [x], perm=[0, 2, 3, 1])
            return graph.add("Flatten", layer.name, [turned])
    raise ValueError(f"no ONNX node for a layer of kind {layer.kind!r}")
