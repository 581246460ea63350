"""Groups comparable runs, and the runs of one method with different seeds."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from engine.storage.resuming import MAY_DIFFER
from engine.storage.spaces import SPACES
from reports.reading import METHODS, Run
from search.constraints import Ranking
from utils import canonical_json

# Settings that do not distinguish methods: seed, names, budgets, those without effect on results.
_NO_METHOD = {*MAY_DIFFER, "seed", "run_name", "runs_dir", "device", "threads"} - {"space"}
_HASH = slice(7, 13)  # of "sha256:...": identifies a space in a file
# Runs that differ in these belong to different groups: their objectives are not comparable.
_COMPARABLE = ("objective", "epochs", "folds", "image_size", "split", "crop")


@dataclass(frozen=True)
class ExperimentGroup:
    """Runs under the same constraints on the same data.

    methods: by label, the runs that differ only in their seeds and budgets.
    """

    title: str  # its differences from the other groups
    methods: dict[str, list[Run]]

    @property
    def runs(self) -> list[Run]:
        return [run for runs in self.methods.values() for run in runs]

    @property
    def ranking(self) -> Ranking:
        """Objective and constraints of all runs."""
        return self.runs[0].ranking

    @property
    def labelled(self) -> list[tuple[str, Run]]:
        """Each run with the label of its method."""
        return [(label, run) for label, runs in self.methods.items() for run in runs]


def group(runs: Sequence[Run]) -> list[ExperimentGroup]:
    """Groups in the order of their first runs; methods in the order of METHODS, others last."""
    kinds: dict[str, list[Run]] = {}
    for run in runs:
        kinds.setdefault(canonical_json(_asked(run)), []).append(run)
    facts = [_asked(same[0]) for same in kinds.values()]
    varying = [key for key in facts[0] if len({canonical_json(one[key]) for one in facts}) > 1]
    shown = [key for key in varying if key != "constraints"]
    return [ExperimentGroup(_title(same[0], shown), _methods(same)) for same in kinds.values()]


def _asked(run: Run) -> dict[str, Any]:
    facts = {key: getattr(run.settings, key) for key in _COMPARABLE}
    facts["constraints"] = sorted(map(str, run.ranking.constraints))
    return {**facts, "data": run.data.get("fingerprint") or run.data.get("name")}


def _title(run: Run, varying: Sequence[str]) -> str:
    facts = asdict(run.settings) | {"data": run.data.get("name", "unknown")}
    limits = " and ".join(map(str, run.ranking.constraints)) or "no constraints"
    return ", ".join([limits, *(f"{key}: {facts[key]}" for key in varying)])


def _settings(run: Run) -> dict[str, Any]:
    """The settings, with the space by its content, as a file may change or have two names."""
    space = Path(run.settings.space).name
    if run.settings.space not in SPACES:
        space = f"{space} {run.record.get('space_hash', '')[_HASH]}".rstrip()
    return asdict(run.settings) | {"space": space}


def _methods(runs: Sequence[Run]) -> dict[str, list[Run]]:
    ignored = {*_NO_METHOD, *_COMPARABLE, "constraints", "hyperband", "sampler"}
    variants: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        unused = ignored | ({"num_children"} if run.settings.hyperband else set())
        others = {key: one for key, one in _settings(run).items() if key not in unused}
        variants.setdefault((run.method, canonical_json(others)), []).append(run)
    methods = {}
    for name in dict.fromkeys([*METHODS.values(), *(method for method, _ in variants)]):
        same = [found for (method, _), found in variants.items() if method == name]
        settings = [_settings(found[0]) for found in same]
        names = [key for key in (settings[0] if settings else {}) if key not in _NO_METHOD]
        differing = [key for key in names if len({str(one[key]) for one in settings}) > 1]
        for found, values in zip(same, settings, strict=True):
            label = ", ".join([name, *(f"{key} {values[key]}" for key in differing)])
            methods[label] = sorted(found, key=lambda run: run.settings.seed)
    return methods
