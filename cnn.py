"""The network: configuration -> list of layers, its size and its cost.

`layers` describes a network as plain data, without torch. The number of parameters, the
multiply-adds, the memory on a device, the table for reports, the module (training/network.py) and
the exported graph (deploy/graph.py) derive from that list.

Two families, distinguished by the keys of a configuration:

published (configs/space.json)
    `conv -> ReLU -> [batch norm] -> max pool 2x2`, repeated; global average pooling or flatten;
    then `linear -> ReLU -> dropout`, repeated; then the classifier.
modern (configs/space_modern.json)
    one to four stages of one or two `conv -> batch norm -> activation`, plain, residual (He et al.
    2016) or depthwise-separable (Howard et al. 2017), each with a max pooling that halves the
    side; then global average pooling, dropout and the classifier.
"""

import functools
import itertools
import math
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

Config = Mapping[str, Any]
STEM_SIDE = 32  # pixels; the first modern convolution reduces larger images to at most this side
# Hyperparameters of the training; the rest define the network.
TRAINING = {"batch_size", "learning_rate_init", "weight_decay", "label_smoothing", "dropout_rate"}
TRAINING |= {"flip", "shift", "cutout", "color", "mixup"}
CHOICES = {"block": ("plain", "residual", "separable"), "activation": ("relu", "silu")}
REQUIRED = ("batch_size", "learning_rate_init", "dropout_rate")  # of these; the others may be off
KB = 1024  # bytes, as in the data sheets of microcontrollers


class Layer(NamedTuple):
    """One layer; its output is (outputs, side, side), or (outputs,) where side is 0.

    A residual layer adds the outputs of its two branches; the second one may be empty.
    """

    kind: str
    name: str
    inputs: int  # channels or features
    outputs: int
    side: int = 0  # of the output, in pixels
    kernel: int = 1
    stride: int = 1
    groups: int = 1
    bias: bool = True
    branches: tuple[tuple["Layer", ...], ...] = ()

    @property
    def output(self) -> list[int]:
        """The shape of one image's output."""
        return [self.outputs, self.side, self.side] if self.side else [self.outputs]

    @property
    def weights(self) -> int:
        """Parameters of a convolution or linear layer without biases; 0 for other layers."""
        if self.kind in ("conv", "linear"):
            return self.inputs // self.groups * self.outputs * self.kernel**2
        return 0

    @property
    def parameters(self) -> int:
        """Trainable parameters, without those of its branches."""
        if self.kind == "batch_norm":
            return 2 * self.outputs
        biases = self.outputs if self.bias and self.kind in ("conv", "linear") else 0
        return self.weights + biases

    @property
    def macs(self) -> int:
        """Multiply-adds of one image, without those of its branches."""
        return self.weights * (self.side**2 if self.kind == "conv" else 1)


def layers(config: Config, image_size: int = 16, num_classes: int = 17) -> tuple[Layer, ...]:
    """All layers in order; ValueError if the image is too small for that many poolings."""
    family = _modern if "n_stages" in config else _published
    return tuple(family(config, image_size, num_classes))


def _published(config: Config, image_size: int, num_classes: int) -> list[Layer]:
    """Convolutions keep the side (padding kernel // 2); each pooling halves it, rounded down."""
    found: list[Layer] = []
    channels, side, kernel = 3, image_size, config["kernel_size"]
    for i in range(config["n_conv_layers"]):
        if side < 2:
            raise ValueError(
                f"{config['n_conv_layers']} poolings need images of "
                f"{2 ** config['n_conv_layers']} pixels or more, not {image_size}"
            )
        outputs = config[f"n_channels_conv_{i}"]
        found.append(Layer("conv", f"conv_{i}", channels, outputs, side, kernel))
        found.append(Layer("relu", f"relu_{i}", outputs, outputs, side))
        if config["use_BN"]:
            found.append(Layer("batch_norm", f"batch_norm_{i}", outputs, outputs, side))
        channels, side = outputs, side // 2
        found.append(Layer("max_pool", f"max_pool_{i}", channels, channels, side))
    if config["global_avg_pooling"]:
        features = channels
        found.append(Layer("global_avg_pool", "global_avg_pool", channels, features))
    else:
        features = channels * side * side
        found.append(Layer("flatten", "flatten", channels, features))
    for i in range(config["n_fc_layers"]):
        width = config[f"n_channels_fc_{i}"]
        found.append(Layer("linear", f"fc_{i}", features, width))
        found.append(Layer("relu", f"fc_relu_{i}", width, width))
        found.append(Layer("dropout", f"dropout_{i}", width, width))
        features = width
    found.append(Layer("linear", "classifier", features, num_classes))
    return found


