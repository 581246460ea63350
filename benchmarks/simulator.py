"""The simulated target: how good it is, and how it is made of recorded learning curves.

    python -m benchmarks.simulator
    python -m benchmarks.simulator --fit

Without --fit: cross-validation over the recorded configurations. The surrogate of the others
(benchmarks/surrogate.py) predicts each configuration. Printed, for top3 and precision after 3, 6,
12, 25 and 50 epochs: the share of the variance explained (R2), the rank correlation (Spearman) and
the mean absolute error against the mean of the three folds, which has noise itself; and the
deviation of the noise of that mean, as measured between folds and as the simulator draws it.

--fit: fits all recorded curves, and sets the problems of benchmarks/problems/simulated.py: for
each limit on parameters the bound on precision that 7 % of random networks within the limits
meet, and the best noiseless objective that a long search finds. Writes simulator.npz and
simulator.json in benchmarks/data/. Who does that makes new problems, not comparable with the old.
"""

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from scipy.stats import spearmanr

from benchmarks.curves import METRICS, PACKED, Curves, unpack
from benchmarks.problems import simulated
from benchmarks.surrogate import (
    FITTED,
    Surrogate,
    fit,
    fold_residuals,
    known,
    sizes,
)
from engine.command import command
from search.constraints import Ranking
from search.evolution import propose, survivors
from search.space import Space
from search.trial import Trial, canonical
from utils import derive_rng, write_json

EPOCHS = (3, 6, 12, 25, 50)
SHOWN = ("top3", "precision")
PARTS = 5  # of the cross-validation
NOISE_SEEDS = 20
FEASIBLE_SHARE = 0.07
DRAWN = 20_000  # random networks, for the bounds and as a beginning for the search
POPULATION, GENERATIONS, CHILDREN = 100, 150, 200


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; the exit code."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--fit", action="store_true", help="make the simulator anew")
    parser.add_argument("--curves", default=str(PACKED), help="the recorded file [%(default)s]")
    given = parser.parse_args(argv)
    return command("simulator.py", lambda: run(given))


def run(given: argparse.Namespace) -> None:
    """Prints the table of the cross-validation, after fitting if asked for."""
    curves = unpack(Path(given.curves))
    if given.fit:
        surrogate = fit(curves)
        surrogate.save(FITTED)
        facts = {"configurations": len(curves.configs), "problems": problems(surrogate)}
        write_json(simulated.FACTS, facts)
    print(report(curves))


def report(curves: Curves) -> str:
    """The table of the cross-validation and of the noise, and the time of an evaluation."""
    started = time.perf_counter()
    predicted, drawn = cross_validate(curves)
    recorded = known(curves.curves.astype(float))
    truth = recorded.mean(axis=1)
    residuals = fold_residuals(recorded) / np.sqrt(recorded.shape[1])
    lines = [f"{len(curves.configs)} configurations; cross-validation in {PARTS} parts"]
    lines += ["| metric | epochs | R2 | rank correlation | mean error | noise measured | drawn |"]
    lines += ["| --- " * 7 + "|"]
    for name in SHOWN:
        for epochs in (point for point in EPOCHS if point <= recorded.shape[2]):
            at = epochs - 1, METRICS.index(name)
            real, guess = truth[:, *at], predicted[:, *at]
            r2 = 1 - np.mean((real - guess) ** 2) / np.var(real)
            values = r2, spearmanr(real, guess).statistic, np.mean(np.abs(real - guess))
            noise = (np.sqrt(np.mean(part[:, :, *at] ** 2)) for part in (residuals, drawn))
            cells = [f"{v:.3f}" for v in values] + [f"{v:.4f}" for v in noise]
            lines.append(f"| {name} | {epochs} | " + " | ".join(cells) + " |")
    lines.append(f"in {time.perf_counter() - started:.0f} s")
    return "\n".join(lines)


