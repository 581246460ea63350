"""`card.md` of an exported network: its facts, its metrics, how to use and reproduce it."""

import shlex
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deploy.facts import PIXELS
from engine.storage.environment import environment, version
from engine.wording import counted, in_words, number_words
from evaluation import classes, evidence, thresholds
from evaluation.comparison import Measured, pairs

PACKAGES = ("onnx", "onnxruntime")
FORMS = ("float32", "int8")
MEMORY = {"flash_kb": "weights in int8, kB", "ram_kb": "peak of activations in int8, kB"}
BUDGETS = ("max_time", "max_total_epochs", "max_generations")
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
The metadata holds class names, image size, crop, metrics and limits. `check.npz` holds pixels and
logits of a few test images, to check a port to another program.

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
    latencies: Mapping[str, Mapping[str, Any]],
    images: tuple[int, int],
    command: Sequence[str],
    search: Mapping[str, Any] | None,
) -> str:
    """The card of a network in float32 and, if it exists, in int8.

    latencies: by file. images: numbers of training and test images. command: the arguments of
    main.py. search: the run.json of the search that found it.
    """
    result = measured[0].result
    dataset, names = result["dataset"], result["dataset"]["class_names"]
    loading = LOADING.format(pixels=PIXELS, size=dataset["image_size"])
    parts = [
        f"# Card of a network for {dataset['name']}\n",
        _about(folder, result, images),
        loading,
        _limits(measured),
        _threshold(measured),
        _metrics(measured),
        *([f"```\n{pairs(measured).strip()}\n```\n"] if len(measured) > 1 else []),
        _classes(measured[0].by_class),
        _latency(latencies),
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
    crop, side = data["crop"], data["image_size"]
    rows = [
        ("task", f"one of {len(data['class_names'])} classes for each image"),
        ("classes, in the order of the logits", ", ".join(data["class_names"])),
        ("trained on", f"{data['name']}: {counts}"),
        ("images", f"{side} x {side} pixels, RGB, crop: {crop}"),
        ("fingerprint of the training images", f"`{data['fingerprint']}`"),
        ("parameters", f"{result['num_params']:,}"),
        ("multiply-adds of one image", f"{result['macs']:,}"),
        *((title, f"{result[name]:.2f}") for name, title in MEMORY.items()),
    ]
    if result.get("threshold") is not None:
        rows.append(("threshold", f"{result['threshold']:g}: below it the answer is not sure"))
    note = "\n1 kB is 1024 bytes.\n" + (f"\nNote: {data['note']}\n" if data["note"] else "")
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
            cells += [number_words(limit["value"]), evidence.in_words(limit)]
        rows.append(cells)
    return f"## Limits\n\n{_table(head, rows) if rows else 'None was set.'}"


def _threshold(measured: Sequence[Measured]) -> str:
    """What the threshold on the confidence achieves, in float32 and int8; '' without one."""
    lines = []
    for form, one in zip(FORMS, measured, strict=False):
        words = [f"    {line}" for line in thresholds.words(one.result)]
        lines += [f"{form}:", *words] if words else []
    return "\n".join(["## Threshold\n", *(f"    {line}" for line in lines), ""]) if lines else ""


def _metrics(measured: Sequence[Measured]) -> str:
    """Each metric on the test split with its interval."""
    head = ["metric", *(w for f in FORMS[: len(measured)] for w in (f, "95 % interval"))]
    rows = []
    for name in measured[0].result["metrics"]:
        cells = [name]
        for one in measured:
            low, high = one.intervals.get(name, (np.nan, np.nan))
            cells += [number_words(one.known[name]), f"{low:.3f} to {high:.3f}"]
        rows.append(cells)
    words = "Measured on the test split, which took no part in training or search."
    return f"## Metrics\n\n{words}\n\n{_table(head, rows)}"


def _classes(rows: Sequence[Mapping[str, Any]]) -> str:
    """Precision and recall of each class."""
    head, *cells = classes.cells(rows)
    words = "Least precise first; at least: the one-sided 95 % bound of the precision."
    return f"## Classes (float32)\n\n{words}\n\n{_table(head, cells)}"


def _latency(latencies: Mapping[str, Mapping[str, Any]]) -> str:
    """Milliseconds for one image, and the machine."""
    if not latencies:
        return ""
    rows = [(n, f"{one['median_ms']:.3f}", f"{one['p95_ms']:.3f}") for n, one in latencies.items()]
    one = next(iter(latencies.values()))
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
    packages = {name: version(name) for name in PACKAGES}
    rows += [
        *versions["versions"].items(),
        *packages.items(),
        ("processor", versions["processor"]),
    ]
    rows.append(("revision of the program", versions["git_revision"] or "not in a repository"))
    steps = [shlex.join(["python", "main.py", *map(str, command)])]
    if search is not None:
        steps.insert(0, shlex.join(["python", *_command(search)]))
    shown = "".join(f"    {step}\n" for step in steps)
    return f"## How it was made\n\n{_table(('', ''), rows)}\nTo reproduce it:\n\n{shown}"


def _command(search: Mapping[str, Any]) -> Iterator[str]:
    """The arguments of the first session; after a resume, then the budget of the last."""
    yield from ("-m", "baselines") if search.get("method") else ("optimizer.py",)
    yield from search.get("arguments", [])
    for name in BUDGETS if len(search.get("sessions", [])) > 1 else ():
        if (value := search["settings"].get(name)) is not None:
            yield from (f"--{name}", f"{value:.12g}")


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
