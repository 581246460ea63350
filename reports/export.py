"""A run in the formats of other viewers: an Optuna journal for optuna-dashboard, a flat CSV.

Only reads the run folder, so it also exports a running search.
"""

import datetime
import math
import os
import tempfile
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ConfigSpace.hyperparameters import IntegerHyperparameter

from engine.storage.spaces import own_space
from reports.reading import Run
from search.space import Space
from search.trial import Trial
from search.values import choices
from utils import InputError, canonical_json, without_nan, write_csv

LINEAGE = ("trial", "generation", "bracket", "rung", "epochs", "cost_epochs", "repeat", "operator")


def export_csv(run: Run, path: Path) -> int:
    """Writes one row per line of the journal (a configuration at a rung); returns their number.

    Columns: the trial's origin, `config.*`, `metrics.*`, seconds of its training, seconds of the
    run at its end. Missing values are empty.
    """
    rows: list[dict[str, Any]] = []
    for trial in run.trials:
        row: dict[str, Any] = {name: getattr(trial, name) for name in LINEAGE}
        row |= {"parents": " ".join(map(str, trial.parents))}
        row |= {"status": trial.status, "error": trial.error}
        row |= {f"config.{name}": value for name, value in trial.config.items()}
        row |= {f"metrics.{name}": value for name, value in trial.metrics.items()}
        rows.append(row | {name: trial.meta.get(name) for name in ("seconds", "elapsed")})
    names = dict.fromkeys(name for row in rows for name in row)
    groups = [[n for n in names if n.startswith(group)] for group in ("config.", "metrics.")]
    order = [*LINEAGE, "parents", "status", "error", *groups[0], *groups[1], "seconds", "elapsed"]
    write_csv(path, order, rows)
    return len(rows)


def export_optuna(run: Run, path: Path) -> int:
    """Writes an Optuna journal with a study named like the run; returns its number of trials.

    One trial per configuration: complete if trained in full, pruned if Hyperband stopped it (or
    a running search has not promoted it yet), else failed. Values: the objective, and the metric
    of the first limit on another metric, since optuna-dashboard shows which trials meet the limits
    with two objectives only. Intermediate values are the objective at the ends of rungs, by
    epochs. Times count from the start of the first session.
    """
    try:
        import optuna
        from optuna.storages.journal import JournalFileBackend
    except ImportError:
        raise InputError(
            "--export optuna needs Optuna: pip install -r requirements-viewers.txt"
        ) from None
    ranking = run.ranking
    second = [limit for limit in ranking.constraints if limit.metric != ranking.metric][:1]
    directions = ["maximize" if ranking.sign > 0 else "minimize"]
    directions += ["minimize" if limit.sense == "<=" else "maximize" for limit in second]
    names = [ranking.metric, *(limit.metric for limit in second)]
    rungs: dict[int, list[Trial]] = {}
    for trial in sorted(run.trials, key=lambda trial: trial.key):
        rungs.setdefault(trial.trial, []).append(trial)
    space = Space.load(own_space(run.path, run.settings.space)).configspace
    ranges = {name: _distribution(space[name]) for name in space}
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=f".{path.name}.") as scratch:
        file = Path(scratch) / path.name
        study = optuna.create_study(
            storage=optuna.storages.JournalStorage(JournalFileBackend(str(file))),
            study_name=run.name,
            directions=directions,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            study.set_metric_names(names)
        study.set_user_attr("objective", run.settings.objective)
        study.set_user_attr("constraints", [str(limit) for limit in ranking.constraints])
        study.add_trials([_frozen(run, trials, names, ranges) for trials in rungs.values()])
        os.replace(file, path)  # atomic
    return len(rungs)


def _frozen(
    run: Run, rungs: Sequence[Trial], names: Sequence[str], ranges: Mapping[str, Any]
) -> Any:
    """An Optuna trial for a configuration, from its trials in order of epochs."""
    from optuna.trial import TrialState, create_trial

    last, seconds = rungs[-1], [rung.meta.get("seconds", 0.0) for rung in rungs]
    values = [last.metrics.get(name) for name in names]
    misses = [limit.residual(last.metrics) for limit in run.ranking.constraints]
    state = TrialState.COMPLETE if last.epochs >= run.settings.epochs else TrialState.PRUNED
    if last.status != "ok" or None in values:
        state = TrialState.FAIL
    notes = {name: getattr(last, name) for name in (*LINEAGE, "status", "error")}
    notes |= {"parents": list(last.parents), "seconds": sum(seconds), **last.metrics}
    objectives = {rung.epochs: rung.metrics.get(names[0]) for rung in rungs}
    trial = create_trial(
        state=state,
        values=None if state == TrialState.FAIL else values,
        params={name: _scalar(value) for name, value in last.config.items()},
        distributions={name: ranges[name] for name in last.config},
        user_attrs={name: value for name, value in notes.items() if value is not None},
        # The dashboard reads them here. A missing metric gives infinity, which JSON does not have.
        system_attrs={"constraints": misses} if all(map(math.isfinite, misses)) else {},
        intermediate_values={at: one for at, one in objectives.items() if one is not None},
    )
    begun = run.record["sessions"][0]["start"]
    start = datetime.datetime.fromisoformat(begun).replace(tzinfo=None)
    elapsed = [rung.meta.get("elapsed", 0.0) for rung in rungs]
    trial.datetime_start = start + datetime.timedelta(seconds=max(0.0, elapsed[0] - seconds[0]))
    trial.datetime_complete = start + datetime.timedelta(seconds=max(elapsed))
    return trial


def _scalar(value: Any) -> Any:
    """A value that Optuna accepts; a list, such as a kernel's sides, becomes text."""
    plain = without_nan(value)
    return canonical_json(plain) if isinstance(plain, list | dict) else plain


def _distribution(declared: Any) -> Any:
    """Optuna's distribution of a hyperparameter."""
    from optuna import distributions

    if known := choices(declared):
        return distributions.CategoricalDistribution([*map(_scalar, known)])
    whole = isinstance(declared, IntegerHyperparameter)
    made = distributions.IntDistribution if whole else distributions.FloatDistribution
    return made(declared.lower, declared.upper, log=declared.log)