def _modern(config: Config, image_size: int, num_classes: int) -> list[Layer]:
    """Convolutions have padding kernel // 2 and no bias, as batch norm follows."""
    for name, known in CHOICES.items():
        if config[name] not in known:
            raise ValueError(f"{name} cannot be {config[name]!r}; allowed is {', '.join(known)}")
    channels, side = 3, image_size
    found: list[Layer] = []
    for i in range(config["n_stages"]):
        name, outputs, stride = f"stage_{i}", config[f"width_{i}"], 1
        if i == 0:
            stride = 2 ** max(0, math.ceil(math.log2(image_size / STEM_SIDE)))
        found += _stage(config, name, channels, outputs, side, stride)
        channels, side = outputs, -(-side // stride)
        if side > 1:
            side //= 2
            found.append(Layer("max_pool", f"{name}.max_pool", channels, channels, side))
    found.append(Layer("global_avg_pool", "global_avg_pool", channels, channels))
    found.append(Layer("dropout", "dropout", channels, channels))
    found.append(Layer("linear", "classifier", channels, num_classes))
    return found


def _stage(
    config: Config, name: str, inputs: int, outputs: int, side: int, stride: int
) -> list[Layer]:
    """The layers of a stage; its first convolution has the stride."""
    kernel, activation = config["kernel_size"], config["activation"]
    reduced, found = -(-side // stride), []
    for j in range(config["convs_per_stage"]):
        first = (inputs, side, stride) if j == 0 else (outputs, reduced, 1)
        found += _convolution(config, f"{name}.{j}", *first, outputs, kernel)
        found.append(Layer(activation, f"{name}.{j}.{activation}", outputs, outputs, reduced))
    if config["block"] == "residual":
        last = found.pop()
        at, shortcut = f"{name}.shortcut", []
        # He et al. 2019, section 4.2: pooling, not a strided convolution. In PyTorch 2.14.1 a 1x1
        # one with few channels in channels_last corrupts memory in its backward pass.
        if stride > 1:
            shortcut.append(Layer("avg_pool", f"{at}.pool", inputs, inputs, reduced, stride))
        if inputs != outputs:
            shortcut.append(Layer("conv", f"{at}.conv", inputs, outputs, reduced, bias=False))
            shortcut.append(Layer("batch_norm", f"{at}.batch_norm", outputs, outputs, reduced))
        branches = tuple(found), tuple(shortcut)
        total = Layer("residual", f"{name}.add", inputs, outputs, reduced, branches=branches)
        found = [total, last]
    return found


def _convolution(
    config: Config, name: str, inputs: int, side: int, stride: int, outputs: int, kernel: int
) -> list[Layer]:
    """A convolution with batch norm; if separable, depthwise and then pointwise."""
    reduced, kernel = -(-side // stride), max(kernel, stride + 1)  # skips no pixel
    norm = Layer("batch_norm", f"{name}.batch_norm", outputs, outputs, reduced)
    if config["block"] != "separable" or inputs == 3:  # too few channels to separate
        shape = (inputs, outputs, reduced, kernel, stride, 1, False)
        return [Layer("conv", f"{name}.conv", *shape), norm]
    activation, own = config["activation"], (inputs, inputs, reduced, kernel, stride, inputs)
    return [
        Layer("conv", f"{name}.depthwise", *own, False),
        Layer("batch_norm", f"{name}.depthwise.batch_norm", inputs, inputs, reduced),
        Layer(activation, f"{name}.depthwise.{activation}", inputs, inputs, reduced),
        Layer("conv", f"{name}.conv", inputs, outputs, reduced, bias=False),
        norm,
    ]


def flattened(found: Iterable[Layer]) -> Iterator[Layer]:
    """All layers, including those of branches, in the order of computation."""
    for layer in found:
        for branch in layer.branches:
            yield from flattened(branch)
        yield layer


def count_parameters(config: Config, image_size: int = 16, num_classes: int = 17) -> int:
    """Trainable parameters, exactly as in the built network (without running statistics)."""
    return _static(_network(config), image_size, num_classes)["num_params"]


def count_macs(config: Config, image_size: int = 16, num_classes: int = 17) -> int:
    """Multiply-adds of one image's forward pass: convolutions and linear layers, no biases."""
    return _static(_network(config), image_size, num_classes)["macs"]


def static_metrics(
    config: Config, image_size: int = 16, num_classes: int = 17
) -> dict[str, int | float]:
    """Metrics that need no training; the last three are in units of 1024 bytes.

    num_params, macs: as above.
    flash_kb: memory for the weights on a device in int8. A weight has 1 byte; each output channel
    has a bias (int32) and a scale (float32). Batch norm is folded into the convolution before it.
    flash_float_kb: the same in float32, without scales.
    ram_kb: peak memory of live activations for one image in int8 (Liberis et al. 2021): inputs
    and outputs of a layer, and what a later layer still reads.
    """
    return dict(_static(_network(config), image_size, num_classes))


def _network(config: Config) -> tuple[tuple[str, Any], ...]:
    return tuple((name, value) for name, value in config.items() if name not in TRAINING)


@functools.lru_cache(maxsize=4096)  # fitting to constraints repeats networks many times
def _static(
    network: tuple[tuple[str, Any], ...], image_size: int, num_classes: int
) -> dict[str, Any]:
    found = layers(dict(network), image_size, num_classes)
    every = list(flattened(found))
    products = [layer for layer in every if layer.kind in ("conv", "linear")]
    alone = [  # a batch norm that follows no convolution stays a separate layer
        layer.outputs
        for before, layer in itertools.pairwise(every)
        if layer.kind == "batch_norm" and before.kind != "conv"
    ]
    # The first three belong to the normalisation of the input.
    channels = 3 + sum(layer.outputs for layer in products) + sum(alone)
    weights = 3 + sum(layer.weights for layer in products) + sum(alone)
    return {
        "num_params": sum(layer.parameters for layer in every),
        "macs": sum(layer.macs for layer in every),
        "flash_kb": (weights + 8 * channels) / KB,
        "flash_float_kb": 4 * (weights + channels) / KB,
        "ram_kb": _peak(found, 3 * image_size**2)[0] / KB,
    }


def _peak(
    found: Iterable[Layer], size: int, others: int = 0, keep: bool = False
) -> tuple[int, int]:
    """(peak number of live values, output values) of layers with an input of `size` values.

    others: further values that stay alive. keep: the input stays alive, too. Norms, ReLU, addition
    and flattening overwrite their input; SiLU is x * sigmoid(x) and needs both factors.
    """
    most, held = size + others, 0
    for layer in found:
        outputs = layer.outputs * max(1, layer.side) ** 2
        if layer.kind == "residual":
            branch, shortcut = layer.branches
            one, result = _peak(branch, size, others, keep=True)
            other, _ = _peak(shortcut, size, others + result)
            most = max(most, one, other)
        elif layer.kind not in ("relu", "batch_norm", "dropout", "flatten"):
            most = max(most, others + held + size + outputs)
        if keep:  # after the first layer, the input counts as held
            held, keep = size, False
        size = outputs
    return most, size


def layer_table(
    config: Config, image_size: int = 16, num_classes: int = 17
) -> list[dict[str, Any]]:
    """Name, output of one image ([C, H, W] or [features]), parameters and multiply-adds of layers.

    Activations and dropout have no row: they keep the shape, without parameters or multiply-adds.
    The sums of the columns are `count_parameters` and `count_macs`.
    """
    hidden = ("relu", "silu", "dropout")
    return [
        {
            "name": layer.name,
            "output": layer.output,
            "parameters": layer.parameters,
            "macs": layer.macs,
        }
        for layer in flattened(layers(config, image_size, num_classes))
        if layer.kind not in hidden
    ]


def count_activations(
    config: Config, image_size: int = 16, num_classes: int = 17
) -> tuple[int, int]:
    """Floats per image: (all outputs, which a training step keeps; the largest output)."""
    found = list(flattened(layers(config, image_size, num_classes)))
    outputs = [layer.outputs * max(1, layer.side) ** 2 for layer in found]
    return 6 * image_size**2 + sum(outputs), max(outputs)
