"""Layers: our ways of convolutions give what PyTorch's own gives, and go where they are fast."""

from functools import partial

import pytest
import torch
from torch.nn import functional

import cnn
import utils
from vision import layers, taps, ways, winograd
from vision.layers import Convolution


@pytest.fixture(autouse=True)
def usual_processor(monkeypatch):
    monkeypatch.setattr(ways, "fast_convolutions", lambda: False)


def gradients(function, shape):
    """Output, and the gradients of input, weights and bias, in float64."""
    images, inputs, outputs, kernel, height, width = shape
    generator = torch.Generator().manual_seed(1)

    def draw(*sizes):
        drawn = torch.randn(*sizes, generator=generator, dtype=torch.float64)
        return drawn.contiguous(memory_format=torch.channels_last) if len(sizes) > 1 else drawn

    given = [draw(images, inputs, height, width), draw(outputs, inputs, kernel, kernel)]
    given.append(draw(outputs))
    blame = draw(images, outputs, height, width)  # the gradient differs from place to place
    out = function(*(tensor.requires_grad_() for tensor in given))
    # In place, as ReLU follows.
    return [out.detach().clone(), *torch.autograd.grad(out.relu_(), given, blame)]


def same(function, shape):
    theirs = gradients(partial(functional.conv2d, padding=shape[3] // 2), shape)
    for one, other in zip(gradients(function, shape), theirs, strict=True):
        assert one.dim() == 1 or one.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(one, other)


# images, channels in and out, kernel, height and width: kernels wider than the image, too
SHAPES = [(3, 4, 5, 3, 8, 8), (2, 3, 4, 5, 4, 4), (2, 5, 3, 5, 1, 1), (4, 2, 2, 7, 2, 2)]


@pytest.mark.parametrize("shape", [*SHAPES, (1, 3, 2, 1, 3, 3), (2, 3, 2, 3, 4, 6)])
def test_products_of_taps_give_what_pytorch_gives(shape):
    same(taps.convolve, shape)


# Parts of one image, of a few, and a rest.
TILED = [(1, 3, 5, 4, 4), (70, 2, 3, 4, 4), (9, 3, 2, 8, 16), (2, 2, 3, 36, 32)]


@pytest.mark.parametrize("kernel", winograd.POINTS)
@pytest.mark.parametrize("shape", TILED)
def test_few_products_give_what_pytorch_gives(shape, kernel):
    same(winograd.convolve, (*shape[:3], kernel, *shape[3:]))


def test_many_channels_are_done_in_larger_parts():
    same(winograd.convolve, (70, 182, 181, 3, 8, 8))


@pytest.mark.parametrize("kernel", winograd.POINTS)
def test_in_float32_they_differ_by_rounding_only(kernel):
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(32, 64, 8, 8, generator=generator)
    weight = torch.randn(128, 64, kernel, kernel, generator=generator) / (8 * kernel)
    exact = functional.conv2d(x.double(), weight.double(), padding=kernel // 2)
    error = winograd.convolve(x, weight, torch.zeros(128)) - exact
    assert error.abs().max() < 1e-5 * exact.abs().max()


# Which way


def way(layer, x):
    return type(layer(x).grad_fn).__name__.removesuffix("Backward").removesuffix("Backward0")


def test_layers_go_the_way_that_is_fastest():
    x = torch.zeros(12, 64, 8, 8)
    assert way(Convolution(64, 128, 3), x) == way(Convolution(64, 128, 5), x) == "_Winograd"
    assert way(Convolution(64, 64, 3), x) == "Convolution"
    assert way(Convolution(64, 700, 7), x[..., :1, :1]) == "_Taps"


def test_other_arithmetic_is_left_to_pytorch():
    for layer in (Convolution(64, 128, 3), Convolution(64, 700, 7)):
        with torch.autocast("cpu", torch.bfloat16):
            assert way(layer, torch.zeros(12, 64, 8, 8)) == "Convolution"


@pytest.mark.parametrize("forced", ["winograd", "taps"])
def test_training_and_scoring_agree(forced, monkeypatch):
    monkeypatch.setattr(layers, "fastest_way", lambda *sizes: forced)
    layer, x = Convolution(2, 3, 3), torch.ones(50, 2, 4, 4)
    trained = layer(x)
    assert way(layer, x) == f"_{forced.title()}"
    with torch.no_grad():
        assert torch.equal(layer(x), trained)


NARROW = {"inputs": 64, "outputs": 128, "kernel": 3, "images": 24, "height": 8, "width": 4}
WIDE = {"inputs": 120, "outputs": 140, "kernel": 5, "images": 64, "height": 8, "width": 4}
LARGE = {"inputs": 205, "outputs": 205, "kernel": 7, "images": 4, "height": 4, "width": 4}


@pytest.mark.parametrize(
    ("fast", "usual", "change", "expected"),
    [
        (False, NARROW, {}, "winograd"),
        (False, NARROW, {"kernel": 5}, "winograd"),
        (False, NARROW, {"inputs": 55, "outputs": 200}, "torch"),
        (False, NARROW, {"inputs": 200, "outputs": 55}, "torch"),
        (False, NARROW, {"outputs": 127}, "torch"),
        (False, NARROW, {"kernel": 7}, "torch"),
        (False, NARROW, {"height": 6}, "torch"),
        (False, NARROW, {"width": 10}, "torch"),
        (False, NARROW, {"images": 23}, "torch"),
        (False, LARGE, {"height": 2, "width": 2}, "taps"),
        (False, LARGE, {"inputs": 199}, "torch"),
        (True, NARROW, {}, "torch"),
        (True, NARROW, {"inputs": 400, "outputs": 400, "images": 64}, "winograd"),
        (True, WIDE, {}, "winograd"),
        (True, WIDE, {"inputs": 116}, "torch"),
        (True, WIDE, {"inputs": 180, "outputs": 127}, "torch"),
        (True, WIDE, {"inputs": 55, "outputs": 300}, "torch"),
        (True, WIDE, {"height": 6}, "torch"),
        (True, WIDE, {"images": 63}, "torch"),
        (True, LARGE, {}, "taps"),
        (True, LARGE, {"inputs": 199}, "torch"),
        (True, LARGE, {"height": 2, "width": 2}, "torch"),
        (True, LARGE, {"kernel": 5}, "torch"),
    ],
)
def test_which_way_is_fastest(fast, usual, change, expected, monkeypatch):
    monkeypatch.setattr(ways, "fast_convolutions", lambda: fast)
    assert ways.fastest_way(**{**usual, **change}) == expected


@pytest.mark.parametrize(
    ("facts", "fast"),
    [
        ({"vendor_id": "AuthenticAMD", "cpu family": "26"}, True),
        ({"vendor_id": "AuthenticAMD", "cpu family": "25"}, False),
        ({"vendor_id": "GenuineIntel", "cpu family": "26"}, False),
        ({}, False),
    ],
)
def test_which_processors_have_fast_convolutions(facts, fast, monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setattr(utils, "CPUINFO", tmp_path / "cpuinfo")
    utils.CPUINFO.write_text("".join(f"{name}\t: {value}\n" for name, value in facts.items()))
    assert ways.fast_convolutions.__wrapped__() is fast


@pytest.mark.parametrize("kernel", winograd.POINTS)
def test_what_is_kept_for_the_backward_pass_is_what_is_counted(kernel):
    config = {"n_conv_layers": 2, "n_channels_conv_0": 64, "n_channels_conv_1": 128}
    config |= {"kernel_size": kernel, "global_avg_pooling": True, "n_fc_layers": 0}
    config |= {"use_BN": False, "batch_size": 15}
    kept = []
    x, layer = torch.zeros(15, 64, 8, 8), Convolution(64, 128, kernel)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()), lambda _: 0):
        layer(x)
    kernels, *windows = kept
    counted, _, transformed = cnn.count_activations(config)
    assert kernels == transformed == winograd.window(kernel) ** 2 * 64 * 128
    narrower, _, none = cnn.count_activations({**config, "n_channels_conv_1": 60})
    assert none == 0
    outputs = (128 - 60) * (8 * 8 + 3 * 4 * 4)  # of ReLU; pooled, with the places of the maxima
    # Windows are kept in place of the inputs, which count among what is pooled before.
    assert sum(windows) == 15 * (counted - narrower - outputs + 64 * 8 * 8)
