"""`card.md` of an exported network: its facts, its metrics, how to use and reproduce it."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import binomtest

from deploy.facts import PIXELS
from engine.storage.environment import environment
from engine.wording import counted, in_words, number_words
from evaluation.comparison import Measured, pairs
from evaluation.evidence import met_or_missed

PACKAGES = ("onnx", "onnxruntime")
FORMS = ("float32", "int8")
MEMORY = {"flash_kb": "weights in int8, kB", "ram_kb": "peak of activations in int8, kB"}
FILES = {
    "network.onnx": "float32, for ONNX Runtime and predict.py",
    "network.int8.onnx": "int8, the same; about a quarter of the size",
    "network.safetensors": "float32 weights, for PyTorch",
}
LOADING = """## Use

Copy predict.py and a network to the other machine; `pip install onnxruntime numpy pillow`.

    python predict.py network.onnx photo.jpg photos/

ONNX Runtime: the outputs are `logits` and `probabilities`. The input `pixels` is
{pixels}.
The metadata holds class names, image size, crop, metrics and limits.

    session = onnxruntime.InferenceSession("network.onnx")
    probabilities = session.run(["probabilities"], {{"pixels": pixels}})[0]

PyTorch, in the folder of the program: float images (N, 3, {size}, {size}), RGB from 0 to 1.

    network = training.load_network("network.safetensors")
"""
LIMITS_OF_USE = """## Limits of use

- Do not use it on other kinds of images than those it was trained on. It answers with one of its
  {count} classes for any image.
- Do not use it for decisions about people, their health or their safety, unless a person checks
  each answer.
