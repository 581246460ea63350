"""Problems made of formulas, each with one trait that makes a search hard: for tests."""

import math

from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
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

from benchmarks.problems.base import (
    Config,
    Problem,
    fixed_points,
    floats,
    least_cost,
    made_of,
    nearest_point,
    share,
)


class Sliver(Problem):
    """Small feasible region: about 1 % of random configurations, far from the free optimum.

    Two half-spaces cut off a corner of eight dimensions; a ripple makes local optima. The
    constraints bind at the optimum, in closed form.
    """

    name = "sliver"
    objective = "minimize loss"
    constraints = ("balance >= 0.66", "contrast >= 0.8")

    def __init__(self) -> None:
        super().__init__()
        self.centre = fixed_points("sliver", count=4, low=0.15, high=0.45)
        self.centre += fixed_points("sliver", "last", count=4, low=0.35, high=0.65)
        low, high = self.centre[:4], self.centre[4:]
        lifted = nearest_point(0.66 - sum(low) / 4, low, *4 * [(-0.25, 1.0)])
        signs = (-1.0, -1.0, 1.0, 1.0)
        excess = 0.8 + sum(s * c for s, c in zip(signs, high, strict=True))
        pulled = nearest_point(excess, high, *((sign, 1.0) for sign in signs))
        self.point = [*lifted, *pulled]
        self.best = {f"x{i}": value for i, value in enumerate(self.point)}
        cost = least_cost(0.66 - sum(low) / 4, *4 * [(-0.25, 1.0)])
        cost += least_cost(excess, *4 * [(1.0, 1.0)])
        self.optimum = 1 - math.exp(-0.1 - 0.5 * cost)

    def configspace(self) -> ConfigurationSpace:
        """Eight numbers."""
        return made_of(*floats("x", 8))

    def metrics(self, config: Config, epochs: int) -> dict[str, float]:
        """See Problem."""
        x = [config[f"x{i}"] for i in range(8)]
        raw = 0.1 + 0.5 * sum((a - c) ** 2 for a, c in zip(x, self.centre, strict=True))
        ripples = (
            math.sin(6 * math.pi * (a - p)) ** 2 for a, p in zip(x, self.point, strict=True)
        )
        final = math.exp(-raw - 0.04 * sum(ripples))
        done = share(epochs, self.epochs, 6)
        return {
            "loss": 1 - final * share(epochs, self.epochs, 3 + 5 * x[0]),
            "balance": sum(x[:4]) / 4 * done,
            "contrast": (x[4] + x[5] - x[6] - x[7]) * done,
        }


class Crossing(Problem):
    """Early ranks mislead: high learning rates lead until half of the epochs, low ones win.

    Momentum acts with the learning rate, the batch size has to go with it. A constraint binds.
    """

    name = "crossing"
    constraints = ("memory <= 100", "precision >= 0.55")

    def __init__(self) -> None:
        super().__init__()
        terms = (0.5, 0.3), (0.4, 0.2)
        decay, smoothing = nearest_point(0.11, [0.6, 0.4], *terms)
        self.optimum = 0.92 - least_cost(0.11, *terms)
        self.best = {
            **{"rate": 10 ** (-5 + 4 * 0.25), "momentum": 2 / 3, "batch": 18},
            **{"decay": 10 ** (-6 + 5 * decay), "smoothing": 0.3 * smoothing},
            **{"warmup": 10, "schedule": "cosine"},
        }

    def configspace(self) -> ConfigurationSpace:
        """Settings of a training."""
        return made_of(
            Float("rate", (1e-5, 1e-1), log=True),
            Float("momentum", (0.0, 1.0)),
            Integer("batch", (4, 324), log=True),
            Float("decay", (1e-6, 1e-1), log=True),
            Float("smoothing", (0.0, 0.3)),
            OrdinalHyperparameter("warmup", [0, 1, 2, 5, 10]),
            Categorical("schedule", ["constant", "step", "cosine"]),
        )

    def static_metrics(self, config: Config) -> dict[str, float]:
        """A batch has to fit into the memory."""
        return {"memory": config["batch"]}

    def metrics(self, config: Config, epochs: int) -> dict[str, float]:
        """See Problem."""
        names = "rate", "momentum", "batch", "decay", "smoothing", "warmup"
        rate, momentum, batch, decay, smoothing, warmup = (self.unit(config, n) for n in names)
        final = 0.92 - 0.9 * (rate + 0.3 * momentum - 0.45) ** 2
        # At the best rate, 0.25, the best batch is 18: half way from 4 to 81.
        final -= 0.25 * (batch - math.log(18 / 4) / math.log(81) - 0.6 * (rate - 0.25)) ** 2
        final -= 0.3 * (decay - 0.6) ** 2 + 0.2 * (smoothing - 0.4) ** 2 + 0.04 * (1 - warmup)
        final -= {"constant": 0.03, "step": 0.01, "cosine": 0.0}[config["schedule"]]
        precision = 0.75 - 0.5 * abs(decay - 0.3) - 0.4 * smoothing
        return {
            "top3": final * share(epochs, self.epochs, 0.5 * 80**rate),
            "precision": precision * share(epochs, self.epochs, 1 + 10 * rate),
        }


