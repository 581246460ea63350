"""What the journal lets expect of a configuration: a model of objective and constraints."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from search.constraints import Ranking
from search.features import Features
from search.trial import Trial

LEAST = 8
MOST = 500
TREES = 30
import os
X_KIND = os.environ.get("X_KIND", "extra")
X_LEAF = int(os.environ.get("X_LEAF", "1"))


class Surrogate:
    def __init__(self, features: Features, ranking: Ranking, cheap, epochs: int):
        self.features, self.ranking, self.epochs = features, ranking, epochs
        self.limits = [c for c in ranking.constraints if c not in cheap]
        self.best = None
        self.power = 0

    def learn(self, trials: Sequence[Trial], seed: int) -> bool:
        usable = [t for t in trials if not math.isinf(self.ranking.key(t)[1])]
        full = [t for t in usable if t.epochs == self.epochs]
        if len(usable) < LEAST or len(full) < 2:
            return False
        self.total = len(usable)
        usable = usable[-MOST:]
        Y = np.array([self.outcome(t.metrics) for t in usable])
        self.low, self.high = np.quantile(Y, [0.02, 0.98], axis=0)
        self.middle, self.spread = Y.mean(0), Y.std(0) + 1e-9
        X = self.inputs([t.config for t in usable], [t.epochs for t in usable])
        self.fit(X, (Y - self.middle) / self.spread, seed)
        feasible = [self.outcome(t.metrics)[0] for t in full if self.ranking.feasible(t)]
        self.best = min(feasible, default=None)
        return True

    def outcome(self, metrics: Mapping[str, Any]) -> list[float]:
        return [-self.ranking.sign * metrics[self.ranking.metric]] + [
            c.miss(metrics) / (abs(c.bound) or 1.0) for c in self.limits
        ]

    def inputs(self, configs, epochs) -> np.ndarray:
        X = self.features.encode(configs)
        e = np.log(np.asarray(epochs, float)) / math.log(max(self.epochs, 2))
        return np.column_stack([X, e])

    def fit(self, X, Y, seed):
        if X_KIND == "gp":
            from search.gaussian import Process, fit
            power = 2 ** int(math.log2(self.total))
            if power != self.power:
                self.power = power
                upto = len(X) - (self.total - power)
                sel = slice(max(0, upto - 256), upto)
                if upto >= 8:
                    self.theta = [fit(X[sel], (y[sel]-y[sel].mean())) for y in Y.T]
            self.gps = [Process(X, y, t) for y, t in zip(Y.T, self.theta)]
            return
        from sklearn.ensemble import ExtraTreesRegressor, RandomForestRegressor

        kind = ExtraTreesRegressor if X_KIND == "extra" else RandomForestRegressor
        self.forest = kind(
            TREES, min_samples_leaf=X_LEAF, bootstrap=True, max_features=float(os.environ.get("X_MF", "0.8")), random_state=seed, n_jobs=1
        ).fit(X, Y)

    def predict(self, X):
        if X_KIND == "gp":
            both = [g.predict(X) for g in self.gps]
            mean, sd = (np.column_stack(x) for x in zip(*both))
            return mean * self.spread + self.middle, sd * self.spread
        each = np.stack([t.predict(X) for t in self.forest.estimators_])
        if each.ndim == 2:
            each = each[:, :, None]
        return (
            each.mean(0) * self.spread + self.middle,
            (each.std(0) + 0.01) * self.spread,
        )

    def scores(self, configs) -> np.ndarray:
        from scipy.special import log_ndtr, ndtr

        mean, sd = self.predict(self.inputs(configs, [self.epochs] * len(configs)))
        score = log_ndtr(-mean[:, 1:] / sd[:, 1:]).sum(axis=1)
        if self.best is not None:
            z = (self.best - mean[:, 0]) / sd[:, 0]
            ei = sd[:, 0] * (np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) + z * ndtr(z))
            score = score + np.log(np.maximum(ei, 1e-30))
        return score

    def keys(self, trials: Sequence[Trial]):
        """promotion keys"""
        ok = [t for t in trials if not math.isinf(self.ranking.key(t)[1])]
        keys = {t.trial: (True, math.inf, math.inf, t.trial) for t in trials}
        if ok:
            configs = [t.config for t in ok]
            now, _ = self.predict(self.inputs(configs, [t.epochs for t in ok]))
            end, sd = self.predict(self.inputs(configs, [self.epochs] * len(ok)))
            Y = np.array([self.outcome(t.metrics) for t in ok]) + end - now
            mode = os.environ.get("X_PROMO", "mean")
            for t, y, s in zip(ok, Y, sd):
                if mode == "ei":
                    from scipy.special import log_ndtr, ndtr
                    score = log_ndtr(-y[1:] / s[1:]).sum()
                    if self.best is not None:
                        z = (self.best - y[0]) / s[0]
                        ei = s[0] * (np.exp(-0.5 * z * z) / math.sqrt(2 * math.pi) + z * ndtr(z))
                        score = score + np.log(max(ei, 1e-30))
                    keys[t.trial] = (False, -score, 0.0, t.trial)
                else:
                    v = float(np.maximum(y[1:], 0).sum())
                    keys[t.trial] = (v > 0, v, float(y[0]), t.trial)
        return keys
