"""The metadata of a network file, ONNX or safetensors, as texts."""

from collections.abc import Mapping
from typing import Any

from utils import canonical_json, without_nan

PIXELS = "uint8 (N, image_size, image_size, 3), RGB, upright, made square as `crop` says"


def facts(result: Mapping[str, Any]) -> dict[str, str]:
    """The metadata from a result of main.py (evaluation/results.py).

    config, classes, metrics, limits and dataset are JSON; classes are in the order of the logits.
    crop: see predict.py. threshold: only if the result has one; below this probability predict.py
    answers "not sure".
    """
    dataset = result["dataset"]
    limits = [
        {name: one[name] for name in ("text", "value", "met")} for one in result["constraints"]
    ]
    about = {name: dataset.get(name) for name in ("name", "fingerprint", "test_fingerprint")}
    found = {
        "config": result["config"],
        "classes": dataset["class_names"],
        "metrics": {"split": result["split"], **result["metrics"]},
        "limits": limits,
        "dataset": about,
        "found_by": result["found_by"],
    }
    texts = {name: canonical_json(without_nan(value)) for name, value in found.items()}
    texts |= {"image_size": str(dataset["image_size"]), "crop": dataset.get("crop", "centre")}
    texts |= {"input": PIXELS, "optimizer": result["optimizer"]}
    texts |= {"epochs": str(result["epochs"]), "seed": str(result["seeds"][0])}
    if result.get("threshold") is not None:
        texts["threshold"] = str(result["threshold"])
    return texts
