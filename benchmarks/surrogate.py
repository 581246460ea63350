"""A surrogate of recorded learning curves: (configuration, epochs, seed) -> metrics, in no time.

Shares (top3, top1, precision, recall) are taken on the arcsine scale, on which the variance of a
share does not depend on it (Bartlett 1947), the loss on a log scale; the means as parts of the
most that any fold reached by that epoch. So networks crowd below a ceiling, as the recorded ones
do: without it, the best of many predictions were a tenth above anything recorded.

Each configuration's curves, mean of its folds, all metrics together, are points on a few principal
components; a Gaussian process (Matern 5/2, a length scale an input; Rasmussen and Williams 2006,
chapters 2, 4, 5) gives the place on each component from the configuration. Noise is what is left
of a fold after the means of its configuration and of its number: components of its own, so that a
curve that is high at epoch 12 is high at 25, too, with a loudness that another process gives from
the configuration.

What is fitted is kept as plain arrays, and predicting needs numpy only: the environment of the
peers has neither torch nor this project's scikit-learn, and gets the same numbers.
"""

import math
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.curves import Curves, write_arrays
from utils import InputError, derive_rng

FITTED = Path(__file__).resolve().parent / "data" / "simulator.npz"
COMPONENTS, NOISE_COMPONENTS = 8, 12
STEPS = 30  # of the climb to a process's hyperparameters
CLASSES, SIDE = 17, 16
# Of a network that says the same of every image; taken for one whose training has diverged.
CHANCE = (3 / CLASSES, 1 / CLASSES, 1 / CLASSES**2, 1 / CLASSES, math.log(CLASSES))
LOSSES = 1e-4, 1e4  # what lies beyond is cut
INACTIVE = 0.5  # an inactive width on the unit scale; the number of layers tells it apart

Config = Mapping[str, Any]


def sizes(config: Config) -> dict[str, int]:
    """`num_params` and `macs` as in cnn.py, which needs torch."""
    side, channels, area, norm = SIDE, 3, config["kernel_size"] ** 2, 3 if config["use_BN"] else 1
    size = macs = 0
    for i in range(config["n_conv_layers"]):
        width = config[f"n_channels_conv_{i}"]
        weights = area * channels * width
        size, macs = size + weights + norm * width, macs + weights * side**2
        channels, side = width, side // 2
    widths = [channels if config["global_avg_pooling"] else channels * side**2]
    widths += [config[f"n_channels_fc_{i}"] for i in range(config["n_fc_layers"])] + [CLASSES]
    for inputs, outputs in zip(widths[:-1], widths[1:], strict=True):
        size, macs = size + (inputs + 1) * outputs, macs + inputs * outputs
    return {"num_params": size, "macs": macs}


def features(config: Config) -> list[float]:
    """A configuration as numbers of about unit range: hyperparameters, then what follows of them.

    Fixed ranges rather than those of a space: what is fitted holds for these.
    """

    def log_unit(value: float, low: float, high: float) -> float:
        return math.log(value / low) / math.log(high / low)

    def width(name: str, low: float, high: float) -> float:
        return log_unit(config[name], low, high) if name in config else INACTIVE

    conv = [width(f"n_channels_conv_{i}", 16, 1024) for i in range(3)]
    linear = [width(f"n_channels_fc_{i}", 4, 512) for i in range(3)]
    size = sizes(config)
    last = config[f"n_channels_conv_{config['n_conv_layers'] - 1}"]
    side = 1 if config["global_avg_pooling"] else SIDE >> config["n_conv_layers"]
    narrowest = min(config[f"n_channels_fc_{i}"] for i in range(config["n_fc_layers"]))
    return [
        *conv,
        *linear,
        config["n_conv_layers"] / 2,
        config["n_fc_layers"] / 2,
        config["kernel_size"] / 4,
        float(config["use_BN"]),
        float(config["global_avg_pooling"]),
        log_unit(config["learning_rate_init"], 1e-5, 0.1),
        log_unit(config["batch_size"], 4, 300),
        log_unit(config["dropout_rate"], 0.01, 0.5),
        log_unit(size["num_params"], 1e3, 1e7),
        log_unit(size["macs"], 1e5, 4e6),
        log_unit(last * side**2, 16, 65536),
        log_unit(narrowest, 4, 512),
    ]


