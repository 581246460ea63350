"""Regression with a Gaussian process: Matern 5/2, a length scale for each column, noise.

Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006): prediction by equations
2.25 and 2.26, the kernel by 4.17, its parameters by the marginal likelihood (5.8 and 5.9), in
which the amplitude is at its optimum. A prior keeps the length scales of many columns long
(Hvarfner et al. 2024, "Vanilla Bayesian Optimization Performs Great in High Dimensions").
"""

import math
from dataclasses import dataclass

import numpy as np

PRIOR_LENGTH = 0.5  # median of a length scale, times the root of the number of columns
PRIOR_NOISE = 1e-3  # median of the variance of the noise, as a share of the amplitude
SPREAD_LENGTH, SPREAD_NOISE = 1.0, 3.0  # standard deviations of the logarithms
LENGTHS, NOISES = (0.05, 30.0), (1e-6, 1.0)  # bounds
STEPS = 40  # of the search for the parameters
JITTER = 1e-8


def squared_distances(a: np.ndarray, b: np.ndarray, lengths: np.ndarray) -> np.ndarray:
    """Between the rows (n, d) and (m, d), in units of the length scales: (n, m)."""
    a, b = a / lengths, b / lengths
    return np.maximum((a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T, 0.0)


def matern(squares: np.ndarray) -> np.ndarray:
    """The correlation at these squared distances."""
    r = np.sqrt(5 * squares)
    return (1 + r + r * r / 3) * np.exp(-r)


def likelihood(theta: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[float, np.ndarray]:
    """Minus the logarithm of (marginal likelihood x prior), up to a constant, and its gradient.

    theta: logarithms of the d length scales and of the noise; x: (n, d); y: (n,) with mean 0.
    """
    from scipy.linalg import cho_factor, cho_solve

    lengths, noise, n = np.exp(theta[:-1]), math.exp(theta[-1]), len(y)
    r = np.sqrt(5 * squared_distances(x, x, lengths))
    decay = np.exp(-r)
    factor = cho_factor((1 + r + r * r / 3) * decay + (noise + JITTER) * np.eye(n), lower=True)
    inverse = cho_solve(factor, np.eye(n))
    alpha = inverse @ y
    misfit = float(y @ alpha) + JITTER
    value = 0.5 * n * math.log(misfit / n) + np.log(np.diag(factor[0])).sum()
    outer = inverse - n / misfit * np.outer(alpha, alpha)
    # d k / d log(length) is 5/3 (1 + r) exp(-r) times the squared distance in that column.
    weights, scaled = outer * (5 / 3) * (1 + r) * decay, x / lengths
    by_length = (scaled * scaled * weights.sum(1)[:, None]).sum(0)
    by_length -= (scaled * (weights @ scaled)).sum(0)
    gradient = np.append(by_length, 0.5 * np.trace(outer) * noise)
    spread = np.append(np.full(len(lengths), SPREAD_LENGTH), SPREAD_NOISE)
    off = (theta - prior(len(lengths))) / spread
    return value + 0.5 * float(off @ off), gradient + off / spread


def prior(columns: int) -> np.ndarray:
    """The most likely parameters before any data, as logarithms."""
    length = math.log(PRIOR_LENGTH * math.sqrt(columns))
    return np.append(np.full(columns, length), math.log(PRIOR_NOISE))


def fit(x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """The parameters under which the data are most likely; see `likelihood`."""
    from scipy.optimize import minimize

    bounds = [*[LENGTHS] * x.shape[1], NOISES]
    found = minimize(
        *(likelihood, np.clip(prior(x.shape[1]), *np.log(bounds).T), (x, y - y.mean())),
        jac=True,
        method="L-BFGS-B",
        bounds=np.log(bounds),
        options={"maxiter": STEPS},
    )
    return found.x


@dataclass(frozen=True)
class Process:
    """A Gaussian process that has seen data."""

    x: np.ndarray  # (n, d)
    theta: np.ndarray
    factor: np.ndarray  # lower triangle of the covariance, as Cholesky has it
    alpha: np.ndarray  # (n,): covariance^-1 y
    amplitude: float

    @classmethod
    def of(cls, x: np.ndarray, y: np.ndarray, theta: np.ndarray) -> "Process":
        """After the data x (n, d), y (n,) with mean 0."""
        from scipy.linalg import cho_solve, cholesky

        covariance = matern(squared_distances(x, x, np.exp(theta[:-1])))
        factor = cholesky(covariance + _nugget(theta) * np.eye(len(x)), lower=True)
        alpha = cho_solve((factor, True), y)
        return cls(x, theta, factor, alpha, float(y @ alpha) / len(y) + JITTER)

    @property
    def noise(self) -> float:
        """Its standard deviation, in units of y."""
        return math.sqrt(math.exp(self.theta[-1]) * self.amplitude)

    def predict(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Mean and standard deviation, without noise, at x (m, d): (m,) and (m,)."""
        across, left = self._solved(x)
        variance = self.amplitude * np.maximum(1 - (left * left).sum(0), JITTER)
        return across @ self.alpha, np.sqrt(variance)

    def believing(self, x: np.ndarray) -> "Process":
        """As if the mean had been measured at the point x (1, d): it stays, and is surer there."""
        _, left = self._solved(x)
        n = len(self.x)
        factor = np.zeros((n + 1, n + 1))
        factor[:n, :n], factor[n, :n] = self.factor, left[:, 0]
        factor[n, n] = math.sqrt(
            max(1 + _nugget(self.theta) - float(left[:, 0] @ left[:, 0]), JITTER)
        )
        seen = np.vstack([self.x, x])
        return Process(seen, self.theta, factor, np.append(self.alpha, 0.0), self.amplitude)

    def _solved(self, x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        from scipy.linalg import solve_triangular

        across = matern(squared_distances(x, self.x, np.exp(self.theta[:-1])))
        return across, solve_triangular(self.factor, across.T, lower=True, check_finite=False)


def _nugget(theta: np.ndarray) -> float:
    return math.exp(theta[-1]) + JITTER
