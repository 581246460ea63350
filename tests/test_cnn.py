"""The network: its layers and first weights, and its size and cost in closed form."""

import json
import math
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from cnn import count_macs, count_parameters, layer_table, layers, static_metrics
from search.space import Space
from training.network import Dropout, Flatten, GlobalAveragePool, assemble, build_network

ROOT = Path(__file__).resolve().parent.parent
PUBLISHED = json.loads((ROOT / "benchmarks" / "published.json").read_text())["results"]
SHAPES = [(16, 17), (8, 2), (33, 10), (64, 102)]  # image size, classes
SMALL = {"n_conv_layers": 2, "n_channels_conv_0": 6, "n_channels_conv_1": 5, "kernel_size": 3}
SMALL |= {"use_BN": True, "global_avg_pooling": False, "n_fc_layers": 2, "n_channels_fc_0": 9}
SMALL |= {"n_channels_fc_1": 7, "dropout_rate": 0.25}


@pytest.fixture(scope="module", params=[60, pytest.param(1000, marks=pytest.mark.slow)])
def count(request):
    """How many random configurations of each space."""
    return request.param


@pytest.fixture(scope="module")
def configs(count):
    space, rng = Space.load(ROOT / "configs" / "space.json"), np.random.default_rng(5)
    return [space.sample(rng) for _ in range(count)]


@pytest.fixture(scope="module")
def modern(count):
    space = Space.load(ROOT / "configs" / "space_modern.json")
    rng = np.random.default_rng(6)
    return [space.sample(rng) for _ in range(count)]


def generators(first=1, second=2):
    return {
        "init_generator": torch.Generator().manual_seed(first),
        "dropout_generator": torch.Generator().manual_seed(second),
    }


def parameters_of(network):
    return sum(tensor.numel() for tensor in network.parameters())


def kinds(network):
    return [type(layer) for layer in network]


# --------------------------------------------------------------------------------- size and cost


def test_samples_cover_the_space(configs):
    for name, values in {"n_conv_layers": {1, 2, 3}, "n_fc_layers": {1, 2, 3}}.items():
        assert {config[name] for config in configs} == values
    for name in ("use_BN", "global_avg_pooling"):
        assert {config[name] for config in configs} == {True, False}
    assert {config["kernel_size"] for config in configs} == {3, 5, 7}


def test_parameters_equal_those_of_the_network(configs, modern):
    for i, config in enumerate([*configs, *modern]):
        for image_size, classes in {SHAPES[0], SHAPES[i % len(SHAPES)]}:
            network = assemble(config, image_size, classes)
            counted = count_parameters(config, image_size, classes)
            assert counted == parameters_of(network), (config, image_size, classes)
            assert type(counted) is int


def test_defaults_are_sixteen_pixels_and_seventeen_classes(configs):
    for config in configs[:50]:
        assert count_parameters(config) == count_parameters(config, 16, 17)
        assert count_macs(config) == count_macs(config, 16, 17)
        assert parameters_of(assemble(config)) == count_parameters(config)


def test_multiply_adds_equal_those_that_torch_counts(configs, modern):
    for i, config in enumerate([*configs[:500], *modern[:500]]):
        image_size, classes = SHAPES[i % len(SHAPES)]
        network = assemble(config, image_size, classes).eval()
        with FlopCounterMode(display=False) as counter:
            network(torch.empty(1, 3, image_size, image_size, device="meta"))
        macs = count_macs(config, image_size, classes)
        assert counter.get_total_flops() == 2 * macs, (config, image_size, classes)
        assert type(macs) is int


def test_the_layer_table_adds_up(configs, modern):
    for config in [*configs, *modern[:500]]:
        for sizes in SHAPES:
            rows = layer_table(config, *sizes)
            assert sum(row["parameters"] for row in rows) == count_parameters(config, *sizes)
            assert sum(row["macs"] for row in rows) == count_macs(config, *sizes)
            assert len({row["name"] for row in rows}) == len(rows)


def test_the_layer_table_has_the_shapes_and_parameters_of_the_network(configs):
    for i, config in enumerate(configs[:60]):
        size, classes = SHAPES[i % len(SHAPES)]
        network, outputs = assemble(config, size, classes), {}
        layers = [layer for layer in network if not isinstance(layer, nn.ReLU | Dropout)]
        for layer in layers:
            layer.register_forward_hook(
                lambda layer, _, output, seen=outputs: seen.update({layer: output.shape[1:]})
            )
        network(torch.empty(2, 3, size, size, device="meta"))
        found = [(list(outputs[layer]), parameters_of(layer)) for layer in layers]
        rows = layer_table(config, size, classes)
        assert [(row["output"], row["parameters"]) for row in rows] == found