def known(values: np.ndarray) -> np.ndarray:
    """Metrics (..., 5), those of chance where not finite."""
    return np.where(np.isfinite(values), values, CHANCE)


def highest(curves: np.ndarray) -> np.ndarray:
    """(E, 4): the most that a fold of (N, F, E, 5) reached of each share, by each epoch."""
    return np.maximum.accumulate(known(curves)[..., :-1].max(axis=(0, 1)), axis=0)


def to_scale(values: np.ndarray, ceiling: np.ndarray | float = 1.0) -> np.ndarray:
    """Metrics (..., E, 5) on the scale of the model; those of chance where not finite."""
    values = known(values)
    shares = np.arcsin(np.sqrt(np.clip(values[..., :-1] / ceiling, 0, 1)))
    return np.concatenate([shares, np.log(np.clip(values[..., -1:], *LOSSES))], axis=-1)


def from_scale(scaled: np.ndarray, ceiling: np.ndarray | float = 1.0) -> np.ndarray:
    """Metrics (..., E, 5) of points on the scale of the model."""
    shares = ceiling * np.sin(np.clip(scaled[..., :-1], 0, math.pi / 2)) ** 2
    losses = np.exp(np.clip(scaled[..., -1:], *np.log(LOSSES)))
    return np.concatenate([shares, losses], axis=-1)


class Surrogate:
    """What was fitted, as arrays. N configurations, D inputs, K outputs, E epochs, 5 metrics.

    inputs (N, D); weights (N, K), precisions (D, K), offsets (K,): the processes, of which the
    last one is the log of the loudness; ceiling (E, 4): see `highest`; centre (E, 5), components
    (K - 1, E, 5): the curves;
    noise (J, E, 5), rest (E, 5): components of the noise, and the deviation of what they leave.
    """

    NAMES = (
        *("inputs", "weights", "precisions", "offsets"),
        *("ceiling", "centre", "components", "noise", "rest"),
    )

    def __init__(self, **arrays: np.ndarray):
        for name in self.NAMES:
            setattr(self, name, arrays[name])
        self.epochs = len(self.centre)

    @classmethod
    def load(cls, path: Path = FITTED) -> "Surrogate":
        """Reads what `save` wrote. InputError if there is no such file."""
        try:
            with np.load(path) as arrays:
                return cls(**{name: arrays[name] for name in arrays.files})
        except OSError as error:
            words = error.strerror or error
            raise InputError(f"the fitted simulator {path} cannot be read: {words}") from None

    def save(self, path: Path = FITTED) -> None:
        """Replaces the file whole or not at all."""
        write_arrays(path, **{name: getattr(self, name) for name in self.NAMES})

    def outputs(self, config: Config) -> np.ndarray:
        """Means (K,) of the processes at a configuration."""
        distances = (self.inputs - features(config)) ** 2 @ self.precisions
        return self.offsets + (matern(distances) * self.weights).sum(axis=0)

    def mean(self, config: Config, point: int | slice) -> np.ndarray:
        """The noiseless metrics (..., 5); epochs from 0 or a slice of them."""
        return from_scale(self._place(self.outputs(config), point), self.ceiling[point])

    def measured(self, config: Config, point: int | slice, seed: int) -> np.ndarray:
        """The metrics with the noise of that seed, which is one draw for a whole curve."""
        outputs = self.outputs(config)
        draws = derive_rng("simulator", seed).normal(size=len(self.noise) + self.rest.size)
        rest = draws[len(self.noise) :].reshape(self.rest.shape) * self.rest
        error = np.tensordot(draws[: len(self.noise)], self.noise[:, point], 1) + rest[point]
        mean = from_scale(self._place(outputs, point), self.ceiling[point])
        return from_scale(to_scale(mean) + math.exp(outputs[-1]) * error)

    def _place(self, outputs: np.ndarray, point: int | slice) -> np.ndarray:
        return self.centre[point] + np.tensordot(outputs[:-1], self.components[:, point], 1)


def matern(squared: np.ndarray) -> np.ndarray:
    """Matern 5/2 of squared distances in length scales (Rasmussen and Williams, eq. 4.17)."""
    root = np.sqrt(5 * squared)
    return (1 + root + 5 / 3 * squared) * np.exp(-root)


