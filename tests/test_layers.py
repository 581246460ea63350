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


def gradients(function, shape, dtype=torch.float64):
    """Output, and the gradients of input, weights and bias."""
    images, inputs, outputs, kernel, height, width = shape
    generator = torch.Generator().manual_seed(1)

    def draw(*sizes):
        drawn = torch.randn(*sizes, generator=generator, dtype=torch.float64).to(dtype)
        return drawn.contiguous(memory_format=torch.channels_last) if len(sizes) > 1 else drawn

    given = [draw(images, inputs, height, width), draw(outputs, inputs, kernel, kernel)]
    given.append(draw(outputs))
    blame = draw(images, outputs, height, width)  # the gradient differs from place to place
    out = function(*(tensor.requires_grad_() for tensor in given))
    # In place, as ReLU follows.
    return [out.detach().clone(), *torch.autograd.grad(out.relu_(), given, blame)]


def by_pytorch(shape):
    return gradients(partial(functional.conv2d, padding=shape[3] // 2), shape)


def same(function, shape):
    for one, other in zip(gradients(function, shape), by_pytorch(shape), strict=True):
        assert one.dim() == 1 or one.is_contiguous(memory_format=torch.channels_last)
        torch.testing.assert_close(one, other)


# images, channels in and out, kernel, height and width: kernels wider than the image, too
SHAPES = [(3, 4, 5, 3, 8, 8), (2, 3, 4, 5, 4, 4), (2, 5, 3, 5, 1, 1), (4, 2, 2, 7, 2, 2)]
SHAPES += [(1, 3, 2, 1, 3, 3), (2, 3, 2, 3, 4, 6)]


@pytest.mark.parametrize("shape", SHAPES)
def test_products_of_taps_give_what_pytorch_gives(shape):
    same(taps.convolve, shape)


# Parts of one image, of a few, and a rest.
TILED = [(1, 3, 5, 4, 4), (70, 2, 3, 4, 4), (9, 3, 2, 8, 16), (2, 2, 3, 36, 32)]


@pytest.mark.parametrize("kernel", winograd.POINTS)
@pytest.mark.parametrize("shape", TILED)
def test_few_products_give_what_pytorch_gives(shape, kernel):
    same(winograd.convolve, (*shape[:3], kernel, *shape[3:]))


def test_many_channels_are_done_in_larger_parts():
    """Of 70 images with 4 tiles each."""
    for channels, parts in (((128, 256), 2), ((181, 181), 5)):
        kept = kept_by(Convolution(*channels, 3), torch.zeros(70, channels[0], 8, 8))
        assert len(kept) == 1 + parts
    same(winograd.convolve, (70, 182, 181, 3, 8, 8))


def kept_by(layer, x):
    """Sizes of what is kept for the backward pass."""
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()), lambda _: 0):
        layer(x)
    return kept


@pytest.mark.parametrize("kernel", winograd.POINTS)
def test_in_float32_they_differ_by_rounding_only(kernel):
    shape = 32, 64, 128, kernel, 8, 8
    found = gradients(winograd.convolve, shape, torch.float32)
    for one, exact in zip(found, by_pytorch(shape), strict=True):
        assert (one - exact).abs().max() < 1e-5 * exact.abs().max()


# Which way


def way(layer, x):
    return type(layer(x).grad_fn).__name__.removesuffix("Backward").removesuffix("Backward0")


def test_layers_go_the_way_that_is_fastest():
    x = torch.zeros(12, 64, 8, 8)
    assert way(Convolution(64, 128, 3), x) == way(Convolution(64, 128, 5), x) == "_Winograd"
    assert way(Convolution(64, 64, 3), x) == "Convolution"
    assert way(Convolution(64, 700, 7), x[..., :1, :1]) == "_Taps"


def test_other_arithmetic_and_compiling_are_left_to_pytorch(monkeypatch):
    for layer in (Convolution(64, 128, 3), Convolution(64, 700, 7)):
        with torch.autocast("cpu", torch.bfloat16):
            assert way(layer, torch.zeros(12, 64, 8, 8)) == "Convolution"
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    assert way(Convolution(64, 128, 3), torch.zeros(12, 64, 8, 8)) == "Convolution"


@pytest.mark.parametrize("forced", ["winograd", "taps"])
def test_training_and_scoring_agree(forced, monkeypatch):
    monkeypatch.setattr(layers, "fastest_way", lambda *sizes: forced)
    layer, x = Convolution(2, 3, 3), torch.ones(50, 2, 4, 4)
    trained = layer(x)
    assert way(layer, x) == f"_{forced.title()}"
    with torch.no_grad():
        assert torch.equal(layer(x), trained)


