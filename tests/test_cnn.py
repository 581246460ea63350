"""The network: its layers and first weights, and its size and cost in closed form."""

import json
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cnn import count_macs, count_parameters, flattened, layer_table, layers, static_metrics
from search.space import Space
from tests.networks import make_network
from tests.stubs import ROOT
from training.network import Dropout, Flatten, assemble

PUBLISHED = json.loads((ROOT / "benchmarks" / "published.json").read_text())["results"]
SHAPES = [(16, 17), (8, 2), (33, 10), (64, 102)]  # image size, classes
SMALL = {"n_conv_layers": 2, "n_channels_conv_0": 6, "n_channels_conv_1": 5, "kernel_size": 3}
SMALL |= {"use_BN": True, "global_avg_pooling": False, "n_fc_layers": 2, "n_channels_fc_0": 9}
SMALL |= {"n_channels_fc_1": 7, "dropout_rate": 0.25}


@pytest.fixture(scope="module", params=[16, pytest.param(300, marks=pytest.mark.slow)])
def configs(request):
    """Random configurations of both spaces, that many of each."""
    found = []
    for name, seed in (("space.json", 5), ("space_modern.json", 6)):
        space, rng = Space.load(ROOT / "configs" / name), np.random.default_rng(seed)
        found += [space.sample(rng) for _ in range(request.param)]
    return found


def parameters_of(network):
    return sum(tensor.numel() for tensor in network.parameters())


def test_size_cost_and_shapes_are_those_of_the_network(configs):
    """Layer by layer, and against what torch counts in a forward pass."""
    for i, config in enumerate(configs):
        shapes = [*SHAPES, (1, 3), (128, 5)] if "n_stages" in config else SHAPES
        told = config, *shapes[i % len(shapes)]
        _, size, classes = told
        network = assemble(*told).eval()
        x = torch.empty(2, 3, size, size, device="meta")
        with FlopCounterMode(display=False) as counter:
            for layer, module in zip(layers(*told), network, strict=True):
                x = module(x)
                assert list(x.shape[1:]) == layer.output, told
                parameters = sum(one.parameters for one in flattened([layer]))
                assert parameters == parameters_of(module), told
        assert x.shape == (2, classes)
        parameters, macs = count_parameters(*told), count_macs(*told)
        assert type(parameters) is int and parameters == parameters_of(network), told
        assert type(macs) is int and counter.get_total_flops() == 2 * 2 * macs, told
        rows = layer_table(*told)
        assert sum(row["parameters"] for row in rows) == parameters
        assert sum(row["macs"] for row in rows) == macs
        assert len({row["name"] for row in rows}) == len(rows)


def test_the_first_convolution_brings_large_images_below_33_pixels(configs):
    modern = next(config for config in configs if "n_stages" in config)
    for size, side in ((16, 16), (32, 32), (33, 17), (64, 32), (65, 17), (128, 32), (224, 28)):
        first = layers(modern, size, 3)[0]
        assert first.side == side
        for conv in (one for one in flattened([first]) if one.kernel > 1):
            assert conv.kernel > conv.stride, "each pixel counts"


def test_published_configurations_have_the_published_size():
    for entry in PUBLISHED:
        counted = count_parameters(entry["config"])
        assert counted == entry["published"]["num_params"], entry["name"]
    default = json.loads((ROOT / "configs" / "default.json").read_text())
    assert count_parameters(default) == 6360741 and 380e6 < count_macs(default) < 400e6
    assert {1012899, 12322877, 2251076, 1897658, 2021579, 871034, 3114836, 6256806, 6360741} == {
        entry["published"]["num_params"] for entry in PUBLISHED
    }


def test_a_huge_network_costs_nothing_to_count():
    config = {**SMALL, "n_channels_conv_0": 10**9, "n_channels_conv_1": 10**9}
    assert count_parameters(config) > 9 * 10**18 < count_macs(config)


