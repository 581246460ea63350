"""Layers: our ways of convolutions give what PyTorch's own gives."""

from functools import partial

import pytest
import torch
from torch.nn import functional

import cnn
from vision import layers, winograd
from vision.layers import Convolution

# images, channels in and out, kernel, side in pixels: kernels wider than the image, too
SHAPES = [(3, 4, 5, 3, 8), (2, 3, 4, 5, 4), (2, 5, 3, 5, 1), (4, 2, 2, 7, 2), (1, 3, 2, 1, 3)]


def gradients(shape, monkeypatch, large):
    """Output, and the gradients of input, weights and bias, in float64."""
    monkeypatch.setattr(layers, "LARGE", large)
    images, inputs, outputs, kernel, side = shape
    generator = torch.Generator().manual_seed(1)
    layer = Convolution(inputs, outputs, kernel).double()
    for parameter in layer.parameters():
        torch.nn.init.normal_(parameter, generator=generator)
    layer = layer.to(memory_format=torch.channels_last)
    x = torch.randn(images, inputs, side, side, generator=generator, dtype=torch.float64)
    x = x.to(memory_format=torch.channels_last).requires_grad_()
    out = layer(x)
    # Weighted, so that the gradient differs from place to place.
    (out * torch.randn(out.shape, generator=generator, dtype=torch.float64)).sum().backward()
    return out.detach(), x.grad, layer.weight.grad, layer.bias.grad


@pytest.mark.parametrize("shape", SHAPES)
def test_outputs_and_gradients_are_those_of_pytorch(shape, monkeypatch):
    ours, theirs = gradients(shape, monkeypatch, 0), gradients(shape, monkeypatch, 10**9)
    for one, other in zip(ours, theirs, strict=True):
        assert one.stride() == other.stride()
        torch.testing.assert_close(one, other)


def way(layer, x):
    return type(layer(x).grad_fn).__name__


def in_our_way(layer, x):
    return "Large" in way(layer, x)


def test_only_large_layers_go_our_way():
    large, small = Convolution(470, 480, 3), Convolution(470, 470, 3)
    x = torch.zeros(1, 470, 2, 2)
    assert large.weight.numel() > layers.LARGE > small.weight.numel()
    assert in_our_way(large, x)
    assert not in_our_way(small, x)


def test_other_arithmetic_is_left_to_pytorch(monkeypatch):
    monkeypatch.setattr(layers, "LARGE", 0)
    with torch.autocast("cpu", torch.bfloat16):
        assert not in_our_way(Convolution(2, 3, 3), torch.zeros(1, 2, 4, 4))


@pytest.mark.parametrize("settings", [{"LARGE": 0}, {"PAIRS": 0, "CHANNELS": 0}])
def test_training_and_scoring_agree(settings, monkeypatch):
    for name, value in settings.items():
        monkeypatch.setattr(winograd if name != "LARGE" else layers, name, value)
    layer, x = Convolution(2, 3, 3), torch.ones(50, 2, 4, 4)
    trained = layer(x)
    assert way(layer, x) != "ConvolutionBackward0"
    with torch.no_grad():
        assert torch.equal(layer(x), trained)


# Winograd

# images, channels in and out, height and width: parts of one image, of a few, and a rest
TILED = [(1, 3, 5, 4, 4), (70, 2, 3, 4, 4), (9, 3, 2, 8, 16), (2, 2, 3, 36, 32)]


@pytest.mark.parametrize("shape", TILED)
def test_few_products_give_what_pytorch_gives(shape):
    images, inputs, outputs, height, width = shape
    generator = torch.Generator().manual_seed(1)

    def draw(*sizes):
        return torch.randn(*sizes, generator=generator, dtype=torch.float64)

    x = draw(images, inputs, height, width).contiguous(memory_format=torch.channels_last)
    given = [x, draw(outputs, inputs, 3, 3), draw(outputs)]
    given[1] = given[1].contiguous(memory_format=torch.channels_last)
    blame = draw(images, outputs, height, width)
    found = []
    for function in (winograd.convolve, partial(functional.conv2d, padding=1)):
        for tensor in given:
            tensor.requires_grad_()
        out = function(*given)
        # In place, as ReLU follows.
        found.append([out.detach().clone(), *torch.autograd.grad(out.relu_(), given, blame)])
    for one, other in zip(*found, strict=True):
        assert one.stride() == other.stride()
        torch.testing.assert_close(one, other)


def test_in_float32_they_differ_by_rounding_only():
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(32, 64, 8, 8, generator=generator)
    weight = torch.randn(128, 64, 3, 3, generator=generator) / 24
    bias = torch.zeros(128)
    exact = functional.conv2d(x.double(), weight.double(), padding=1)
    error = winograd.convolve(x, weight, bias) - exact
    assert error.abs().max() < 1e-5 * exact.abs().max()


@pytest.mark.parametrize(
    "changes",
    [
        *({}, {"inputs": 55}, {"outputs": 120}, {"kernel": 5}, {"height": 6}, {"width": 10}),
        {"images": 23},
    ],
)
def test_which_layers_it_suits(changes):
    usual = {"inputs": 64, "outputs": 128, "kernel": 3, "images": 24, "height": 8, "width": 4}
    assert winograd.suits(**{**usual, **changes}) == (not changes)


def test_wide_layers_with_a_small_kernel_go_that_way():
    x = torch.zeros(12, 64, 8, 8)
    assert "Winograd" in way(Convolution(64, 128, 3), x)
    assert "Winograd" not in way(Convolution(64, 128, 5), x)
    assert "Winograd" not in way(Convolution(64, 128, 3), x.repeat(1, 1, 1, 2)[..., :9])
    with torch.autocast("cpu", torch.bfloat16):
        assert "Winograd" not in way(Convolution(64, 128, 3), x)


def test_what_is_kept_for_the_backward_pass_is_what_is_counted():
    config = {"n_conv_layers": 2, "n_channels_conv_0": 64, "n_channels_conv_1": 128}
    config |= {"kernel_size": 3, "global_avg_pooling": True, "n_fc_layers": 0, "use_BN": False}
    config |= {"batch_size": 15}
    kept = []
    x, layer = torch.zeros(15, 64, 8, 8), Convolution(64, 128, 3)
    with torch.autograd.graph.saved_tensors_hooks(lambda t: kept.append(t.numel()), lambda _: 0):
        layer(x)
    kernels, *windows = kept
    counted, _, transformed = cnn.count_activations(config)
    assert kernels == transformed == 36 * 64 * 128
    narrower, _, none = cnn.count_activations({**config, "n_channels_conv_1": 60})
    assert none == 0
    outputs = (128 - 60) * (8 * 8 + 3 * 4 * 4)  # of ReLU; pooled, with the places of the maxima
    # Windows are kept in place of the inputs, which count among what is pooled before.
    assert sum(windows) == 15 * (counted - narrower - outputs + 64 * 8 * 8)