class Nested(Problem):
    """Mixed and conditional, three levels deep, with a forbidden clause.

    Three kinds of model; the kind with the best optimum is the worst on average.
    """

    name = "nested"
    objective = "minimize error"
    constraints = ("predict_ms <= 6.5",)
    optimum = 0.06 + 0.16 / 7.5  # least_cost(0.4, (1, 0.2), (0.5, 0.1))

    def __init__(self) -> None:
        super().__init__()
        first, second = nearest_point(0.4, [0.8, 0.5], (1.0, 0.2), (0.5, 0.1))
        self.best = {"model": "net", "scaling": "standard", "source": "a file", "layers": 2}
        self.best |= {"share_0": first, "share_1": second, "activation": "relu"}
        self.best |= {"rate": 10 ** (-5 + 4 * 0.55), "solver": "sgd", "momentum": 0.9}

    def configspace(self) -> ConfigurationSpace:
        """Kind of model -> its settings -> settings of these."""
        model = Categorical("model", ["tree", "kernel", "net"])
        scaling = Categorical("scaling", ["none", "standard", "ranks"])
        depth, leaf = Integer("depth", (1, 20)), Integer("leaf", (1, 200), log=True)
        shape = Categorical("shape", ["linear", "poly", "rbf"])
        gamma = Float("gamma", (1e-4, 1e1), log=True)
        degree = OrdinalHyperparameter("degree", [2, 3, 4, 5])
        softness = Float("softness", (1e-2, 1e3), log=True)
        layers, rate = Integer("layers", (1, 3)), Float("rate", (1e-5, 1e-1), log=True)
        shares = floats("share_", 3)
        activation = Categorical("activation", ["relu", "tanh"])
        solver, momentum = Categorical("solver", ["adam", "sgd"]), Float("momentum", (0.0, 1.0))
        space = made_of(model, scaling, depth, leaf, shape, gamma, degree, softness, layers, rate)
        space.add(*shares, activation, solver, momentum, Constant("source", "a file"))
        of_kind = {"tree": (depth, leaf), "kernel": (shape, softness)}
        of_kind["net"] = (layers, shares[0], rate, activation, solver)
        for kind, owned in of_kind.items():
            space.add(*(EqualsCondition(one, model, kind) for one in owned))
        space.add(InCondition(gamma, shape, ["poly", "rbf"]))
        space.add(EqualsCondition(degree, shape, "poly"), EqualsCondition(momentum, solver, "sgd"))
        space.add(*(GreaterThanCondition(shares[i], layers, i) for i in (1, 2)))
        clause = ForbiddenEqualsClause(model, "net"), ForbiddenEqualsClause(scaling, "none")
        space.add(ForbiddenAndConjunction(*clause))
        return space

    def metrics(self, config: Config, epochs: int) -> dict[str, float]:
        """See Problem."""
        error, slow, speed = getattr(self, f"_{config['model']}")(config)
        error += {"none": 0.0, "standard": 0.0, "ranks": 0.01}[config["scaling"]]
        done = share(epochs, self.epochs, speed)
        return {"error": 1 - (1 - min(error, 1.0)) * done, "predict_ms": 10 * slow}

    def _tree(self, config: Config) -> tuple[float, float, float]:
        depth, leaf = self.unit(config, "depth"), self.unit(config, "leaf")
        return 0.15 + 0.1 * (depth - 0.6) ** 2 + 0.1 * (leaf - 0.3) ** 2, 0.2 + depth, 20.0

    def _kernel(self, config: Config) -> tuple[float, float, float]:
        error = 0.11 + 0.2 * (self.unit(config, "softness") - 0.6) ** 2
        if config["shape"] == "linear":
            return error + 0.06, 0.3, 10.0
        error += 0.3 * (self.unit(config, "gamma") - 0.4) ** 2
        if config["shape"] == "poly":
            error += 0.02 + 0.02 * self.unit(config, "degree")
        return error, 0.5 + 0.3 * self.unit(config, "softness"), 8.0

    def _net(self, config: Config) -> tuple[float, float, float]:
        widths = [config[f"share_{i}"] for i in range(config["layers"])]
        error = 0.06 + 2.0 * (self.unit(config, "rate") - 0.55) ** 2 + 0.2 * (widths[0] - 0.8) ** 2
        error += 0.05 * abs(config["layers"] - 2) + sum(0.1 * (w - 0.5) ** 2 for w in widths[1:])
        error += 0.02 * (config["activation"] == "tanh")
        if config["solver"] == "adam":
            error += 0.02
        else:
            error += 0.15 * (config["momentum"] - 0.9) ** 2
        return error, widths[0] + 0.5 * sum(widths[1:]), 3.0


