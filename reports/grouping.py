"""Which runs may be compared, and which are the same method with another seed."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from engine.storage.resuming import MAY_DIFFER
from reports.reading import METHODS, Run
from utils import canonical_json

# What makes no other method: the seed, names, what results do not depend on, and budgets.
_NO_METHOD = {*MAY_DIFFER, "seed", "run_name", "runs_dir", "device", "threads"}
# What makes another question: values of the objective cannot be compared across these.
_QUESTION = ("objective", "epochs", "folds", "image_size", "split", "crop")


@dataclass(frozen=True)
class Method:
    """Runs that differ in nothing but their seeds and budgets."""

    label: str
    runs: list[Run]


@dataclass(frozen=True)
class Question:
    """Methods under the same constraints on the same data."""

    title: str  # what sets it apart from the other questions
    methods: list[Method]

    @property
    def runs(self) -> list[Run]:
        return [run for method in self.methods for run in method.runs]


def group(runs: Sequence[Run]) -> list[Question]:
    """Questions in the order of their first runs; methods in the order of METHODS, others last."""
    kinds: dict[str, list[Run]] = {}
    for run in runs:
        kinds.setdefault(canonical_json(_asked(run)), []).append(run)
    facts = [_asked(same[0]) for same in kinds.values()]
    varying = [key for key in facts[0] if len({canonical_json(one[key]) for one in facts}) > 1]
    return [
        Question(_title(same[0], [key for key in varying if key != "constraints"]), _methods(same))
        for same in kinds.values()
    ]


def _asked(run: Run) -> dict[str, Any]:
    data = run.record.get("data") or {}
    facts = {key: getattr(run.settings, key) for key in _QUESTION}
    facts["constraints"] = sorted(map(str, run.ranking.constraints))
    return {**facts, "data": data.get("fingerprint") or data.get("name")}


def _title(run: Run, varying: Sequence[str]) -> str:
    words = [" and ".join(map(str, run.ranking.constraints)) or "no constraints"]
    for key in varying:
        if key == "data":
            data = run.record.get("data") or {}
            words.append(f"data: {data.get('name', 'unknown')}")
        else:
            words.append(f"{key}: {getattr(run.settings, key)}")
    return ", ".join(words)


def _methods(runs: Sequence[Run]) -> list[Method]:
    variants: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        ignored = {*_NO_METHOD, *_QUESTION, "constraints", "hyperband", "sampler"}
        if run.settings.hyperband:
            ignored.add("num_children")  # its brackets decide
        others = {key: value for key, value in asdict(run.settings).items() if key not in ignored}
        variants.setdefault((run.method, canonical_json(others)), []).append(run)
    methods = []
    for name in dict.fromkeys([*METHODS.values(), *(method for method, _ in variants)]):
        same = [found for (method, _), found in variants.items() if method == name]
        settings = [asdict(found[0].settings) for found in same]
        differing = [
            key
            for key in (settings[0] if settings else {})
            if key not in _NO_METHOD and len({str(one[key]) for one in settings}) > 1
        ]
        for found, values in zip(same, settings, strict=True):
            label = ", ".join([name, *(f"{key} {values[key]}" for key in differing)])
            methods.append(Method(label, sorted(found, key=lambda run: run.settings.seed)))
    return methods
