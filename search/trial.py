"""The records that all modules share: a job, and a trial, which is a job with its outcome.

A trial is one line of a run's journal, `trials.jsonl`: one configuration at one rung.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from utils import canonical_json, derive_seed, no_number, without_nan

JOURNAL_VERSION = 2
STATUSES = ("ok", "failed", "out_of_memory", "timeout", "diverged")
# The JSON types of a record's entries.
_KINDS: dict[str, type] = {
    **dict.fromkeys(
        ("trial", "generation", "bracket", "rung", "epochs", "cost_epochs", "repeat"), int
    ),
    **dict.fromkeys(("config", "metrics", "meta"), dict),
    **dict.fromkeys(("parents", "folds"), list),
    "operator": str,
}


@dataclass(frozen=True)
class Job:
    """Train a configuration up to `epochs` epochs in total: plain data for any process."""

    trial: int  # number of the configuration in its run, from 0
    generation: int  # 0 is the initial population
    bracket: int  # Hyperband's s; 0 trains in full at once
    rung: int  # position in its bracket, from 0
    epochs: int  # total after this job
    cost_epochs: int  # epochs that this job adds to the rung before
    config: dict[str, Any] = field(hash=False)
    parents: tuple[int, ...] = ()
    operator: str = "sample"  # default, sample, mutate, perturb or recombine
    repeat: int = 0  # counts re-evaluations of the same configuration

    @property
    def key(self) -> tuple[int, int, int]:
        """Identifies the job within its run."""
        return self.trial, self.epochs, self.repeat


@dataclass(frozen=True)
class Trial(Job):
    """A finished job. Metrics that are not finite are None."""

    status: str = "ok"  # one of STATUSES
    error: str | None = None
    metrics: dict[str, float | None] = field(default_factory=dict, hash=False)
    folds: list[dict[str, Any]] = field(default_factory=list, hash=False)
    # What may differ between identical runs.
    meta: dict[str, Any] = field(default_factory=dict, hash=False)

    def fully_trained(self, epochs: int) -> bool:
        """Whether it succeeded with the epochs of a full training."""
        return self.status == "ok" and self.epochs == epochs

    def to_line(self) -> str:
        """One line of the journal, without the line break."""
        return json.dumps({"v": JOURNAL_VERSION, **without_nan(asdict(self))}, allow_nan=False)

    @classmethod
    def from_line(cls, line: str) -> "Trial":
        """Reads a line of `to_line`. ValueError if it is not such a record."""
        record = json.loads(line, parse_constant=no_number)
        version = record.pop("v", None) if isinstance(record, dict) else None
        if version != JOURNAL_VERSION:
            raise ValueError(f"not a record of version {JOURNAL_VERSION}")
        if set(record) != {item.name for item in fields(cls)} or record["status"] not in STATUSES:
            raise ValueError("its keys are not those of a trial")
        for name, kind in _KINDS.items():
            if type(record[name]) is not kind:
                raise ValueError(f"its {name} is {record[name]!r}")
        for name, value in record["metrics"].items():
            if isinstance(value, bool) or not isinstance(value, int | float | None):
                raise ValueError(f"its metric {name} is {value!r}")
        return cls(**{**record, "parents": tuple(record["parents"])})


def canonical(config: Mapping[str, Any]) -> str:
    """Text that is equal for equal configurations.

    config: active hyperparameters with native values only.
    """
    return canonical_json(dict(config))


def evaluation_seed(run_seed: int, config: Mapping[str, Any], repeat: int = 0) -> int:
    """The seed of an evaluation.

    It does not depend on epochs, trial number or rung, so that training can resume exactly.
    """
    return derive_seed(run_seed, "evaluation", canonical(config), repeat)