def cross_validate(curves: Curves) -> tuple[np.ndarray, np.ndarray]:
    """Of configurations left out: noiseless metrics (N, E, 5), and noise (N, seeds, E, 5)."""
    count, _, *shape = curves.curves.shape
    order = derive_rng("simulator", "parts").permutation(count)
    predicted, drawn = np.empty((count, *shape)), np.empty((count, NOISE_SEEDS, *shape))
    whole = slice(None)
    for part in np.array_split(order, PARTS):
        kept = np.setdiff1d(order, part)
        surrogate = fit(
            curves._replace(configs=[curves.configs[i] for i in kept], curves=curves.curves[kept])
        )
        for i in part:
            config = curves.configs[i]
            predicted[i] = surrogate.mean(config, whole)
            noisy = [surrogate.measured(config, whole, seed) for seed in range(NOISE_SEEDS)]
            drawn[i] = noisy - predicted[i]
    return predicted, drawn


def problems(surrogate: Surrogate) -> dict[str, Any]:
    """Bound, optimum and best configuration of each problem, by name."""
    space = Space.load(simulated.ROOT / "configs" / "space.json")
    pool = [space.sample(derive_rng("simulator", "pool", i)) for i in range(DRAWN)]
    found = {}
    for kind in (simulated.Small, simulated.Middle, simulated.Large):
        cheap = Ranking.parse(kind.objective, simulated.limits(kind.size, 0)[:-1])
        trials = [finished(i, config, surrogate) for i, config in enumerate(pool)]
        within = [trial for trial in trials if cheap.feasible(trial)]
        precisions = [trial.metrics["precision"] for trial in within]
        bound = round(float(np.quantile(precisions, 1 - FEASIBLE_SHARE)), 2)
        ranking = Ranking.parse(kind.objective, simulated.limits(kind.size, bound))
        best = long_search(space, surrogate, ranking, within)
        found[kind.name] = {
            "precision": bound,
            "feasible_share": float(np.mean(np.array(precisions) >= bound)),
            "optimum": best.metrics[ranking.metric],
            "optimum_among_random": min(within, key=ranking.key).metrics[ranking.metric],
            "best": best.config,
        }
        print(kind.name, found[kind.name], file=sys.stderr, flush=True)
    return found


def finished(number: int, config: dict[str, Any], surrogate: Surrogate) -> Trial:
    """A full training without noise."""
    values = surrogate.mean(config, surrogate.epochs - 1).tolist()
    metrics = {**dict(zip(METRICS, values, strict=True)), **sizes(config)}
    epochs = surrogate.epochs
    return Trial(number, 0, 0, 0, epochs, epochs, config, metrics=metrics)


def long_search(
    space: Space, surrogate: Surrogate, ranking: Ranking, beginning: Sequence[Trial]
) -> Trial:
    """The best of an evolution without noise: operators of the search, and small steps."""
    population = survivors([], beginning, ranking.key, POPULATION)
    seen = {canonical(trial.config) for trial in population}
    number = DRAWN
    for _ in range(GENERATIONS):
        children = []
        for _ in range(CHILDREN):
            number += 1
            rng = derive_rng("simulator", "search", number)
            config, _, _ = propose(space, population, ranking.key, 2, 0.5, rng)
            if rng.random() < 0.7:
                config = nudged(space, config, rng)
            if canonical(config) not in seen:
                seen.add(canonical(config))
                children.append(finished(number, config, surrogate))
        population = survivors(population, children, ranking.key, POPULATION)
    return population[0]


def nudged(space: Space, config: dict[str, Any], rng: np.random.Generator) -> dict[str, Any]:
    """About half of the numbers moved a little, on the scale of the space."""
    values = dict(config)
    for name in config:
        hyperparameter = space.configspace[name]
        if hasattr(hyperparameter, "lower") and rng.random() < 0.5:
            place = float(hyperparameter.to_vector(config[name]))
            place += rng.normal() * 10 ** rng.uniform(-3, -0.5)
            values[name] = hyperparameter.to_value(min(max(place, 0.0), 1.0))
    return space.complete(values, rng) or config


if __name__ == "__main__":
    sys.exit(main())
