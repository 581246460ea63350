"""Regression with a Gaussian process: Matern 5/2, a length for each column, noise.

Rasmussen and Williams, "Gaussian Processes for Machine Learning" (2006): sections 2.2 (prediction),
4.2 (kernel) and 5.4 (marginal likelihood). The amplitude is in closed form.
"""

import math

import numpy as np
from scipy.linalg import cho_factor, cho_solve, solve_triangular
from scipy.optimize import minimize

import os
PRIOR = float(os.environ.get("X_PRIOR", "1.0"))
ITER = int(os.environ.get("X_ITER", "40"))


def squares(a, b, lengths):
    """Squared distances (n, m) in units of the lengths."""
    a, b = a / lengths, b / lengths
    return np.maximum((a * a).sum(1)[:, None] + (b * b).sum(1) - 2 * a @ b.T, 0.0)


def matern(r2):
    r = np.sqrt(5 * r2)
    return (1 + r + r * r / 3) * np.exp(-r)


def objective(theta, X, y, prior):
    lengths, noise = np.exp(theta[:-1]), math.exp(theta[-1])
    r = np.sqrt(5 * squares(X, X, lengths))
    decay = np.exp(-r)
    K = (1 + r + r * r / 3) * decay
    K[np.diag_indices_from(K)] += noise + 1e-8
    n = len(y)
    factor = cho_factor(K, lower=True)
    inverse = cho_solve(factor, np.eye(n))
    alpha = inverse @ y
    fit = float(y @ alpha)
    value = 0.5 * n * math.log(fit / n) + np.log(np.diag(factor[0])).sum()
    W = inverse - n / fit * np.outer(alpha, alpha)
    M = W * (5 / 3) * (1 + r) * decay
    S = X / lengths
    each = 2 * ((S * S) * M.sum(1)[:, None]).sum(0) - 2 * (S * (M @ S)).sum(0)
    gradient = np.append(0.5 * each, 0.5 * np.trace(W) * noise)
    off = (theta - prior) / PRIOR
    off[-1] /= 3
    scale = np.ones_like(theta); scale[-1] = 3
    return value + 0.5 * (off @ off), gradient + off / PRIOR / scale


def prior_of(d):
    return np.append(np.full(d, math.log(0.5 * math.sqrt(d))), math.log(1e-3))


def fit(X, y):
    prior = prior_of(X.shape[1])
    bounds = [(math.log(0.05), math.log(30.0))] * X.shape[1] + [(math.log(1e-6), math.log(1.0))]
    found = minimize(objective, prior, (X, y, prior), jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": ITER})
    return found.x


class Process:
    def __init__(self, X, y, theta):
        self.X, self.lengths = X, np.exp(theta[:-1])
        K = matern(squares(X, X, self.lengths))
        K[np.diag_indices_from(K)] += math.exp(theta[-1]) + 1e-8
        self.factor = cho_factor(K, lower=True)
        self.alpha = cho_solve(self.factor, y)
        self.amplitude = float(y @ self.alpha) / len(y)

    def predict(self, X):
        k = matern(squares(X, self.X, self.lengths))
        v = solve_triangular(self.factor[0], k.T, lower=True)
        return k @ self.alpha, np.sqrt(self.amplitude * np.maximum(1 - (v * v).sum(0), 1e-8))
