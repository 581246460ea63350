"""Surrogates of YAHPO Gym: networks and learners on data sets of OpenML, at several fidelities.

Pfisterer et al. 2022, "YAHPO Gym": a network predicts the metrics of a training. The folder
THIRD_PARTY_DIR holds yahpo/SCENARIO/model.onnx and encoding.json of
github.com/slds-lmu/yahpo_data (Apache-2.0): lcbench of tag v1.0.2, the others of branch iaml_ex.

    lcbench      neural networks, 1 to 52 epochs (Zimmer et al. 2021, "Auto-PyTorch Tabular")
    rbv2_svm     support vector machines with a conditional kernel
    iaml_ranger  random forests

An epoch of the last two is a twentieth of the training data.
"""

import json
import os
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from ConfigSpace import Categorical, ConfigurationSpace, EqualsCondition, Float, Integer

from benchmarks.problems.base import Config, Problem, made_of
from utils import InputError

IMPUTED = ("mean", "median", "hist")
SMALLEST, LARGEST = float(np.exp(-10)), float(np.exp(10))


class Surrogate(Problem):
    """A data set of a scenario. The surrogate predicts the mean: there is no noise."""

    scenario: str
    task_name = "task_id"
    task: str
    categorical: tuple[str, ...] = ()  # the order of the surrogate's inputs
    numeric: tuple[str, ...]
    outputs: tuple[str, ...]

    def fidelity(self, epochs: int) -> dict[str, float]:
        """The fidelity inputs of the surrogate."""
        return {"trainsize": epochs / self.epochs}

    def metrics(self, config: Config, epochs: int) -> dict[str, float]:
        """The surrogate's predictions; an inactive hyperparameter is 0."""
        session, encoding = surrogate(self.scenario)
        codes = [encoding[self.task_name][self.task]]
        codes += [encoding[name].get(config.get(name), 0) for name in self.categorical]
        known = {**config, **self.fidelity(epochs)}
        numbers = [known.get(name, 0) for name in self.numeric]
        inputs = {"x_cat": np.array([codes], np.int32), "x_cont": np.array([numbers], np.float32)}
        return dict(zip(self.outputs, map(float, session.run(None, inputs)[0][0]), strict=True))


class LCBench(Surrogate):
    """A task of LCBench."""

    scenario, task_name = "lcbench", "OpenML_task_id"
    numeric = ("epoch", "batch_size", "learning_rate", "momentum", "weight_decay")
    numeric += ("num_layers", "max_units", "max_dropout")
    outputs = ("time", "accuracy", "cross_entropy", "balanced_accuracy")
    outputs += ("test_cross_entropy", "test_balanced_accuracy")
    objective, objective_range = "maximize accuracy", (0.0, 100.0)
    epochs, min_epochs = 52, 3

    def fidelity(self, epochs: int) -> dict[str, float]:
        """The epochs of LCBench."""
        return {"epoch": epochs}

    def configspace(self) -> ConfigurationSpace:
        """As in YAHPO Gym."""
        return made_of(
            Integer("batch_size", (16, 512), log=True),
            Float("learning_rate", (1e-4, 0.1), log=True),
            Float("momentum", (0.1, 0.99)),
            Float("weight_decay", (1e-5, 0.1)),
            Integer("num_layers", (1, 5)),
            Integer("max_units", (64, 1024), log=True),
            Float("max_dropout", (0.0, 1.0)),
        )


class SVM(Surrogate):
    """A data set of rbv2_svm."""

    scenario = "rbv2_svm"
    categorical = ("kernel", "num.impute.selected.cpo")
    numeric = ("cost", "gamma", "tolerance", "degree", "trainsize", "repl")
    outputs = ("mmce", "f1", "auc", "logloss", "timetrain", "timepredict")
    objective = "minimize mmce"  # the error rate
    epochs, min_epochs = 20, 1

    def fidelity(self, epochs: int) -> dict[str, float]:
        """A share of the data, with ten repetitions."""
        return {**super().fidelity(epochs), "repl": 10}

    def configspace(self) -> ConfigurationSpace:
        """As in YAHPO Gym."""
        kernel = Categorical("kernel", ["linear", "polynomial", "radial"])
        degree = Integer("degree", (2, 5))
        gamma = Float("gamma", (SMALLEST, LARGEST), log=True)
        space = made_of(
            kernel,
            Categorical("num.impute.selected.cpo", [f"impute.{how}" for how in IMPUTED]),
            Float("cost", (SMALLEST, LARGEST), log=True),
            Float("tolerance", (SMALLEST, 2.0), log=True),
            degree,
            gamma,
        )
        space.add(EqualsCondition(degree, kernel, "polynomial"))
        space.add(EqualsCondition(gamma, kernel, "radial"))
        return space


class Ranger(Surrogate):
    """A data set of iaml_ranger."""

    scenario = "iaml_ranger"
    categorical = ("replace", "respect.unordered.factors", "splitrule")
    numeric = ("num.trees", "sample.fraction", "mtry.ratio", "min.node.size")
    numeric += ("num.random.splits", "trainsize")
    outputs = ("mmce", "f1", "auc", "logloss", "ramtrain", "rammodel", "rampredict")
    outputs += ("timetrain", "timepredict", "mec", "ias", "nf")
    objective = "maximize auc"
    epochs, min_epochs = 20, 1

    def configspace(self) -> ConfigurationSpace:
        """As in YAHPO Gym."""
        rule = Categorical("splitrule", ["gini", "extratrees"])
        splits = Integer("num.random.splits", (1, 100))
        space = made_of(
            Integer("num.trees", (1, 2000)),
            Categorical("replace", ["TRUE", "FALSE"]),
            Float("sample.fraction", (0.1, 1.0)),
            Float("mtry.ratio", (0.0, 1.0)),
            Categorical("respect.unordered.factors", ["ignore", "order", "partition"]),
            Integer("min.node.size", (1, 100)),
            rule,
            splits,
        )
        space.add(EqualsCondition(splits, rule, "extratrees"))
        return space


@cache
def surrogate(scenario: str) -> tuple[Any, dict[str, dict[str, int]]]:
    """(session, number of each category). InputError if the files are not there."""
    import onnxruntime

    folder = Path(os.environ.get("THIRD_PARTY_DIR", "third_party")) / "yahpo" / scenario
    if not (folder / "model.onnx").is_file():
        raise InputError(
            f"there is no {folder / 'model.onnx'}; allowed is a THIRD_PARTY_DIR with "
            f"yahpo/{scenario} of https://github.com/slds-lmu/yahpo_data"
        )
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options)
    return session, json.loads((folder / "encoding.json").read_text())
