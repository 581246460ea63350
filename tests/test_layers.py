"""Layers: our way of convolutions for large layers gives what PyTorch's own gives."""

import pytest
import torch

from vision import layers
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


def in_our_way(layer, x):
    return "Large" in type(layer(x).grad_fn).__name__


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


def test_training_and_scoring_agree(monkeypatch):
    monkeypatch.setattr(layers, "LARGE", 0)
    layer, x = Convolution(2, 3, 3), torch.ones(1, 2, 4, 4)
    trained = layer(x)
    with torch.no_grad():
        assert torch.equal(layer(x), trained)