def test_the_description_has_the_shape_of_each_output_of_the_network(modern):
    shapes = [*SHAPES, (1, 3), (128, 5)]
    for i, config in enumerate(modern[:200]):
        size, classes = shapes[i % len(shapes)]
        network = assemble(config, size, classes)
        x = torch.empty(2, 3, size, size, device="meta")
        for layer, module in zip(layers(config, size, classes), network, strict=True):
            x = module(x)
            assert list(x.shape[1:]) == layer.output


def test_every_configuration_fits_every_image(modern):
    for config in modern[:200]:
        for size in (1, 2, 5, 16, 31, 33, 128):
            assert count_macs(config, size, 3) > 0


def test_large_images_come_below_33_pixels_at_once(modern):
    for size, side in ((16, 16), (32, 32), (33, 17), (64, 32), (65, 17), (128, 32)):
        assert layers(modern[0], size, 3)[0].side == side


def test_the_layer_table_of_a_small_network():
    names = ["conv_0", "batch_norm_0", "max_pool_0", "conv_1", "batch_norm_1", "max_pool_1"]
    rows = layer_table(SMALL, 8, 3)
    assert [row["name"] for row in rows] == [*names, "flatten", "fc_0", "fc_1", "classifier"]
    first = {"name": "conv_0", "output": [6, 8, 8], "parameters": 168, "macs": 10368}
    assert rows[0] == first and json.loads(json.dumps(rows)) == rows


def test_the_network_gives_one_logit_a_class(configs, modern):
    for i, config in enumerate([*configs[:60], *modern[:60]]):
        image_size, classes = SHAPES[i % len(SHAPES)]
        images = torch.empty(4, 3, image_size, image_size, device="meta")
        assert assemble(config, image_size, classes)(images).shape == (4, classes)


@pytest.mark.parametrize("entry", PUBLISHED, ids=[entry["name"] for entry in PUBLISHED])
def test_published_configurations_have_the_published_size(entry):
    assert count_parameters(entry["config"]) == entry["published"]["num_params"]


def test_all_published_rows_are_there():
    assert len(PUBLISHED) >= 9
    assert {1012899, 12322877, 2251076, 1897658, 2021579, 871034, 3114836, 6256806, 6360741} == {
        entry["published"]["num_params"] for entry in PUBLISHED
    }


def test_the_default_network():
    config = json.loads((ROOT / "configs" / "default.json").read_text())
    assert count_parameters(config) == 6360741
    assert 380e6 < count_macs(config) < 400e6


def test_the_closed_form_is_much_faster_than_the_network(configs):
    def seconds(count, repeats):
        started = time.perf_counter()
        for config in configs[:repeats]:
            count(config)
        return (time.perf_counter() - started) / repeats

    building = min(seconds(assemble, 20) for _ in range(3))
    for count in (count_parameters, count_macs):
        assert 10 * min(seconds(count, 200) for _ in range(3)) < building


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
    assert known["ram_kb"] == (3 * 64 + 6 * 64) / 1024  # the image and the first result
    silu = static_metrics({**config, "activation": "silu"}, 8, 3)
    assert silu == {**known, "ram_kb": 2 * 6 * 64 / 1024}  # x and sigmoid(x)


def test_memory_of_a_residual_network_by_hand():
    """The input of a residual stage lives beside its branch; batch norm after ReLU counts."""
    config = {"n_stages": 1, "width_0": 6, "block": "residual", "convs_per_stage": 2}
    config |= {"kernel_size": 3, "activation": "relu", "dropout_rate": 0.0}
    assert static_metrics(config, 8, 3)["ram_kb"] == (3 * 64 + 2 * 6 * 64) / 1024
    published = {**SMALL, "use_BN": True}
    more = (
        static_metrics(published)["flash_kb"]
        - static_metrics({**SMALL, "use_BN": False})["flash_kb"]
    )
    norms = sum(SMALL[f"n_channels_conv_{i}"] for i in range(SMALL["n_conv_layers"]))
    assert more == norms * (1 + 8) / 1024


@pytest.mark.parametrize(
    ("image_size", "layers"), [(8, 4), (1, 1), (3, 2), (7, 3), (16, 5), (33, 6)]
)
def test_too_many_poolings(image_size, layers):
    config = {**SMALL, **{f"n_channels_conv_{i}": 4 for i in range(layers)}}
    config["n_conv_layers"] = layers
    for function in (count_parameters, count_macs, assemble):
        with pytest.raises(ValueError, match=rf"{layers} poolings.*{2**layers}.*{image_size}"):
            function(config, image_size)
    config["n_conv_layers"] = layers - 1
    assert count_parameters(config, image_size) == parameters_of(assemble(config, image_size))


