"""The surrogate of learning curves, fitted to curves out of a formula whose truth is known."""

import time

import numpy as np
import pytest

from benchmarks import simulator, surrogate
from benchmarks.curves import Curves
from benchmarks.surrogate import (
    CHANCE,
    Surrogate,
    features,
    fold_residuals,
    from_scale,
    highest,
    to_scale,
)
from cnn import count_macs, count_parameters
from utils import InputError, derive_rng

CONFIGS, FOLDS, EPOCHS, NOISE = 40, 3, 6, 0.02
PARTS = 3  # components


def truth(config):
    """Metrics (E, 5) that rise to a height that rate, depth and width give."""
    rate = np.log10(config["learning_rate_init"] / 1e-5) / 4
    width = np.log2(config["n_channels_conv_0"] / 16) / 6
    height = 0.75 - 0.9 * (rate - 0.5) ** 2 + 0.1 * width * rate
    height -= 0.05 * config["n_fc_layers"]
    rise = 1 - np.exp(-np.arange(1, EPOCHS + 1) * (0.3 + rate))
    top3 = 0.2 + height * rise
    return np.stack([top3, 0.7 * top3, 0.6 * top3, 0.7 * top3, 3 - 2 * top3], axis=-1)


@pytest.fixture(scope="module")
def recorded(space):
    configs = [space.sample(derive_rng("surrogate", i)) for i in range(CONFIGS)]
    rng = derive_rng("surrogate", "noise")
    # A fold has a luck that lasts; fold 1 is easier for all.
    luck = rng.normal(0, NOISE, (CONFIGS, FOLDS, 1, 1)) + [[[[-0.01]], [[0.02]], [[-0.01]]]]
    curves = np.array([truth(config) for config in configs])[:, None] + luck
    ones = np.ones(CONFIGS)
    return Curves(configs, ["sample"] * CONFIGS, ones, ones, ones, curves.astype(np.float32))


@pytest.fixture(scope="module")
def fitted(recorded):
    return surrogate.fit(recorded, PARTS)


def test_sizes_are_those_of_the_network(space):
    for i in range(50):
        config = space.sample(derive_rng("sizes", i))
        expected = {"num_params": count_parameters(config), "macs": count_macs(config)}
        assert surrogate.sizes(config) == expected
        assert all(-1 < value < 3 for value in features(config))


def test_the_scale_and_back():
    values = np.array([[0.8, 0.5, 0.0, 0.7, 0.3], [np.nan] * 5])
    ceiling = np.array([[0.8, 0.6, 0.5, 0.9], [0.9, 0.6, 0.5, 0.9]])
    back = from_scale(to_scale(values, ceiling), ceiling)
    assert np.allclose(back[0], values[0]) and np.allclose(back[1], CHANCE)
    beyond = from_scale(np.full((1, 5), 9.0), ceiling[:1])
    assert np.allclose(beyond[0, :4], ceiling[0]), "nothing is above what was recorded"


def test_the_ceiling_is_what_any_fold_reached_so_far():
    curves = np.full((2, 1, 3, 5), 0.1)
    curves[0, 0, :, 0], curves[1, 0, 0, 0] = (0.2, 0.5, 0.3), np.nan
    assert highest(curves)[:, 0].tolist() == [0.2, 0.5, 0.5]
    assert highest(curves)[0, 1] == 0.1


def test_residuals_have_the_variance_of_a_fold():
    rng = derive_rng("residuals")
    noise = rng.normal(0, 0.1, (4000, 3))
    place, fold = rng.normal(0, 5, (4000, 1)), np.array([[1.0, -2.0, 4.0]])
    assert np.std(fold_residuals(noise + place + fold)) == pytest.approx(0.1, rel=0.03)


def test_curves_never_seen_are_predicted(fitted, space):
    new = [space.sample(derive_rng("new", i)) for i in range(100)]
    real = np.array([truth(config) for config in new])[..., 0]
    guess = np.array([fitted.mean(config, slice(None)) for config in new])[..., 0]
    for epoch in range(EPOCHS):
        explained = 1 - np.mean((real - guess)[:, epoch] ** 2) / np.var(real[:, epoch])
        assert explained > 0.7


def test_the_noise_is_as_large_as_measured_and_lasts(fitted, recorded):
    config = recorded.configs[0]
    mean = fitted.mean(config, slice(None))[:, 0]
    draws = np.array([fitted.measured(config, slice(None), seed)[:, 0] for seed in range(300)])
    assert np.allclose(draws.mean(axis=0), mean, atol=0.005)
    # Of the mean of three folds; the smaller the sample, the less the components hold of it.
    assert np.std(draws[:, -1]) == pytest.approx(NOISE / np.sqrt(FOLDS), rel=0.3)
    assert np.corrcoef(draws[:, 1], draws[:, -1])[0, 1] > 0.9


def test_a_measurement_is_a_pure_function_at_any_point_of_the_curve(fitted, recorded, tmp_path):
    config = recorded.configs[1]
    fitted.save(tmp_path / "s.npz")
    again = Surrogate.load(tmp_path / "s.npz")
    whole = fitted.measured(config, slice(None), 7)
    for point in range(EPOCHS):
        assert np.allclose(again.measured(config, point, 7), whole[point], atol=1e-12)
    assert np.array_equal(again.measured(config, 3, 7), fitted.measured(config, 3, 7))
    assert not np.allclose(whole, fitted.measured(config, slice(None), 8))
    with pytest.raises(InputError, match="cannot be read"):
        Surrogate.load(tmp_path / "none.npz")


def test_an_evaluation_takes_no_time(fitted, recorded):
    config = recorded.configs[2]
    started = time.process_time()
    for seed in range(200):
        fitted.measured(config, 3, seed)
    assert (time.process_time() - started) / 200 < 2e-3


def test_the_report_compares_with_what_was_left_out(recorded, monkeypatch):
    monkeypatch.setattr(simulator, "PARTS", 2)
    monkeypatch.setattr(simulator, "fit", lambda curves: surrogate.fit(curves, PARTS))
    lines = simulator.report(recorded).splitlines()
    cells = next(line for line in lines if line.startswith("| top3 | 6 |")).split("|")
    r2, rank, error, measured, drawn = map(float, cells[3:8])
    assert r2 > 0.5 and rank > 0.7 and error < 0.1
    assert measured == pytest.approx(NOISE / np.sqrt(FOLDS), rel=0.2)
    assert drawn == pytest.approx(measured, rel=0.5)


def test_the_long_search_finds_a_better_one_within_the_limits(
    fitted, recorded, space, monkeypatch
):
    ranking = simulator.Ranking.parse("maximize top3", ["num_params <= 1e6", "precision >= 0.3"])
    start = [simulator.finished(i, c, fitted) for i, c in enumerate(recorded.configs)]
    monkeypatch.setattr(simulator, "GENERATIONS", 5)
    monkeypatch.setattr(simulator, "CHILDREN", 20)
    best = simulator.long_search(space, fitted, ranking, start)
    assert ranking.feasible(best)
    assert best.metrics["top3"] >= min(start, key=ranking.key).metrics["top3"]
