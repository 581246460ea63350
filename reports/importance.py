"""Importance of hyperparameters: permutation importance in random forests, with its reliability.

Breiman, "Random Forests", Machine Learning 45 (2001), section 10: how much worse a forest
predicts held-out configurations when one hyperparameter is shuffled.
"""

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from reports.reading import Run
from search.trial import canonical
from utils import derive_rng, derive_seed

MIN_TRIALS = 40  # with fewer, a forest of a dozen hyperparameters does not generalise
MAX_TRIALS = 600  # limits the time; of more, a random sample is used
RELIABLE = 0.3  # R2 below which the order of the hyperparameters is unreliable
LARGEST = 1e38  # trees compare in single precision
TREES, FOLDS, REPEATS = 40, 3, 3


def importance(
    runs: Sequence[Run], metrics: Iterable[str]
) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """(names of the hyperparameters, {metric: {"trials", "r2", "values"}}).

    Over configurations trained in full, each once per seed (methods with the same seed share their
    initial population). values: mean loss of R2 on held-out configurations by hyperparameter, in
    the order of names; r2: of the unshuffled forest, mean over the folds. Without the metrics that
    fewer than MIN_TRIALS have, or all with the same value.
    """
    unique = {
        (run.settings.seed, canonical(trial.config)): (run, trial)
        for run in runs
        for trial in run.full
    }
    rows = [unique[key] for key in sorted(unique)]
    if len(rows) > MAX_TRIALS:
        chosen = derive_rng("importance", len(rows)).choice(len(rows), MAX_TRIALS, replace=False)
        rows = [rows[i] for i in sorted(chosen)]
    names = sorted({name for _, trial in rows for name in trial.config})
    features = encode([trial.config for _, trial in rows], names)
    found = {
        metric: _forest(features, [trial.metrics.get(metric) for _, trial in rows], metric)
        for metric in metrics
    }
    return names, {metric: forest for metric, forest in found.items() if forest}


def encode(configs: Sequence[dict[str, Any]], names: Sequence[str]) -> np.ndarray:
    """(configurations, hyperparameters) as numbers. Words become alphabetic ranks; an inactive
    value is below the smallest. Forests use the order only, so logarithms are unnecessary.
    """
    columns = []
    for name in names:
        values = column_of(configs, name)
        words = sorted({value for value in values if isinstance(value, str)})
        numbers = [words.index(v) if isinstance(v, str) else v for v in values]
        known = [float(number) for number in numbers if number is not None]
        absent = min(known) - max(1.0, max(known) - min(known))
        columns.append([absent if number is None else float(number) for number in numbers])
    return np.array(columns).T.clip(-LARGEST, LARGEST)


def column_of(configs: Sequence[dict[str, Any]], name: str) -> list[Any]:
    """The values of a hyperparameter, None if not active: all numbers (or booleans), or all
    words.
    """
    known = [config[name] for config in configs if name in config]
    numbers = all(isinstance(value, int | float) for value in known)
    return [
        None if name not in one else one[name] if numbers else str(one[name]) for one in configs
    ]


def _forest(
    features: np.ndarray, values: Sequence[float | None], metric: str
) -> dict[str, Any] | None:
    usable = [i for i, value in enumerate(values) if value is not None]
    y = np.array([values[i] for i in usable])
    if len(y) < MIN_TRIALS or np.ptp(y) == 0:
        return None
    from sklearn.ensemble import RandomForestRegressor
    from sklearn.inspection import permutation_importance
    from sklearn.model_selection import KFold

    seed = derive_seed("forest", metric) % 2**32
    x, scores, losses = features[usable], [], []
    for train, test in KFold(FOLDS, shuffle=True, random_state=seed).split(x):
        forest = RandomForestRegressor(TREES, min_samples_leaf=2, n_jobs=1, random_state=seed)
        forest.fit(x[train], y[train])
        scores.append(forest.score(x[test], y[test]))
        given = {"n_repeats": REPEATS, "n_jobs": 1, "random_state": seed}
        losses.append(permutation_importance(forest, x[test], y[test], **given).importances_mean)
    means = np.mean(losses, axis=0).tolist()
    return {"trials": len(y), "r2": float(np.mean(scores)), "values": means}
