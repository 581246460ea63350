"""Exported networks: equal to PyTorch and to the closed form of memory; files, mistakes."""

import numpy as np
import onnxruntime
import pytest
import torch

import training
from cnn import static_metrics
from deploy import session
from deploy.facts import facts
from deploy.quantise import quantise
from tests import graph_memory as memory
from tests.networks import NETWORKS, make_model, make_network, noise
from training.saved import logits_of, save_network
from utils import InputError


@pytest.mark.parametrize("name", NETWORKS)
def test_the_graph_has_the_logits_of_pytorch_and_the_memory_of_the_closed_form(name):
    config, size, classes = NETWORKS[name]
    network, model = make_model(config, size, classes)
    running = session.open_session(model)
    for count in (1, 3):
        pixels = noise(count, size)
        logits, probabilities = running.run(["logits", "probabilities"], {"pixels": pixels})
        expected = logits_of(network, pixels)
        assert logits.shape == (count, classes)
        assert np.abs(logits - expected).max() < 1e-5 * max(1, np.abs(expected).max())
        softmax = torch.softmax(torch.from_numpy(expected), dim=1).numpy()
        assert np.allclose(probabilities, softmax, atol=1e-5)
    int8 = quantise(model, noise(20, size, seed=1))
    known = static_metrics(config, size, classes)
    assert memory.flash_kb(model) == known["flash_float_kb"]
    assert memory.flash_kb(int8) == known["flash_kb"]
    assert memory.ram_kb(model) == memory.ram_kb(int8) == known["ram_kb"]
    exact, near = (session.logits_of(one, noise(20, size)) for one in (model, int8))
    assert 0 < np.abs(near - exact).max() < 0.2 * np.abs(exact).max()


def test_int8_does_not_overflow_on_any_processor():
    """With optimizations off, ONNX Runtime computes in float32, where no product overflows."""
    config, size, classes = NETWORKS["plain"]
    _, model = make_model({**config, "width_0": 64, "width_1": 64}, size, classes)
    pixels = noise(64, size)
    int8 = quantise(model, pixels)
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    plain = onnxruntime.InferenceSession(
        int8.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    expected = plain.run(["logits"], {"pixels": pixels})[0]
    spread = np.square(session.logits_of(model, pixels) - expected).mean()
    assert np.square(session.logits_of(int8, pixels) - expected).mean() < 0.25 * spread


RESULT = {
    "config": NETWORKS["plain"][0],
    "dataset": {"name": "noise", "image_size": 8, "class_names": ["a", "b", "c"]},
    "metrics": {"top1": 0.5, "loss": float("nan")},
    "constraints": [{"text": "top1 >= 0.4", "value": 0.5, "met": True}],
    **{"split": "test", "optimizer": "adamw", "epochs": 2, "seeds": [7], "found_by": None},
}


def test_a_network_is_loaded_again_in_one_line(tmp_path):
    network = make_network(*NETWORKS["plain"])
    save_network(tmp_path / "net.safetensors", network, facts(RESULT))
    loaded = training.load_network(tmp_path / "net.safetensors")
    pixels = noise(4, 8)
    assert np.array_equal(logits_of(loaded, pixels), logits_of(network, pixels))
    assert np.isfinite(logits_of(loaded, pixels)).all() and not loaded.training


def test_what_holds_no_network_is_refused(tmp_path):
    with pytest.raises(InputError, match="missing.safetensors"):
        training.load_network(tmp_path / "missing.safetensors")
    (tmp_path / "text").write_text("no network")
    with pytest.raises(InputError, match="holds no network"):
        training.load_network(tmp_path / "text")
    other = {**RESULT, "config": NETWORKS["published"][0]}
    save_network(tmp_path / "other", make_network(*NETWORKS["plain"]), facts(other))
    with pytest.raises(InputError, match="holds no network"):
        training.load_network(tmp_path / "other")