def test_memory_of_a_plain_network_by_hand():
    """8 x 8 pixels; conv to 6 channels, batch norm, pooling to 4 x 4; 3 classes."""
    config = {"n_stages": 1, "width_0": 6, "block": "plain", "convs_per_stage": 1}
    config |= {"kernel_size": 3, "activation": "relu", "dropout_rate": 0.0}
    weights, channels = 3 + 3 * 6 * 9 + 6 * 3, 3 + 6 + 3  # normalisation, convolution, classifier
    known = static_metrics(config, 8, 3)
    assert known["flash_kb"] == (weights + 8 * channels) / 1024
    assert known["flash_float_kb"] == 4 * (weights + channels) / 1024
    assert known["ram_kb"] == (3 * 64 + 6 * 64) / 1024  # the image and the first output
    silu = static_metrics({**config, "activation": "silu"}, 8, 3)
    assert silu == {**known, "ram_kb": 2 * 6 * 64 / 1024}  # x and sigmoid(x)


@pytest.mark.parametrize(("image_size", "layers"), [(1, 1), (7, 3), (33, 6)])
def test_too_many_poolings(image_size, layers):
    config = {**SMALL, **{f"n_channels_conv_{i}": 4 for i in range(layers)}}
    config["n_conv_layers"] = layers
    for function in (count_parameters, assemble):
        with pytest.raises(ValueError, match=rf"{layers} poolings.*{2**layers}.*{image_size}"):
            function(config, image_size)
    config["n_conv_layers"] = layers - 1
    assert count_parameters(config, image_size) == parameters_of(assemble(config, image_size))


def test_layers_are_in_the_published_order():
    """Entries about inactive layers have no effect."""
    more = {**SMALL, "n_channels_conv_2": 99, "n_channels_fc_2": 99}
    assert [type(layer) for layer in assemble(more)] == [
        *(nn.Conv2d, nn.ReLU, nn.BatchNorm2d, nn.MaxPool2d) * 2,
        Flatten,
        *(nn.Linear, nn.ReLU, Dropout) * 2,
        nn.Linear,
    ]


def test_weights_are_uniform_within_the_bound_of_the_fan_in():
    config = {**SMALL, "n_channels_conv_0": 200, "n_channels_conv_1": 100, "n_channels_fc_0": 99}
    network = make_network(config, 16, 17)
    for layer in network.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            bound = 1 / math.sqrt(layer.weight[0].numel())
            for tensor in (layer.weight, layer.bias):
                count = tensor.numel()
                assert bound * (1 - 10 / count) < tensor.abs().max() <= bound
                assert abs(tensor.mean()) < 5 * bound / math.sqrt(3 * count)
                if count > 1000:
                    assert tensor.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.1)


def test_dropout_drops_its_share_anew_and_keeps_the_mean():
    for rate in (0.01, 0.5):
        layer = Dropout(rate, torch.Generator().manual_seed(4))
        first, second = layer(torch.ones(400, 500)), layer(torch.ones(400, 500))
        share = first.eq(0).float().mean().item()
        assert abs(share - rate) < 5 * math.sqrt(rate * (1 - rate) / 200_000)
        assert torch.allclose(first[first != 0], torch.tensor(1 / (1 - rate)))
        assert not torch.equal(first, second)
    assert len({tuple(row.tolist()) for row in first}) == 400
    assert len({tuple(column.tolist()) for column in first.T}) == 500


def test_dropout_depends_on_its_own_generator_only_and_rests_in_evaluation():
    before = torch.get_rng_state()
    layers = [Dropout(0.3, torch.Generator().manual_seed(seed)) for seed in (4, 4, 5)]
    x = torch.ones(50, 50)
    first = layers[0](x)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(layers[0].eval()(x), x)
    assert torch.equal(layers[1](x), first) and not torch.equal(layers[2](x), first)
    assert torch.equal(layers[0].train()(x), layers[1](x))  # evaluation used no random numbers