class Late(Problem):
    """Feasibility comes late, and early violations mislead.

    What will be feasible at the end starts with the lowest precision. The bound is far from the
    free optimum.
    """

    name = "late"
    constraints = ("precision >= 0.5",)

    def __init__(self) -> None:
        super().__init__()
        terms = (-0.5, 0.3), (0.2, 0.5), (0.2, 0.3)
        centre = [0.1, 0.5, 0.3]
        self.optimum = 0.93 - least_cost(0.46, *terms)
        augment, rate, dropout = nearest_point(0.46, centre, *terms)
        self.best = {"augment": augment, "rate": 10 ** (-5 + 4 * rate), "dropout": dropout}
        self.best |= {"decay": 1e-4, "momentum": 0.8, "batch": 64, "optimizer": "sgd"}

    def configspace(self) -> ConfigurationSpace:
        """Settings of a training."""
        return made_of(
            Float("augment", (0.0, 1.0)),
            Float("rate", (1e-5, 1e-1), log=True),
            Float("dropout", (0.0, 1.0)),
            Float("decay", (1e-6, 1e-2), log=True),
            Float("momentum", (0.0, 1.0)),
            Integer("batch", (4, 512), log=True),
            Categorical("optimizer", ["adam", "adamw", "sgd"]),
        )

    def metrics(self, config: Config, epochs: int) -> dict[str, float]:
        """See Problem."""
        augment, rate, dropout = config["augment"], self.unit(config, "rate"), config["dropout"]
        final = 0.93 - 0.3 * (augment - 0.1) ** 2 - 0.5 * (rate - 0.5) ** 2
        final -= 0.3 * (dropout - 0.3) ** 2 + 0.4 * (self.unit(config, "decay") - 0.5) ** 2
        final -= 0.2 * (config["momentum"] - 0.8) ** 2
        final -= 0.02 * abs(math.log2(config["batch"] / 64))
        final -= {"adam": 0.03, "adamw": 0.01, "sgd": 0.0}[config["optimizer"]]
        precision = 0.15 + 0.5 * augment - 0.2 * rate - 0.2 * dropout
        return {
            "top3": final * share(epochs, self.epochs, 8 - 6 * augment),
            "precision": max(precision, 0.0) * (epochs / self.epochs) ** (0.3 * 8**augment),
        }


class Deceptive(Problem):
    """Plateaus and a trap: a wide basin leads away from the narrow one that holds the optimum.

    The objective has steps of 0.02; the violation is the same nearly everywhere, so that it
    shows no way either. 6 % of random configurations are feasible.
    """

    name = "deceptive"
    epochs, min_epochs = 27, 1
    constraints = ("precision >= 0.5",)
    optimum = 0.96

    def __init__(self) -> None:
        super().__init__()
        self.centre = fixed_points("deceptive", count=3, low=0.15, high=0.35)
        self.best = {f"x{i}": value for i, value in enumerate(self.centre)}
        self.best |= {"gate": 0.5, "mode": 4, "kind": "b"}

    def configspace(self) -> ConfigurationSpace:
        """Four numbers, a mode and a kind."""
        mode = OrdinalHyperparameter("mode", [1, 2, 3, 4, 5])
        return made_of(
            *floats("x", 3), Float("gate", (0.0, 1.0)), mode, Categorical("kind", ["a", "b", "c"])
        )

    def metrics(self, config: Config, epochs: int) -> dict[str, float]:
        """See Problem."""
        away = [abs(config[f"x{i}"] - c) for i, c in enumerate(self.centre)]
        trap = 0.8 - 0.4 * sum((config[f"x{i}"] - 0.85) ** 2 for i in range(3))
        basin = 0.98 - 1.5 * max(away)
        final = max(trap, basin) - 0.04 * (config["kind"] != "b")
        final = min(0.02 * math.floor(final / 0.02 + 1e-9), 0.96)
        open_gate = config["mode"] == 4 and abs(config["gate"] - 0.5) <= 0.15
        done = share(epochs, self.epochs, 4 if trap < basin else 8)
        return {"top3": final * done, "precision": (0.6 if open_gate else 0.2) * done}
