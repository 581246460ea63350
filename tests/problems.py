"""Closed-form problems, on which tests run all methods."""

import math

from ConfigSpace import (
    Categorical,
    Constant,
    EqualsCondition,
    Float,
    ForbiddenAndConjunction,
    ForbiddenEqualsClause,
    GreaterThanCondition,
    InCondition,
    Integer,
    OrdinalHyperparameter,
)

from benchmarks.problems.base import Problem, made_of


def share(epochs, total, speed):
    """The share of its final value that a curve has reached: exponential, 1 at `total` epochs."""
    return math.expm1(-speed * epochs / total) / math.expm1(-speed)


class Crossing(Problem):
    """Early ranks mislead: high learning rates lead for half of the epochs, low ones win."""

    name = "crossing"
    objective = "maximize top3"
    epochs, min_epochs = 50, 3
    constraints = ("memory <= 100", "precision >= 0.55")
    optimum = 0.92

    def configspace(self):
        return made_of(
            Float("rate", (1e-5, 1e-1), log=True),
            Integer("batch", (4, 324), log=True),
            Float("decay", (1e-6, 1e-1), log=True),
            Float("smoothing", (0.0, 0.3)),
            OrdinalHyperparameter("warmup", [0, 1, 2, 5, 10]),
            Categorical("schedule", ["constant", "step", "cosine"]),
        )

    def static_metrics(self, config):
        return {"memory": config["batch"]}

    def metrics(self, config, epochs):
        names = "rate", "batch", "decay", "smoothing", "warmup"
        rate, batch, decay, smoothing, warmup = (
            self.space.scales[name].position(config[name]) for name in names
        )
        final = 0.92 - 0.9 * (rate - 0.25) ** 2 - 0.25 * (batch - 0.3) ** 2
        final -= 0.3 * (decay - 0.6) ** 2 + 0.2 * (smoothing - 0.4) ** 2 + 0.04 * (1 - warmup)
        final -= {"constant": 0.03, "step": 0.01, "cosine": 0.0}[config["schedule"]]
        precision = 0.75 - 0.5 * abs(decay - 0.3) - 0.4 * smoothing
        return {
            "top3": final * share(epochs, self.epochs, 0.5 * 80**rate),
            "precision": precision * share(epochs, self.epochs, 1 + 10 * rate),
        }


class Nested(Problem):
    """Mixed and conditional, three levels deep, with a forbidden clause."""

    name = "nested"
    objective = "minimize error"
    epochs, min_epochs = 50, 3
    constraints = ("predict_ms <= 6.5",)
    optimum = 0.0

    def configspace(self):
        model = Categorical("model", ["tree", "kernel", "net"])
        scaling = Categorical("scaling", ["none", "standard", "ranks"])
        depth, leaf = Integer("depth", (1, 20)), Integer("leaf", (1, 200), log=True)
        shape = Categorical("shape", ["linear", "poly", "rbf"])
        gamma = Float("gamma", (1e-4, 1e1), log=True)
        degree = OrdinalHyperparameter("degree", [2, 3, 4, 5])
        layers, rate = Integer("layers", (1, 3)), Float("rate", (1e-5, 1e-1), log=True)
        shares = [Float(f"share_{i}", (0.0, 1.0)) for i in range(3)]
        solver, momentum = Categorical("solver", ["adam", "sgd"]), Float("momentum", (0.0, 1.0))
        space = made_of(model, scaling, depth, leaf, shape, gamma, degree, layers, rate, *shares)
        space.add(solver, momentum, Constant("source", "a file"))
        of_kind = {"tree": (depth, leaf), "kernel": (shape,)}
        of_kind["net"] = (layers, shares[0], rate, solver)
        for kind, owned in of_kind.items():
            space.add(*(EqualsCondition(one, model, kind) for one in owned))
        space.add(InCondition(gamma, shape, ["poly", "rbf"]))
        space.add(EqualsCondition(degree, shape, "poly"), EqualsCondition(momentum, solver, "sgd"))
        space.add(*(GreaterThanCondition(shares[i], layers, i) for i in (1, 2)))
        clause = ForbiddenEqualsClause(model, "net"), ForbiddenEqualsClause(scaling, "none")
        space.add(ForbiddenAndConjunction(*clause))
        return space

    def metrics(self, config, epochs):
        numbers = [
            scale.position(config[name])
            for name, scale in self.space.scales.items()
            if name in config and scale.ordered
        ]
        error = sum((x - 0.4) ** 2 for x in numbers) / (1 + len(numbers))
        slow = {"tree": 0.2, "kernel": 0.3, "net": 0.1}[config["model"]] + sum(numbers) / 4
        done = share(epochs, self.epochs, 3)
        return {"error": 1 - (1 - min(error, 1.0)) * done, "predict_ms": 10 * slow}