# ---------------------------------------------------------------------------------------- layers


def test_order_of_layers_with_batch_norm():
    assert kinds(assemble(SMALL)) == [
        *(nn.Conv2d, nn.ReLU, nn.BatchNorm2d, nn.MaxPool2d) * 2,
        Flatten,
        *(nn.Linear, nn.ReLU, Dropout) * 2,
        nn.Linear,
    ]


def test_order_of_layers_without_batch_norm():
    config = {**SMALL, "use_BN": False, "global_avg_pooling": True, "n_fc_layers": 1}
    assert kinds(assemble(config)) == [
        *(nn.Conv2d, nn.ReLU, nn.MaxPool2d) * 2,
        GlobalAveragePool,
        *(nn.Linear, nn.ReLU, Dropout),
        nn.Linear,
    ]


def test_inactive_layers_are_ignored():
    more = {**SMALL, "n_channels_conv_2": 99, "n_channels_fc_2": 99}
    assert count_parameters(more) == count_parameters(SMALL)
    assert str(assemble(more)) == str(assemble(SMALL))


def test_assembling_makes_no_values_and_draws_nothing():
    before = torch.get_rng_state()
    assert all(tensor.is_meta for tensor in assemble(SMALL).parameters())
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.empty(1).device.type == "cpu"  # the meta device did not stay the default


def test_the_forward_pass_is_that_of_plain_functions():
    network = build_network(SMALL, 16, 17, **generators()).eval()
    x = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    expected, parts = x, list(network)
    for conv, norm in ((parts[0], parts[2]), (parts[4], parts[6])):
        expected = nn.functional.conv2d(expected, conv.weight, conv.bias, padding=1).relu()
        expected = (expected - norm.running_mean[:, None, None]) / (
            norm.running_var[:, None, None] + norm.eps
        ).sqrt() * norm.weight[:, None, None] + norm.bias[:, None, None]
        expected = expected.unfold(2, 2, 2).unfold(3, 2, 2).amax(dim=(4, 5))
    expected = expected.permute(0, 2, 3, 1).flatten(1)
    for linear in (parts[9], parts[12]):
        expected = (expected @ linear.weight.T + linear.bias).relu()
    expected = expected @ parts[15].weight.T + parts[15].bias
    assert torch.allclose(network(x), expected, atol=1e-5)


def test_global_average_pooling_is_the_mean():
    x = torch.rand(2, 5, 3, 7, generator=torch.Generator().manual_seed(3))
    assert torch.allclose(GlobalAveragePool()(x), nn.AdaptiveAvgPool2d(1)(x).flatten(1))


def test_convolutions_keep_the_side():
    for kernel in (3, 5, 7):
        network = assemble({**SMALL, "kernel_size": kernel})
        assert network[0](torch.empty(1, 3, 16, 16, device="meta")).shape == (1, 6, 16, 16)


# ------------------------------------------------------------------------------- initial weights


def weights_of(config=SMALL, **seeds):
    network = build_network(config, 16, 17, **generators(**seeds))
    return {name: tensor.clone() for name, tensor in network.state_dict().items()}


def test_the_same_generator_gives_the_same_weights():
    first, second, other = weights_of(), weights_of(), weights_of(first=9)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    drawn = [name for name, module in named_layers(SMALL)]
    assert not any(torch.equal(first[f"{n}.weight"], other[f"{n}.weight"]) for n in drawn)
    assert not any(torch.equal(first[f"{n}.bias"], other[f"{n}.bias"]) for n in drawn)


def named_layers(config):
    return [
        (name, module)
        for name, module in assemble(config).named_modules()
        if isinstance(module, nn.Conv2d | nn.Linear)
    ]


def test_weights_do_not_depend_on_dropout_or_the_global_stream():
    first = weights_of(second=2)
    torch.manual_seed(77)
    second = weights_of(second=3)
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_building_leaves_the_global_stream_alone():
    before, arrays = torch.get_rng_state(), np.random.get_state()[1].copy()
    build_network(SMALL, 16, 17, **generators())
    assert torch.equal(torch.get_rng_state(), before)
    assert np.array_equal(np.random.get_state()[1], arrays)


