"""The possible gain of joint folds and CUDA graphs, on bare steps: a search uses neither.

A step is: forward, loss, backward, Adam, on a batch that is on the device. Dropout, augmentation
and the choice of the batch are left out on both sides.
"""

import copy
from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap

from benchmarks.gpu_promises import CLASSES, Scale, pictures
from benchmarks.gpu_rates import Row, Sizes, repeated
from benchmarks.networks import config_of
from training.device import prepare_torch
from training.network import build_network

FOLDS = 3


def built(scale: Scale, name: str) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A network without dropout on the device, and a batch for it."""
    prepare_torch(1)
    config = {**config_of(name), "dropout_rate": 0.0}
    weights, unused = torch.Generator().manual_seed(1), torch.Generator()
    given = {"init_generator": weights, "dropout_generator": unused}
    network = build_network(config, scale.side, CLASSES, **given).to(scale.device)
    for module in network.modules():
        if type(module).__name__ == "Dropout":
            module.eval()
    images = pictures(scale)
    count = min(config["batch_size"], len(images.labels))
    x = torch.from_numpy(images.pixels[:count]).permute(0, 3, 1, 2).float().div(255)
    return (
        network.to(memory_format=torch.contiguous_format),
        x.contiguous().to(scale.device),
        torch.from_numpy(images.labels[:count]).to(scale.device),
    )


def step_of(network: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    """An eager PyTorch step; its optimizer can be captured in a graph."""
    on_gpu = x.device.type == "cuda"
    parameters = list(network.parameters())
    optimizer = torch.optim.Adam(parameters, lr=1e-4, fused=True, capturable=on_gpu)

    def step() -> None:
        optimizer.zero_grad(set_to_none=False)
        nn.functional.cross_entropy(network(x), labels).backward()
        optimizer.step()

    return step


def in_graph(step: Callable[[], None]) -> Callable[[], None]:
    """The same step as one CUDA graph, after the warm-up steps that PyTorch requires."""
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            step()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        step()
    return graph.replay


def together(network: nn.Module, x: torch.Tensor, labels: torch.Tensor) -> Callable[[], None]:
    """A step of `FOLDS` networks at once: stacked weights, vmap, one Adam."""
    networks = [copy.deepcopy(network) for _ in range(FOLDS)]
    weights, buffers = stack_module_state(networks)
    bare = copy.deepcopy(network).to("meta")
    leaves = {key: value.detach().clone() for key, value in weights.items()}
    optimizer = torch.optim.Adam(list(leaves.values()), lr=1e-4, fused=True)

    def loss(one: Any, own: Any, images: torch.Tensor, truth: torch.Tensor) -> torch.Tensor:
        return nn.functional.cross_entropy(functional_call(bare, (one, own), (images,)), truth)

    gradients = vmap(grad(loss), in_dims=(0, 0, 0, 0))
    many = x.expand(FOLDS, *x.shape), labels.expand(FOLDS, *labels.shape)

    def step() -> None:
        found = gradients(leaves, buffers, *many)
        for key, leaf in leaves.items():
            leaf.grad = found[key]
        optimizer.step()

    return step


def rows(scale: Scale, sizes: Sizes) -> Iterator[Row]:
    """Steps per second of each network: eager, with joint folds, and as a graph."""
    for name in sizes.networks:
        network, x, labels = built(scale, name)
        single = step_of(network, x, labels)
        apart = repeated(single, sizes.seconds, scale.device)
        words = [f"apart {apart:.0f}"]
        try:
            at_once = repeated(together(network, x, labels), sizes.seconds, scale.device)
            words.append(f"{FOLDS} folds together {FOLDS * at_once:.0f}")
        except RuntimeError as error:  # vmap has no rule for a layer, or no deterministic one
            words.append(f"folds together: {str(error).splitlines()[0][:60]}")
        if scale.on_gpu:
            graph = repeated(in_graph(single), sizes.seconds, scale.device)
            words.append(f"as a graph {graph:.0f}")
        else:
            words.append("a CPU has no graphs")
        yield f"steps/s of {name}", ", ".join(words)