def test_scoring_keeps_nothing(monkeypatch):
    """Of windows, which are larger than the images."""
    made, saved = torch.nn.Parameter(torch.zeros(128, 64, 3, 3)), []
    monkeypatch.setattr(
        torch.autograd.function.FunctionCtx,
        "save_for_backward",
        lambda _, *kept: saved.append(kept),
    )
    with torch.no_grad():
        winograd.convolve(torch.zeros(12, 64, 8, 8), made, torch.zeros(128))
    assert len(saved) == 1 and len(saved[0]) == 1  # the kernels


NARROW = {"inputs": 64, "outputs": 128, "kernel": 3, "images": 24, "height": 8, "width": 4}
WIDE = {"inputs": 120, "outputs": 140, "kernel": 5, "images": 64, "height": 8, "width": 4}
LARGE = {"inputs": 205, "outputs": 205, "kernel": 7, "images": 8, "height": 4, "width": 4}


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
        (True, NARROW, {"inputs": 375, "outputs": 400, "images": 64}, "winograd"),
        (True, NARROW, {"inputs": 374, "outputs": 401, "images": 64}, "torch"),
        (True, WIDE, {}, "winograd"),
        (True, WIDE, {"inputs": 116}, "torch"),
        (True, WIDE, {"inputs": 128, "outputs": 128}, "winograd"),
        (True, WIDE, {"inputs": 180, "outputs": 127}, "torch"),
        (True, WIDE, {"inputs": 56, "outputs": 300}, "winograd"),
        (True, WIDE, {"inputs": 55, "outputs": 300}, "torch"),
        (True, WIDE, {"height": 6}, "torch"),
        (True, WIDE, {"images": 63}, "torch"),
        (True, LARGE, {}, "taps"),
        (True, LARGE, {"inputs": 199}, "torch"),
        (True, LARGE, {"height": 2, "width": 2}, "torch"),
        (True, LARGE, {"width": 8}, "torch"),
        (True, LARGE, {"images": 7}, "torch"),
        (True, LARGE, {"kernel": 5}, "torch"),
    ],
)
def test_which_way_is_fastest(fast, usual, change, expected, monkeypatch):
    monkeypatch.setattr(ways, "fast_convolutions", lambda: fast)
    assert ways.fastest_way(**{**usual, **change}) == expected


@pytest.mark.parametrize(
    ("changes", "fast"),
    [
        ({}, True),
        ({"cpu family": "25"}, False),
        ({"cpu family": "unknown"}, False),
        ({"cpu family": ""}, False),
        ({"vendor_id": "GenuineIntel"}, False),
        ({"flags": "fpu avx2"}, False),
        ({"vendor_id": "\udcff"}, False),
    ],
)
def test_which_processors_have_fast_convolutions(changes, fast, monkeypatch, tmp_path):
    monkeypatch.undo()
    monkeypatch.setattr(utils, "CPUINFO", tmp_path / "cpuinfo")
    facts = {"vendor_id": "AuthenticAMD", "cpu family": "26", "flags": "fpu avx2 avx512f"}
    text = "".join(f"{name}\t: {value}\n" for name, value in {**facts, **changes}.items())
    utils.CPUINFO.write_bytes(text.encode(errors="surrogateescape"))
    assert ways.fast_convolutions.__wrapped__() is fast


@pytest.mark.parametrize("kernel", winograd.POINTS)
def test_what_is_kept_for_the_backward_pass_is_what_is_counted(kernel):
    config = {"n_conv_layers": 2, "n_channels_conv_0": 64, "n_channels_conv_1": 128}
    config |= {"kernel_size": kernel, "global_avg_pooling": True, "n_fc_layers": 0}
    config |= {"use_BN": False, "batch_size": 15}
    kernels, *windows = kept_by(Convolution(64, 128, kernel), torch.zeros(15, 64, 8, 8))
    counted, _, transformed = cnn.count_activations(config)
    assert kernels == transformed == winograd.window(kernel) ** 2 * 64 * 128
    narrower, _, none = cnn.count_activations({**config, "n_channels_conv_1": 60})
    assert none == 0
    outputs = (128 - 60) * (8 * 8 + 3 * 4 * 4)  # of ReLU; pooled, with the places of the maxima
    # Windows are kept in place of the inputs, which count among what is pooled before.
    assert sum(windows) == 15 * (counted - narrower - outputs + 64 * 8 * 8)
