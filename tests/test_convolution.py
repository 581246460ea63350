"""Convolutions: gradients by matrix products are those of PyTorch's own."""

import pytest
import torch
from torch.nn import functional

from vision import convolution
from vision.convolution import Convolution

# images, channels in and out, kernel, side in pixels: kernels wider than the image, too
SHAPES = [(3, 4, 5, 3, 8), (2, 3, 4, 5, 4), (2, 5, 3, 5, 1), (4, 2, 2, 7, 2), (1, 3, 2, 1, 3)]


def gradients(shape, monkeypatch, large):
    """Output, and the gradients of input, weights and bias, in float64."""
    monkeypatch.setattr(convolution, "LARGE", large)
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
def test_gradients_are_those_of_pytorch(shape, monkeypatch):
    ours, theirs = gradients(shape, monkeypatch, 0), gradients(shape, monkeypatch, 10**9)
    assert torch.equal(ours[0], theirs[0])
    for one, other in zip(ours[1:], theirs[1:], strict=True):
        assert one.stride() == other.stride()
        torch.testing.assert_close(one, other)


def by_products(layer, x):
    return "ByProducts" in type(layer(x).grad_fn).__name__


def test_only_large_weights_learn_by_products():
    large, small = Convolution(320, 350, 3), Convolution(320, 300, 3)
    x = torch.zeros(1, 320, 2, 2)
    assert large.weight.numel() > convolution.LARGE > small.weight.numel()
    assert by_products(large, x)
    assert not by_products(small, x)


def test_other_arithmetic_is_left_to_pytorch(monkeypatch):
    monkeypatch.setattr(convolution, "LARGE", 0)
    layer, x = Convolution(2, 3, 3), torch.zeros(1, 2, 4, 4)
    with torch.autocast("cpu", torch.bfloat16):
        assert not by_products(layer, x)
    with torch.no_grad():
        assert layer(x).grad_fn is None
    assert torch.equal(layer(x), functional.conv2d(x, layer.weight, layer.bias, padding=1))


def test_the_first_layer_needs_no_gradient_of_its_images(monkeypatch):
    monkeypatch.setattr(convolution, "LARGE", 0)
    layer, x = Convolution(2, 3, 3), torch.ones(1, 2, 4, 4)
    layer(x).sum().backward()
    assert x.grad is None
    assert layer.bias.grad.tolist() == [16.0] * 3
