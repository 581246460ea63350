"""Exports a trained and measured network for `main.py --export DIR`.

DIR gets network.onnx, network.safetensors, check.npz and card.md, with --quantise also
network.int8.onnx and its result. They replace the files of an earlier export.
"""

import importlib.util
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from deploy import card, session
from deploy.facts import facts
from deploy.graph import build_model
from evaluation import results, thresholds
from evaluation.comparison import Measured, judged
from utils import InputError, replacing, write_json, write_text

OF_INT8 = ("network.int8.onnx", "result_int8.json", "predictions_int8.npz")
WRITTEN = ("network.onnx", "network.safetensors", "check.npz", "card.md", *OF_INT8)
CHECKED = 8  # test images in check.npz
TOLERANCE = 1e-4  # of logits, as a share of the largest if that is over 1


@dataclass(frozen=True)
class Plan:
    """The requested export: the folder, and whether to quantise and to measure the latency."""

    folder: Path
    quantise: bool
    latency: bool

    @classmethod
    def of(cls, given: dict[str, Any], fits: bool) -> "Plan | None":
        """Removes its flags from `given`; None without --export, InputError for mistakes.

        fits: whether exactly one network is trained for the test split.
        """
        wanted = {name: given.pop(name, False) for name in ("quantise", "latency")}
        folder = given.pop("export", None)
        if folder is None:
            for name in [name for name, value in wanted.items() if value]:
                raise InputError(f"--{name} needs an exported network: add --export DIR")
            return None
        if not fits:
            words = "give one configuration and one seed with it, and -t True"
            raise InputError(f"--export writes one network: {words}")
        missing = [name for name in card.PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            words = "pip install -r requirements-export.txt"
            raise InputError(f"--export needs {missing[0]}, which is not installed: {words}")
        return cls(Path(folder), **wanted)

    def make_folder(self, paths: Sequence[Path]) -> None:
        """Makes the folder; InputError if it cannot be written."""
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise InputError(f"--export {self.folder}: {error.strerror}; name a folder") from None
        for name in WRITTEN:
            results.check_file(self.folder / name, "--export", paths)


def ship(
    plan: Plan,
    network: Any,
    measured: Measured,
    target: Any,
    stored: results.Predictions,
    search: Mapping[str, Any] | None,
) -> tuple[list[Measured], list[str]]:
    """Exports; returns the measured int8 network, if requested, and messages.

    network: a PyTorch network trained on the last fold of the target; its predictions are
    `stored`. search: the run.json of the search that found the configuration, if any.
    """
    train, test = (target.pixels[part] for part in target.folds[-1])
    model, words = export(plan.folder, network, measured.result, test)
    models, both = {"network.onnx": model}, [measured]
    for name in ("check.npz", *OF_INT8):  # those of an earlier export belong to another network
        (plan.folder / name).unlink(missing_ok=True)
    if plan.quantise:
        from deploy.quantise import quantise

        models["network.int8.onnx"] = quantise(model, train)
        scores = session.logits_of(models["network.int8.onnx"], test)
        int8 = _result(plan.folder, scores, measured, target, stored)
        limits = [one["text"] for one in measured.result["constraints"]]
        both.append(judged(str(plan.folder / "network.int8.onnx"), *int8, limits))
        int8[0].update(thresholds.again(measured.result, both[-1].outcomes))
        write_json(plan.folder / "result_int8.json", both[-1].result)
        _write(plan.folder / "network.int8.onnx", models["network.int8.onnx"], both[-1].result)
        words.append(f"result of the network in int8 in {plan.folder / 'result_int8.json'}")
    _write_check(plan.folder / "check.npz", models, test, stored["names"])
    latencies = {}
    if plan.latency:
        latencies = {name: session.latency(one, test[:1]) for name, one in models.items()}
        words += [f"{name}: {session.in_words(one)}" for name, one in latencies.items()]
    counts = len(train), len(test)
    card_text = card.text(plan.folder, both, latencies, counts, sys.argv[1:], search)
    write_text(plan.folder / "card.md", card_text)
    return both[1:], words


def export(
    folder: Path, network: Any, result: Mapping[str, Any], pixels: np.ndarray
) -> tuple[Any, list[str]]:
    """Writes the network as safetensors and as ONNX; returns the ModelProto, and messages.

    Before the files get their names, it loads the safetensors again and compares ONNX Runtime
    with PyTorch on the images (uint8 (N, S, S, 3)). InputError if the training diverged,
    RuntimeError if the two differ.
    """
    from training.saved import load_network, logits_of, save_network

    dataset, texts = result["dataset"], facts(result)
    with replacing(folder / "network.safetensors") as temporary:
        save_network(temporary, network, texts)
        loaded = load_network(temporary)
        weights = {name: tensor.numpy() for name, tensor in loaded.state_dict().items()}
        expected = logits_of(loaded, pixels)
        if not np.isfinite(expected).all():
            raise InputError("the training diverged: there is no network to export")
        sizes = dataset["image_size"], len(dataset["class_names"])
        model = build_model(result["config"], *sizes, weights)
        difference = float(np.abs(session.logits_of(model, pixels) - expected).max())
        if not difference <= TOLERANCE * max(1.0, float(np.abs(expected).max())):
            raise RuntimeError(f"ONNX Runtime's logits differ from PyTorch's by {difference:g}")
    _write(folder / "network.onnx", model, result)
    return model, [
        f"exported to {folder}: network.onnx, network.safetensors, check.npz, card.md",
        f"largest difference between the logits of ONNX Runtime and PyTorch on the {len(pixels)} "
        f"test images: {difference:.1e}",
    ]


def _result(
    folder: Path, scores: np.ndarray, measured: Measured, target: Any, stored: results.Predictions
) -> tuple[dict[str, Any], list[results.Predictions]]:
    """The result of the int8 network, with its own metrics, and its predictions."""
    result = measured.result
    predictions = {**stored, "scores": scores}
    file = folder / "predictions_int8.npz"
    results.write_predictions(file, predictions)
    metrics = target.measure(scores, -1)
    part = results.of_seed(result["seeds"][0], metrics, file)
    own = {"metrics": metrics, "by_seed": [part]}
    copied = {name: value for name, value in result.items() if name != "at_threshold"}
    return {**copied, **own}, [predictions]


def _write_check(
    path: Path, models: Mapping[str, Any], pixels: np.ndarray, names: np.ndarray
) -> None:
    """Pixels, names and logits of a few images: a port to another runtime is tested with them."""
    chosen = np.unique(np.linspace(0, len(pixels) - 1, CHECKED).astype(int))
    arrays = {"names": names[chosen], "pixels": pixels[chosen]}
    for name, model in models.items():
        arrays[name.removesuffix(".onnx")] = session.logits_of(model, arrays["pixels"])
    results.write_predictions(path, arrays)


def _write(path: Path, model: Any, result: Mapping[str, Any]) -> None:
    """Replaces the file atomically; the facts become the model's metadata."""
    from onnx import helper

    helper.set_model_props(model, facts(result))
    with replacing(path) as temporary:
        temporary.write_bytes(model.SerializeToString())
