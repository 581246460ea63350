"""Small untrained networks, for tests of exports."""

import json

import numpy as np
import torch
from torch import nn

from deploy.graph import build_model
from tests.trainings import CONFIG, MODERN
from training.network import build_network
from training.trainer import Normalization, Normalize

# (configuration, image size, classes); together they have each kind of layer, branch and stride.
NETWORKS = {
    "published": ({**CONFIG, "use_BN": False}, 8, 5),
    "norm after ReLU": ({**CONFIG, "global_avg_pooling": True}, 9, 4),
    "flattened": (CONFIG, 11, 5),
    "plain": ({**MODERN, "block": "plain", "activation": "relu"}, 8, 3),
    "residual": ({**MODERN, "activation": "relu", "kernel_size": 5}, 12, 4),
    "residual, SiLU, stride": (MODERN, 72, 3),
    "odd side": ({**MODERN, "n_stages": 1}, 33, 2),
    "empty shortcut": ({**MODERN, "width_0": 3, "activation": "relu"}, 8, 3),
    "separable": ({**MODERN, "block": "separable", "n_stages": 3, "width_2": 7}, 16, 6),
}


def make_network(config, image_size, classes, seed=0):
    """A network in evaluation mode, with batch norm statistics other than the initial ones."""
    generator = torch.Generator().manual_seed(seed)
    made = build_network(
        config, image_size, classes, init_generator=generator, dropout_generator=generator
    )
    for norm in (module for module in made.modules() if isinstance(module, nn.BatchNorm2d)):
        for values, low, high in (
            (norm.running_mean, -1, 1),
            (norm.running_var, 0.5, 2),
            (norm.weight.data, 0.5, 2),
            (norm.bias.data, -1, 1),
        ):
            values.uniform_(low, high, generator=generator)
    normalization = Normalization([0.4, 0.5, 0.3], [0.2, 0.3, 0.25])
    return nn.Sequential(Normalize(normalization), *made).eval()


def make_model(config, size, classes, **facts):
    """(network, its ONNX model with the metadata that predict.py needs)."""
    from onnx import helper

    network = make_network(config, size, classes)
    weights = {name: tensor.numpy() for name, tensor in network.state_dict().items()}
    model = build_model(config, size, classes, weights)
    names = json.dumps([f"class {number}" for number in range(classes)])
    helper.set_model_props(model, {"classes": names, "image_size": str(size), **facts})
    return network, model


def noise(count, size, seed=0):
    """uint8 (count, size, size, 3)."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)
