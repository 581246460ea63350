"""Gaussian process regression: Matern 5/2 kernel, a length scale for each column, noise.

Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006): prediction by equations
2.25 and 2.26, the kernel by 4.17, its parameters by the marginal likelihood (5.8 and 5.9), in
which the amplitude is at its optimum. The prior favours longer length scales for more columns
(as in Hvarfner et al. 2024, "Vanilla Bayesian Optimization Performs Great in High Dimensions").

Several rows may belong to one trial, measured at several epochs. They share a random effect of
the trial, an offset: the simplest of the processes with which Swersky et al. 2014 ("Freeze-Thaw
Bayesian Optimization", section 3) couple the points of a learning curve. Noise is independent in
each row. If no trial has two rows, effect and noise are not distinguishable, and the model has
noise only.
"""

import math
from dataclasses import dataclass, replace

import numpy as np

PRIOR_LENGTH = 0.5  # median of a length scale / square root of the number of columns
PRIOR_NOISE = 1e-3  # median variance of noise and of trial effect, as shares of the amplitude
SPREAD_LENGTH, SPREAD_NOISE = 1.0, 3.0  # standard deviations of the logarithms
LENGTHS, NOISES = (0.05, 30.0), (1e-6, 1.0)  # bounds
MAX_ITERATIONS = 40  # of the optimization of the parameters
JITTER = 1e-8
FANTASY = -1  # trial id of a fantasized row