def test_weights_are_distributed_like_torch_itself_draws_them():
    config = {**SMALL, "n_channels_conv_0": 200, "n_channels_conv_1": 100, "n_channels_fc_0": 99}
    network = build_network(config, 16, 17, **generators())
    torch.manual_seed(0)
    for ours in network.modules():
        if isinstance(ours, nn.Conv2d):
            theirs = nn.Conv2d(ours.in_channels, ours.out_channels, ours.kernel_size)
        elif isinstance(ours, nn.Linear):
            theirs = nn.Linear(ours.in_features, ours.out_features)
        else:
            continue
        bound = 1 / math.sqrt(theirs.weight[0].numel())
        assert theirs.weight.abs().max() <= bound * 1.001  # what torch does, were it to change
        for tensor, reference in ((ours.weight, theirs.weight), (ours.bias, theirs.bias)):
            count = tensor.numel()
            assert tensor.abs().max() <= bound
            assert tensor.abs().max() > bound * (1 - 10 / count)
            assert abs(tensor.mean()) < 5 * bound / math.sqrt(3 * count)
            if count > 1000:
                assert tensor.std().item() == pytest.approx(reference.std().item(), rel=0.1)


def test_batch_norm_begins_as_identity():
    norm = build_network(SMALL, 16, 17, **generators())[2]
    assert norm.weight.eq(1).all() and norm.bias.eq(0).all()
    assert norm.running_mean.eq(0).all() and norm.running_var.eq(1).all()
    assert norm.num_batches_tracked == 0


def test_the_built_network_is_real_trainable_and_channels_last():
    network = build_network(SMALL, 16, 17, **generators())
    assert network.training and all(module.training for module in network.modules())
    for tensor in network.parameters():
        assert tensor.device.type == "cpu" and tensor.dtype == torch.float32
        assert tensor.requires_grad and tensor.isfinite().all()
    for layer in (network[0], network[4]):
        assert layer.weight.is_contiguous(memory_format=torch.channels_last)
        assert not layer.weight.is_contiguous()
    x = torch.rand(2, 3, 16, 16).to(memory_format=torch.channels_last)
    assert network[0](x).is_contiguous(memory_format=torch.channels_last)


# --------------------------------------------------------------------------------------- dropout


@pytest.mark.parametrize("rate", [0.01, 0.2, 0.5])
def test_dropout_drops_that_share_and_keeps_the_mean(rate):
    layer = Dropout(rate, torch.Generator().manual_seed(4))
    dropped = layer(torch.ones(400, 500))
    share = dropped.eq(0).float().mean().item()
    assert abs(share - rate) < 5 * math.sqrt(rate * (1 - rate) / 200_000)
    kept = dropped[dropped != 0]
    assert torch.allclose(kept, torch.tensor(1 / (1 - rate)))
    assert dropped.mean().item() == pytest.approx(1, abs=0.02)


def test_dropout_draws_anew_for_each_batch_row_and_unit():
    layer = Dropout(0.5, torch.Generator().manual_seed(4))
    first, second = layer(torch.ones(64, 64)), layer(torch.ones(64, 64))
    assert not torch.equal(first, second)
    assert len({tuple(row.tolist()) for row in first}) == 64
    assert len({tuple(column.tolist()) for column in first.T}) == 64


def test_dropout_in_evaluation_is_the_identity_and_draws_nothing():
    generator = torch.Generator().manual_seed(4)
    layer, x, before = Dropout(0.5, generator).eval(), torch.randn(8, 8), generator.get_state()
    assert torch.equal(layer(x), x)
    assert torch.equal(generator.get_state(), before)


def test_dropout_depends_on_its_own_generator_only():
    def dropped(seed):
        return Dropout(0.3, torch.Generator().manual_seed(seed))(torch.ones(50, 50))

    before = torch.get_rng_state()
    first = dropped(4)
    assert torch.equal(torch.get_rng_state(), before)
    torch.manual_seed(99)
    assert torch.equal(dropped(4), first) and not torch.equal(dropped(5), first)


def test_gradients_pass_where_dropout_kept():
    x = torch.ones(1000, requires_grad=True)
    kept = Dropout(0.5, torch.Generator().manual_seed(4))(x)
    kept.sum().backward()
    assert torch.equal(x.grad, kept.detach())


def test_dropout_layers_of_a_network_share_the_generator_that_was_given():
    given = generators()
    network = build_network(SMALL, 16, 17, **given)
    layers = [layer for layer in network if isinstance(layer, Dropout)]
    assert len(layers) == 2
    assert all(layer.generator is given["dropout_generator"] for layer in layers)
    assert all(layer.keep == 0.75 for layer in layers)
