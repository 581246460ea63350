"""The half on which claims are made: nothing may be tuned on these."""

import math

from ConfigSpace import (
    Categorical,
    ConfigurationSpace,
    Float,
    GreaterThanCondition,
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


class Valley(Problem):
    """Small feasible region: a curved valley, 1 to 2 % of random configurations.

    What lies beside the valley has the better loss, so that the objective leads away from it.
    """

    name = "valley"
    objective = "minimize loss"
    constraints = ("drift <= 0.04", "stability >= 0.9")
    optimum = 1 - math.exp(-0.26)

    def __init__(self) -> None:
        super().__init__()
        momentum = 0.85 * (self._middle(0.85) - 0.04)
        self.best = {
            "rate": 10 ** (-5 + 4 * 0.85),
            "momentum": momentum,
            "width": 128,
            "augment": 2,
        }
        self.best |= {"decay": 10 ** (-6 + 5 * (self._middle(0.85) - 0.04)), "smoothing": 0.12}

    def configspace(self) -> ConfigurationSpace:
        """Settings of a training."""
        return made_of(
            Float("rate", (1e-5, 1e-1), log=True),
            Float("decay", (1e-6, 1e-1), log=True),
            Float("momentum", (0.0, 1.0)),
            Integer("width", (8, 1024), log=True),
            Float("smoothing", (0.0, 0.3)),
            OrdinalHyperparameter("augment", [0, 1, 2, 3, 4]),
        )

    @staticmethod
    def _middle(rate: float) -> float:
        return 0.5 + 0.35 * math.sin(1.8 * math.pi * rate)

    def metrics(self, config: Config, epochs: int) -> dict[str, float]:
        """See Problem."""
        names = "rate", "decay", "smoothing"
        rate, decay, smoothing = (self.unit(config, name) for name in names)
        drift = abs(decay - self._middle(rate))
        # The ripple over the rate is 0 at the best one, 0.85; its other troughs are traps.
        ripple = math.sin(10 * math.pi * (rate - 0.85)) ** 2
        raw = 0.3 + 1.5 * (rate - 0.85) ** 2 + 0.05 * ripple - min(drift, 0.2)
        raw += 0.5 * (smoothing - 0.4) ** 2 + 0.05 * abs(math.log2(config["width"] / 128))
        raw += 0.05 * abs(config["augment"] - 2)
        stability = 1 - abs(config["momentum"] - rate * decay)
        done = share(epochs, self.epochs, 3 + 6 * rate)
        return {
            "loss": 1 - math.exp(-raw) * done,
            "drift": drift + 0.3 * (1 - done),
            "stability": stability * share(epochs, self.epochs, 8),
        }


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


class Many(Problem):
    """Sixty hyperparameters, of which six matter, two of them together."""

    name = "many"
    epochs, min_epochs = 81, 1
    objective = "maximize score"
    constraints = ("robustness >= 0.6",)

    def __init__(self) -> None:
        super().__init__()
        self.centre = fixed_points("many", count=4, low=0.3, high=0.7)
        terms = 2 * [(1.0, 0.6)]
        self.optimum = 0.95 - least_cost(0.5, *terms)
        near = nearest_point(0.5, self.centre[:2], *terms)
        self.best = self.space.default()
        self.best |= {"f3": near[0], "f11": near[1], "f17": self.centre[2], "f29": self.centre[3]}
        self.best |= {"i4": 5, "c2": "d"}

    def configspace(self) -> ConfigurationSpace:
        """Forty numbers, ten whole numbers, ten categories."""
        whole = [Integer(f"i{i}", (1, 16)) for i in range(10)]
        kinds = [Categorical(f"c{i}", ["a", "b", "c", "d"]) for i in range(10)]
        return made_of(*floats("f", 40), *whole, *kinds)

    def metrics(self, config: Config, epochs: int) -> dict[str, float]:
        """See Problem."""
        x = [config[name] for name in ("f3", "f11", "f17", "f29")]
        away = [a - c for a, c in zip(x, self.centre, strict=True)]
        final = 0.95 - 0.6 * (away[0] ** 2 + away[1] ** 2) - 0.3 * (away[2] + away[3]) ** 2
        final -= 0.8 * (away[2] - away[3]) ** 2 + 0.03 * abs(config["i4"] - 5) ** 0.5
        final -= {"a": 0.06, "b": 0.1, "c": 0.03, "d": 0.0}[config["c2"]]
        robustness = 0.6 + 0.5 * (-away[0] - away[1] - 0.5)
        robustness -= {"a": 0.0, "b": 0.05, "c": 0.1, "d": 0.0}[config["c2"]]
        robustness -= 0.2 * (config["i4"] > 8)
        done = share(epochs, self.epochs, 2 + 8 * x[2])
        return {"score": max(final, 0.0) * done, "robustness": robustness * done}


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


class Network(Problem):
    """All at once, as in the search of networks that this project is about.

    Conditional layers, a limit on parameters and one on a precision that comes late, costs that
    differ a hundredfold, fast learners that end lower, noise between seeds.
    """

    name = "network"
    constraints = ("num_params <= 3e5", "precision >= 0.45")
    noise = 0.012

    def __init__(self) -> None:
        super().__init__()
        terms = (0.5, 0.3), (0.3, 0.2)
        dropout, rate = nearest_point(0.2, [0.7, 0.6], *terms)
        self.optimum = 0.9 - least_cost(0.2, *terms)
        self.best = {"n_conv": 3, "conv_0": 64, "conv_1": 96, "conv_2": 128, "kernel": 3}
        self.best |= {"use_bn": True, "pooling": "average", "n_fc": 2, "fc_0": 128, "fc_1": 64}
        self.best |= {"dropout": 0.5 * dropout, "rate": 10 ** (-5 + 4 * rate), "batch": 32}

    def configspace(self) -> ConfigurationSpace:
        """One to four convolutions, one to three linear layers, settings of the training."""
        n_conv, n_fc = Integer("n_conv", (1, 4)), Integer("n_fc", (1, 3))
        conv = [Integer(f"conv_{i}", (16, 1024), log=True) for i in range(4)]
        fc = [Integer(f"fc_{i}", (4, 512)) for i in range(3)]
        kernel = OrdinalHyperparameter("kernel", [3, 5, 7])
        use_bn = Categorical("use_bn", [True, False])
        pooling = Categorical("pooling", ["average", "none"])
        space = made_of(n_conv, *conv, kernel, use_bn, pooling, n_fc, *fc)
        space.add(Float("dropout", (0.0, 0.5)), Float("rate", (1e-5, 1e-1), log=True))
        space.add(Integer("batch", (4, 300), log=True))
        space.add(*(GreaterThanCondition(conv[i], n_conv, i) for i in range(1, 4)))
        space.add(*(GreaterThanCondition(fc[i], n_fc, i) for i in range(1, 3)))
        return space

    def static_metrics(self, config: Config) -> dict[str, float]:
        """Weights and multiply-adds, on 16x16 images halved after each convolution."""
        size, macs, before = 0, 0, 3
        for i in range(config["n_conv"]):
            width = config[f"conv_{i}"]
            weights = config["kernel"] ** 2 * before * width
            size, macs, before = size + weights, macs + weights * (16 >> i) ** 2, width
        before *= 1 if config["pooling"] == "average" else (16 >> config["n_conv"]) ** 2
        for i in range(config["n_fc"]):
            width = config[f"fc_{i}"]
            size, macs, before = size + before * width, macs + before * width, width
        return {"num_params": size, "macs": macs}

    def metrics(self, config: Config, epochs: int) -> dict[str, float]:
        """See Problem."""
        rate, dropout = self.unit(config, "rate"), self.unit(config, "dropout")
        misfit = self._misfit(config)
        final = 0.9 - misfit - 0.3 * (dropout - 0.7) ** 2 - 0.2 * (rate - 0.6) ** 2
        # At the free optimum, dropout 0.7 and rate 0.6, precision is 0.2 short of its bound.
        precision = 0.45 - 0.6 * misfit - 0.5 * (dropout - 0.7) - 0.3 * (rate - 0.6) - 0.2
        large = min(1.0, math.log10(self.static_metrics(config)["macs"] / 1e5) / 3)
        return {
            "top3": max(final, 0.1) * share(epochs, self.epochs, (3 - 2 * large) * 5**rate),
            "precision": max(precision, 0.0) * (epochs / self.epochs) ** (0.4 + large),
        }

    def _misfit(self, config: Config) -> float:
        """What the architecture and the batch size cost: 0 at the best, more elsewhere."""
        misfit = 0.04 * abs(config["n_conv"] - 3) + 0.02 * abs(config["n_fc"] - 2)
        for name, ideal in {"conv_0": 64, "conv_1": 96, "conv_2": 128}.items():
            misfit += 0.02 * abs(math.log2(config.get(name, ideal) / ideal))
        for name, ideal in {"fc_0": 128, "fc_1": 64}.items():
            misfit += 0.06 * abs(config.get(name, ideal) - ideal) / 512
        misfit += 0.02 * self.unit(config, "kernel") + 0.05 * (not config["use_bn"])
        misfit += 0.03 * (config["pooling"] == "none")
        return misfit + 0.012 * abs(math.log2(config["batch"] / 32))