def fold_residuals(scaled: np.ndarray) -> np.ndarray:
    """What is left of (N, F, ...) after the means of configurations and of folds, unbiased.

    Its variance is that of a fold; the mean over F folds has a share 1 / F of it.
    """
    count, folds = scaled.shape[:2]
    left = scaled - scaled.mean(axis=1, keepdims=True) - scaled.mean(axis=0, keepdims=True)
    left = left + scaled.mean(axis=(0, 1), keepdims=True)
    return left * math.sqrt(count * folds / ((count - 1) * (folds - 1)))


def fit(curves: Curves, parts: int = COMPONENTS) -> Surrogate:
    """The surrogate of recorded curves, of so many components; some seconds to a minute."""
    recorded = curves.curves.astype(float)
    ceiling = highest(recorded)
    scaled = to_scale(recorded, ceiling)
    count, folds, epochs, width = scaled.shape
    spread = scaled.std(axis=(0, 1, 2))  # so that no metric outweighs the others
    flat = (scaled.mean(axis=1) / spread).reshape(count, -1)
    components = np.linalg.svd(flat - flat.mean(axis=0), full_matrices=False)[2][:parts]
    places = (flat - flat.mean(axis=0)) @ components.T
    residuals = (fold_residuals(to_scale(recorded)) / spread).reshape(count, folds, -1)
    loudness = np.log(np.sqrt((residuals**2).mean(axis=(1, 2))) + 1e-6)
    inputs = np.array([features(config) for config in curves.configs])
    processes = [process(inputs, values) for values in [*places.T, loudness]]
    weights, precisions, offsets = (
        np.stack(part, axis=-1) for part in zip(*processes, strict=True)
    )
    squared = (inputs[:, None] - inputs) ** 2 @ precisions[:, -1]
    smooth = offsets[-1] + matern(squared) @ weights[:, -1]
    calm = (residuals / np.exp(smooth)[:, None, None]).reshape(count * folds, -1)
    calm /= math.sqrt(folds)  # of the mean over the folds, as a search sees it
    _, strength, directions = np.linalg.svd(calm, full_matrices=False)
    directions = directions[:NOISE_COMPONENTS]
    rest = calm - calm @ directions.T @ directions
    noise = strength[:NOISE_COMPONENTS, None] * directions / math.sqrt(len(calm))
    shape = epochs, width
    return Surrogate(
        inputs=inputs,
        weights=weights,
        precisions=precisions,
        offsets=offsets,
        ceiling=ceiling,
        centre=flat.mean(axis=0).reshape(shape) * spread,
        components=components.reshape(-1, *shape) * spread,
        noise=noise.reshape(-1, *shape) * spread,
        rest=rest.std(axis=0).reshape(shape) * spread,
    )


def process(inputs: np.ndarray, values: Sequence[float]) -> tuple[np.ndarray, np.ndarray, float]:
    """A Gaussian process through values (N,), as (weights (N,), precisions (D,), offset).

    Amplitude, length scales and noise by climbing the marginal likelihood, not to its end: the
    last steps take most of the time, and fit the length scales to chance.
    """
    from scipy.optimize import minimize
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.gaussian_process import GaussianProcessRegressor
    from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

    offset, spread = float(np.mean(values)), float(np.std(values)) or 1.0
    scales = Matern(np.full(inputs.shape[1], 2.0), (0.3, 100.0), nu=2.5)
    kernel = ConstantKernel(1.0, (1e-2, 1e2)) * scales + WhiteKernel(0.1, (1e-4, 2.0))

    def climb(loss: Any, start: np.ndarray, bounds: np.ndarray) -> tuple[np.ndarray, float]:
        options = {"maxiter": STEPS}
        found = minimize(loss, start, method="L-BFGS-B", jac=True, bounds=bounds, options=options)
        return found.x, found.fun

    model = GaussianProcessRegressor(kernel, optimizer=climb)
    with warnings.catch_warnings():  # at a bound: an input that does not matter, or no noise
        warnings.simplefilter("ignore", ConvergenceWarning)
        model.fit(inputs, (np.asarray(values) - offset) / spread)
    amplitude, scales = model.kernel_.k1.k1.constant_value, model.kernel_.k1.k2.length_scale
    return spread * amplitude * model.alpha_.ravel(), scales**-2.0, offset