- Its probabilities are not calibrated: 0.9 does not mean that nine of ten such answers are right.
- The metrics hold for images that are drawn like the test images. Measure again on your own.
"""


def text(
    folder: Path,
    measured: Sequence[Measured],
    paces: Mapping[str, Mapping[str, Any]],
    images: tuple[int, int],
    command: Sequence[str],
    search: Mapping[str, Any] | None,
) -> str:
    """The card of a network in float32 and, if it exists, in int8.

    paces: latency by file. images: numbers of training and test images. command: the arguments
    of main.py. search: the run.json of the search that found it.
    """
    result = measured[0].result
    dataset, names = result["dataset"], result["dataset"]["class_names"]
    loading = LOADING.format(pixels=PIXELS, size=dataset["image_size"])
    parts = [
        f"# Card of a network for {dataset['name']}\n",
        _about(folder, result, images),
        loading,
        _limits(measured),
        _metrics(measured),
        *([f"```\n{pairs(measured).strip()}\n```\n"] if len(measured) > 1 else []),
        _classes(measured[0].by_class),
        _latency(paces),
        _found(result, command, search),
        LIMITS_OF_USE.format(count=len(names)),
    ]
    return "\n".join(part for part in parts if part)


def _table(head: Sequence[str], rows: Sequence[Sequence[Any]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(map(str, line))} |\n" for line in lines)


def _about(folder: Path, result: Mapping[str, Any], images: tuple[int, int]) -> str:
    data = result["dataset"]
    counts = f"{images[0]:,} images to train, {images[1]:,} to test"
    crop, side = data.get("crop", "centre"), data["image_size"]
    rows = [
        ("task", f"one of {len(data['class_names'])} classes for each image"),
        ("trained on", f"{data['name']}: {counts}"),
        ("images", f"{side} x {side} pixels, RGB, crop: {crop}"),
        ("fingerprint of the training images", f"`{data['fingerprint']}`"),
        ("parameters", f"{result['num_params']:,}"),
        ("multiply-adds of one image", f"{result['macs']:,}"),
    ]
    if result.get("threshold") is not None:
        rows.append(("threshold", f"{result['threshold']:g}: below it the answer is not sure"))
    note = f"\nNote: {data['note']}\n" if data["note"] else ""
    there = [name for name in FILES if (folder / name).is_file()]
    files = [(name, f"{(folder / name).stat().st_size:,}", FILES[name]) for name in there]
    return f"{_table(('', ''), rows)}{note}\n{_table(('file', 'bytes', 'what'), files)}"


def _limits(measured: Sequence[Measured]) -> str:
    """Each limit with its verdict, in float32 and int8."""
    head = [
        "limit",
        *(f"{form} {w}" for form in FORMS[: len(measured)] for w in ("value", "verdict")),
    ]
    rows = []
    for limits in zip(*(one.result["constraints"] for one in measured), strict=True):
        cells = [limits[0]["text"]]
        for limit in limits:
            cells += [number_words(limit["value"]), met_or_missed(limit)]
        rows.append(cells)
    return f"## Limits\n\n{_table(head, rows) if rows else 'None was set.'}"


def _metrics(measured: Sequence[Measured]) -> str:
    """Each metric on the test split with its interval; memory of the network."""
    head = ["metric", *(w for f in FORMS[: len(measured)] for w in (f, "95 % interval"))]
    rows = []
    for name in measured[0].result["metrics"]:
        cells = [name]
        for one in measured:
            low, high = one.intervals.get(name, (np.nan, np.nan))
            cells += [number_words(one.known[name]), f"{low:.3f} to {high:.3f}"]
        rows.append(cells)
    for name, title in MEMORY.items():
        rows.append([title, *(w for one in measured for w in (f"{one.result[name]:.2f}", ""))])
    words = "Measured on the test split, which took no part in training or search."
    source = (
        "Memory in column int8 is read from the exported graph, in float32 it is a closed form."
    )
    return f"## Metrics\n\n{words}\n{source} 1 kB is 1024 bytes.\n\n{_table(head, rows)}"


def _classes(rows: Sequence[Mapping[str, Any]]) -> str:
    """Precision and recall of each class, with two-sided intervals (Clopper & Pearson 1934)."""
    head = ["class", "images", "answers", "right", "precision (95 %)", "recall (95 %)"]
    cells = []
    for row in rows:
        images, answers, right = (int(row[name]) for name in ("images", "answers", "right"))
        shares = [_share(right, answers), _share(right, images)]
        cells.append([row["class"], images, answers, right, *shares])
    return f"## Classes (float32)\n\n{_table(head, cells)}"


def _share(right: int, among: int) -> str:
    if among == 0:
        return "none"
    low, high = binomtest(right, among).proportion_ci(method="exact")
    return f"{right / among:.2f} ({low:.2f} to {high:.2f})"


def _latency(paces: Mapping[str, Mapping[str, Any]]) -> str:
    """Milliseconds for one image, and the machine."""
    if not paces:
        return ""
    rows = [(n, f"{p['median_ms']:.3f}", f"{p['p95_ms']:.3f}") for n, p in paces.items()]
    one = next(iter(paces.values()))
    words = f"{one['runs']} runs, one image, {counted(one['threads'], 'thread')}.\nOn {one['on']}."
    table = _table(("file", "median, ms", "95 % within, ms"), rows)
    return f"## Latency\n\n{words}\n\n{table}"


def _found(
    result: Mapping[str, Any], command: Sequence[str], search: Mapping[str, Any] | None
) -> str:
    """How the configuration was found, and the commands that reproduce the network."""
    versions = environment()
    rows = [("seed of the training", result["seeds"][0]), ("epochs", result["epochs"])]
    rows += [("optimizer", result["optimizer"]), *_search(search)]
    packages = {name: metadata.version(name) for name in PACKAGES}
    rows += [
        *versions["versions"].items(),
        *packages.items(),
        ("processor", versions["processor"]),
    ]
    rows.append(("revision of the program", versions["git_revision"] or "not in a repository"))
    steps = [shlex.join(["python", "main.py", *map(str, command)])]
    if search is not None:
        began = ["-m", "baselines"] if search.get("method") else ["optimizer.py"]
        steps.insert(0, shlex.join(["python", *began, *search.get("arguments", [])]))
    shown = "".join(f"    {step}\n" for step in steps)
    return f"## How it was made\n\n{_table(('', ''), rows)}\nTo reproduce it:\n\n{shown}"


def _search(search: Mapping[str, Any] | None) -> Iterator[tuple[str, Any]]:
    """Rows about the search, from its run.json."""
    if search is None:
        yield "found by", "no search: the configuration was given"
        return
    settings = search["settings"]
    yield "found by", f"the search {search.get('name')}"
    yield "its seed", settings["seed"]
    yield "its limits", "; ".join(settings["constraints"])
    budget = {
        "time": in_words(settings["max_time"]),
        "epochs": settings.get("max_total_epochs"),
        "generations": settings.get("max_generations"),
    }
    yield "its budget", ", ".join(f"{name}: {v}" for name, v in budget.items() if v is not None)
    sessions = [one.get("reason") for one in search.get("sessions", [])]
    yield (
        "how it ended",
        f"{sessions[-1]} ({counted(len(sessions), 'session')})" if sessions else "",
    )