def squared_distances(a: np.ndarray, b: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Squared distances of rows (n, d) and (m, d) in units of the length scales: (n, m)."""
    a, b = a / lengths, b / lengths
    return np.maximum((a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T, 0.0)


def matern(squares: np.ndarray) -> np.ndarray:
    """Matern 5/2 correlations at these squared distances."""
    r = np.sqrt(5 * squares)
    return (1 + r + r * r / 3) * np.exp(-r)


def negative_log_posterior(
    theta: np.ndarray, x: np.ndarray, y: np.ndarray, same: np.ndarray | None = None
) -> tuple[float, np.ndarray]:
    """Minus the logarithm of (marginal likelihood x prior), up to a constant, and its gradient.

    theta: logarithms of the d length scales, of the variance of the noise and, with `same`, of
    the trial effect; x: (n, d); y: (n,) with mean 0; same: (n, n), 1 for rows of the same trial,
    else 0.
    """
    from scipy.linalg import cho_factor, cho_solve

    lengths, variances, n = np.exp(theta[: x.shape[1]]), np.exp(theta[x.shape[1] :]), len(y)
    r = np.sqrt(5 * squared_distances(x, x, lengths))
    decay = np.exp(-r)
    covariance = (1 + r + r * r / 3) * decay
    if same is not None:
        covariance += variances[1] * same
    _add_to_diagonal(covariance, variances[0] + JITTER)
    factor = cho_factor(covariance, lower=True)
    inverse = cho_solve(factor, np.eye(n))
    alpha = inverse @ y
    misfit = float(y @ alpha) + JITTER
    value = 0.5 * n * math.log(misfit / n) + np.log(np.diag(factor[0])).sum()
    outer = inverse - n / misfit * np.outer(alpha, alpha)
    # d k / d log(length) is 5/3 (1 + r) exp(-r) times the squared distance in that column.
    weights, scaled = outer * (5 / 3) * (1 + r) * decay, x / lengths
    by_length = (scaled * scaled * weights.sum(1)[:, None]).sum(0)
    by_length -= (scaled * (weights @ scaled)).sum(0)
    by_variance = [np.trace(outer)] + ([] if same is None else [(outer * same).sum()])
    gradient = np.append(by_length, 0.5 * np.array(by_variance) * variances)
    spread = np.append(np.full(len(lengths), SPREAD_LENGTH), [SPREAD_NOISE] * len(variances))
    deviation = (theta - prior(len(lengths), len(variances))) / spread
    return value + 0.5 * float(deviation @ deviation), gradient + deviation / spread


def prior(columns: int, variances: int) -> np.ndarray:
    """Logarithms of the prior medians of the parameters."""
    length = math.log(PRIOR_LENGTH * math.sqrt(columns))
    return np.append(np.full(columns, length), [math.log(PRIOR_NOISE)] * variances)


def fit(x: np.ndarray, y: np.ndarray, trial_ids: np.ndarray) -> np.ndarray:
    """The parameters of greatest posterior density; see `negative_log_posterior`.

    trial_ids: (n,). If all differ, there is no trial effect among the parameters.
    """
    from scipy.optimize import minimize

    columns = x.shape[1]
    several = len(np.unique(trial_ids)) < len(trial_ids)
    same = (_same(trial_ids, trial_ids),) if several else ()
    bounds = np.log([LENGTHS] * columns + [NOISES] * (1 + several))
    found = minimize(
        negative_log_posterior,
        np.clip(prior(columns, 1 + several), *bounds.T),
        args=(x, y - y.mean(), *same),
        jac=True,
        method="L-BFGS-B",
        bounds=bounds,
        options={"maxiter": MAX_ITERATIONS},
    )
    return found.x


@dataclass(frozen=True)
class Process:
    """A Gaussian process conditioned on data."""

    x: np.ndarray  # (n, d)
    trial_ids: np.ndarray  # (n,), see `fit`
    theta: np.ndarray  # see `fit`
    factor: np.ndarray  # lower Cholesky factor of the covariance
    alpha: np.ndarray  # (n,): covariance^-1 y
    amplitude: float

    @classmethod
    def of(
        cls, x: np.ndarray, y: np.ndarray, trial_ids: np.ndarray, theta: np.ndarray
    ) -> "Process":
        """Conditions on data x (n, d), y (n,) with mean 0, and trial ids (n,)."""
        from scipy.linalg import cho_solve, cholesky

        lengths, noise, trial_effect = _read(theta, x.shape[1])
        covariance = matern(squared_distances(x, x, lengths))
        if trial_effect:
            covariance += trial_effect * _same(trial_ids, trial_ids)
        _add_to_diagonal(covariance, noise + JITTER)
        factor = cholesky(covariance, lower=True)
        alpha = cho_solve((factor, True), y)
        amplitude = float(y @ alpha) / len(y) + JITTER
        return cls(x, trial_ids, theta, factor, alpha, amplitude)

    def predict(
        self, x: np.ndarray, trial_ids: np.ndarray | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Means and standard deviations, without noise, at x (m, d): (m,) and (m,).

        With `trial_ids` (m,), the effects of these trials are included.
        """
        across, left = self._solved(x, trial_ids)
        unknown = 1.0 if trial_ids is None else 1 + _read(self.theta, x.shape[1])[2]
        variance = self.amplitude * np.maximum(unknown - (left * left).sum(0), JITTER)
        return across @ self.alpha, np.sqrt(variance)

    def fantasize(self, x: np.ndarray) -> "Process":
        """Conditions the process on its own mean at x (1, d).

        The kriging believer of Ginsbourger et al. 2010, "Kriging Is Well-Suited to Parallelize
        Optimization".
        """
        _, left = self._solved(x, None)
        _, noise, trial_effect = _read(self.theta, x.shape[1])
        n = len(self.x)
        factor = np.zeros((n + 1, n + 1))
        factor[:n, :n], factor[n, :n] = self.factor, left[:, 0]
        unknown = 1 + (noise + trial_effect) + JITTER
        factor[n, n] = math.sqrt(max(unknown - float(left[:, 0] @ left[:, 0]), JITTER))
        return replace(
            self,
            x=np.vstack([self.x, x]),
            trial_ids=np.append(self.trial_ids, FANTASY),
            factor=factor,
            alpha=np.append(self.alpha, 0.0),
        )

    def _solved(
        self, x: np.ndarray, trial_ids: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray]:
        from scipy.linalg import solve_triangular

        lengths, _, trial_effect = _read(self.theta, x.shape[1])
        across = matern(squared_distances(x, self.x, lengths))
        if trial_ids is not None and trial_effect:
            across += trial_effect * _same(trial_ids, self.trial_ids)
        return across, solve_triangular(self.factor, across.T, lower=True, check_finite=False)


def _read(theta: np.ndarray, columns: int) -> tuple[np.ndarray, float, float]:
    """Length scales (columns,), variance of the noise, variance of the trial effect or 0."""
    variances = np.exp(theta[columns:])
    return np.exp(theta[:columns]), variances[0], variances[1] if len(variances) > 1 else 0.0


def _same(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """(n, m): 1 where the trial ids (n,) and (m,) are equal, else 0."""
    return (a[:, None] == b).astype(float)


def _add_to_diagonal(square: np.ndarray, value: float) -> None:
    square.flat[:: len(square) + 1] += value
