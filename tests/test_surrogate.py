"""The surrogate model: inputs, the Gaussian process, predictions, promotion."""

import math

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace, Float
from scipy.optimize import check_grad
from scipy.stats import norm
from sklearn.gaussian_process.kernels import Matern

from search import gaussian
from search.constraints import Constraint, Ranking
from search.guided import GuidedSampler
from search.space import Space
from search.surrogate import MIN_TRIALS, Surrogate, log_improvement, model_residual
from tests.stubs import make_trial, rich_space

RICH = rich_space()
LINE = Space(ConfigurationSpace(space=[Float("x", (0.0, 1.0)), Float("y", (0.0, 1.0))]))
RANKING = Ranking.parse("maximize top3", ["num_params <= 10", "precision >= 0.5"])
THETA = np.log([0.3, 0.8, 2.0, 0.004, 0.006])  # three lengths, noise, trial effect


def rng(seed=0):
    return np.random.default_rng(seed)


def wave(count=40, seed=0):
    """Points, and values that do not depend on the third column."""
    x = rng(seed).random((count, 3))
    y = np.sin(4 * x[:, 0]) + x[:, 1] ** 2
    return x, y - y.mean()


def each_its_own(x):
    return np.arange(len(x))


def test_inputs_by_hand():
    config = {"z_kind": "y", "m_depth": 9, "a_step": 2, "a_rate": 0.01, "width": 1}
    config |= {"switch": True, "fixed": "as it is"}
    known = {name: scale.encoded(config.get(name)) for name, scale in RICH.scales.items()}
    assert known["z_kind"] == [0, 1, 0] and known["switch"] in ([1, 0], [0, 1])
    assert known["m_depth"] == [1] and known["a_step"] == [0.5] and known["width"] == [0]
    assert known["a_ratio"] == [0.5], "inactive"
    assert known["a_rate"] == [pytest.approx(0.5)]
    assert "fixed" not in known, "a constant tells nothing"
    row = list(Surrogate(RICH, RANKING, [], 50).inputs([config])[0])
    assert len(row) == 3 + 2 + 5 + 1 and row[:-1] == [x for one in known.values() for x in one]


def test_residuals_of_a_model_by_hand():
    upper, lower = Constraint.parse("seconds <= 20"), Constraint.parse("precision >= 0.5")
    assert model_residual(upper, {"seconds": 40}) == pytest.approx(math.log(2))
    assert model_residual(upper, {"seconds": 20}) == 0 > model_residual(upper, {"seconds": 19.99})
    assert model_residual(upper, {"seconds": -1}) == model_residual(upper, {"seconds": 0}) < -10
    assert model_residual(lower, {"precision": 0.4}) == pytest.approx(0.2)
    assert model_residual(Constraint.parse("loss <= 0"), {"loss": -3}) == -3


def test_the_gradient_is_that_of_the_posterior():
    x, y = wave()
    same = np.kron(np.eye(10), np.ones((4, 4)))
    error = check_grad(
        lambda theta: gaussian.negative_log_posterior(theta, x, y, same)[0],
        lambda theta: gaussian.negative_log_posterior(theta, x, y, same)[1],
        THETA,
    )
    assert error < 1e-3


def test_predictions_are_those_of_scikit_learns_kernel_and_the_effects_of_trials():
    x, y = wave()
    trial_ids = np.repeat(np.arange(10), 4)
    process = gaussian.Process.of(x, y, trial_ids, THETA)
    effect, noise = np.exp(THETA[-1]), np.exp(THETA[-2])

    def covariance(a, b, of_a, of_b):
        smooth = Matern(np.exp(THETA[:3]), nu=2.5)(a, b)
        return smooth + effect * (of_a[:, None] == of_b)

    whole = covariance(x, x, trial_ids, trial_ids) + (noise + gaussian.JITTER) * np.eye(40)
    at, of = rng(1).random((20, 3)), np.arange(20) % 10
    for numbers in (of, np.full(20, 99)):  # known trials, and an unknown one
        across = covariance(at, x, numbers, trial_ids)
        mean, deviation = process.predict(at, numbers)
        assert mean == pytest.approx(across @ np.linalg.solve(whole, y))
        left = 1 + effect - (across * np.linalg.solve(whole, across.T).T).sum(1)
        assert deviation == pytest.approx(np.sqrt(left * process.amplitude))
    assert process.predict(at)[0] == pytest.approx(mean), "a new training has no effect yet"


def test_what_rungs_share_is_a_trial_effect_and_the_rest_is_noise():
    x = np.repeat(rng().random((40, 1)), 3, axis=0)
    trial_ids, draws = np.repeat(np.arange(40), 3), rng(1).normal(size=(2, 120))
    lucky, noisy = np.repeat(draws[0, :40], 3), draws[1]
    for a, b in ((0.3, 0.05), (0.05, 0.3)):
        y = np.sin(4 * x[:, 0]) + a * lucky + b * noisy
        y -= y.mean()
        theta = gaussian.fit(x, y, trial_ids)
        process = gaussian.Process.of(x, y, trial_ids, theta)
        noise, effect = np.sqrt(np.exp(theta[-2:]) * process.amplitude)
        assert max(effect, noise) == pytest.approx(0.3, rel=0.3)
        assert (effect > 2 * noise) == (a > b) and (noise > 2 * effect) == (b > a)
        assert math.hypot(noise, effect) == pytest.approx(math.hypot(0.3, 0.05), rel=0.3)


def test_a_belief_leaves_the_mean_and_is_surer_there():
    x, y = wave(20)
    process, at = gaussian.Process.of(x, y, each_its_own(x), THETA), rng(2).random((9, 3))
    believed = process.fantasize(at[:1])
    before, after = process.predict(at), believed.predict(at)
    assert after[0] == pytest.approx(before[0])
    assert (after[1] <= before[1] + 1e-12).all() and after[1][0] < 0.5 * before[1][0]
    x, y = np.vstack([x, at[:1]]), np.append(y, before[0][0])
    whole = gaussian.Process.of(x, y, each_its_own(x), THETA)
    assert believed.factor == pytest.approx(whole.factor)
    assert believed.alpha == pytest.approx(whole.alpha, abs=1e-5)


def measured(number, x, y, epochs=50, **changes):
    """The objective is best at x = y = 1; feasible up to x = 0.6. Both grow with the epochs."""
    done = (epochs / 50) ** 0.3
    metrics = {"top3": (x + y) / 2 * done, "precision": (1.1 - x) * done, "num_params": 1}
    given = {"config": {"x": x, "y": y}, "epochs": epochs, "metrics": metrics, **changes}
    return make_trial(number, **given)


def grid(epochs=(50,)):
    places = [(x, y) for x in (0.1, 0.4, 0.7, 0.95) for y in (0.2, 0.5, 0.8)]
    return [measured(i, *at, level) for level in epochs for i, at in enumerate(places)]


def surrogate():
    return Surrogate(LINE, RANKING, RANKING.constraints[:1], 50)


def test_too_few_trials_teach_nothing():
    failed = make_trial(99, status="failed", metrics={})
    assert surrogate().learn([*grid()[: MIN_TRIALS - 1], failed]) is None
    assert surrogate().learn(grid()[:MIN_TRIALS]) is not None


def test_acquisition_wants_feasible_and_better():
    model = surrogate().learn(grid())
    feasible, poor = {"x": 0.5, "y": 0.95}, {"x": 0.2, "y": 0.3}
    worth = model.acquisition([feasible, poor, {"x": 0.9, "y": 0.95}])
    assert worth[0] == max(worth)
    assert model.best == pytest.approx(-0.6, abs=0.05)  # at (0.4, 0.8), minimized


def test_the_expected_improvement_as_a_logarithm():
    """Compared with the plain formula and, where that is 0, with values of 60-digit arithmetic."""
    z = np.linspace(-6, 20, 200)
    plain = norm.pdf(z) + z * norm.cdf(z)
    assert log_improvement(z) == pytest.approx(np.log(plain), abs=1e-7)
    known = {-37.0: -692.6429601632704, -100.0: -5010.129578800250, -1e5: -5000000023.9447884}
    assert log_improvement(np.array(list(known))) == pytest.approx(list(known.values()), rel=1e-12)
    assert (np.diff(log_improvement(np.linspace(-2000, 50, 10**5))) > 0).all()


def test_a_child_is_near_the_best_that_the_model_knows_of():
    trials = grid()
    model = surrogate().learn(trials)
    line = np.linspace(0, 1, 51)
    most = model.acquisition([{"x": float(x), "y": float(y)} for x in line for y in line]).max()
    short = {}
    for guided in (True, False):
        sampler = GuidedSampler(LINE, RANKING, lambda config: {"num_params": 1}, 0, 50)
        drawn = []
        for _ in range(5):
            sampler.fantasy = model if guided else None
            drawn.append(sampler.draw(trials[:4], 1)[0].config)
            assert sampler.fantasy is None or sampler.fantasy is not model, "it goes elsewhere"
        short[guided] = most - np.median(model.acquisition(drawn))
    assert short[True] < 0.05 < 0.5 < short[False]


def test_promotion_counts_the_effect_of_a_trial():
    """A trial's offset from its configuration's mean persists at the next rungs."""

    def training(number, y, effect, epochs):
        metrics = {"top3": 0.5 + 0.1 * y + effect, "precision": 0.9, "num_params": 1}
        return measured(number, 0.3, y, epochs, metrics=metrics)

    draws = rng(3).random((20, 2)) / (1, 10)
    past = [(100 + 3 * i, y, effect) for i, (y, effect) in enumerate(draws)]
    trials = [training(*one, level) for level in (12, 25, 50) for one in past]
    model = surrogate().learn(trials)
    number, y, effect = past[7]
    for known, reached in ((None, 0.5 + 0.1 * y + 0.05), (np.array([number]), trials[7])):
        mean = model.predict(model.surrogate.inputs([trials[7].config]), known)[0]
        wanted = reached.metrics["top3"] if known is not None else reached
        assert -mean[0, 0] == pytest.approx(wanted, abs=0.02 if known is None else 0.003)
    rung = [training(31, 0.6, 0.03, 25), training(30, 0.2, 0.1, 25)]
    configs = [trial.config for trial in rung]
    assert model.acquisition(configs).argmax() == 0, "of new trainings, the better configuration"
    assert [trial.trial for trial in model.rank_for_promotion(rung, rung)] == [30, 31], (
        "the one with the larger effect"
    )
    usual = [training(31, 0.6, 0.05, 25), training(30, 0.2, 0.05, 25)]
    assert [trial.trial for trial in model.rank_for_promotion(usual, usual)] == [31, 30]


def test_a_region_where_trainings_fail_is_left():
    """The objective improves up to the edge of that region, and would beyond it."""
    failed = {"metrics": {}, "status": "failed"}
    trials = [
        measured(i, x, 0.5, metrics={"top3": x, "precision": 0.9, "num_params": 1})
        if x < 0.6
        else measured(i, x, 0.5, **failed)
        for i, x in enumerate(np.linspace(0, 1, 60))
    ]
    model = surrogate().learn(trials)
    worth = model.acquisition([{"x": x, "y": 0.5} for x in (0.59, 0.7, 0.85, 0.98)])
    assert worth[0] > worth[1:].max() + 1
    assert len(model.y) == 60 and (model.y[36:] == model.y.max(axis=0)).all()
    absurd = {"top3": -1e9, "precision": 0.9, "num_params": 1}
    model = surrogate().learn([*trials, measured(70, 0.3, 0.9, metrics=absurd)])
    assert np.ptp(model.y[:36, 0]) > 0.5, "an absurd result is not that of each failed trial"


def test_the_few_outcomes_that_differ_are_not_clipped():
    usual = {"top3": 0.5, "precision": 0.4, "num_params": 1}
    trials = [measured(i, i / 40, 0.5, metrics=usual) for i in range(40)]
    good = {"top3": 0.9, "precision": 0.6, "num_params": 1}
    model = surrogate().learn([*trials, measured(50, 0.9, 0.5, metrics=good)])
    assert (model.y[-1] < model.y[0] - 5).all(), "in both outcomes: feasible, and better"


def test_while_nothing_is_feasible_the_nearest_to_it_counts():
    trials = [trial for trial in grid() if trial.config["x"] > 0.6]
    trials += [measured(90 + i, 0.8, y) for i, y in enumerate((0.1, 0.4, 0.6))]
    model = surrogate().learn(trials)
    assert model.best is None
    worth = model.acquisition([{"x": x, "y": 0.5} for x in (0.3, 0.65, 0.9)])
    assert list(worth) == sorted(worth, reverse=True)


def test_the_same_trials_teach_the_same_and_parameters_wait_for_growth():
    trials, asked = grid((25, 50)), [{"x": 0.3, "y": 0.9}]
    one = surrogate()
    # As in a search, generation by generation.
    for count in range(MIN_TRIALS, len(trials), 5):
        one.learn(trials[:count])
    at_once = surrogate().learn(trials)
    assert one.learn(trials).acquisition(asked) == at_once.acquisition(asked)
    assert at_once.surrogate._known == 22


def test_neither_what_diverged_nor_what_never_differs_is_trouble():
    diverged = {"top3": -1e30, "precision": 0.6, "num_params": 1}
    model = surrogate().learn([*grid(), measured(50, 0.1, 0.1, metrics=diverged)])
    assert len(model.y) == len(grid()) + 1
    worth = model.acquisition([{"x": 0.5, "y": 0.95}, {"x": 0.2, "y": 0.3}])
    assert worth[0] > worth[1]
    same = {"top3": 0.5, "precision": 0.6, "num_params": 1}
    trials = [measured(i, 0.1 * i, 0.5, metrics=same) for i in range(9)]
    assert np.isfinite(surrogate().learn(trials).acquisition([{"x": 0.2, "y": 0.2}])).all()


def test_one_absurd_result_does_not_change_the_order_of_the_others():
    model = surrogate().learn(grid((25, 50)))
    rung = [measured(30 + i, 0.3, y, 25) for i, y in enumerate((0.9, 0.5, 0.1))]
    absurd = {"top3": -1e6, "precision": 0.6, "num_params": 1}
    worst = measured(40, 0.2, 0.2, 25, metrics=absurd)
    order = model.rank_for_promotion([*rung, worst], [*rung, worst])
    assert [trial.trial for trial in order] == [30, 31, 32, 40]


def test_of_many_trials_the_best_full_ones_and_the_latest_are_used(monkeypatch):
    monkeypatch.setattr("search.surrogate.MAX_TRIALS", 8)
    trials = [*grid(), *grid((25,))]
    kept = surrogate().selected(trials)
    assert [(trial.trial, trial.epochs) for trial in kept] == [
        *[(i, 50) for i in (2, 3, 4, 5)],  # feasible: x up to 0.6
        *[(i, 25) for i in (8, 9, 10, 11)],
    ]
    assert surrogate().learn(trials).best == pytest.approx(-0.6, abs=0.05)


def crossing(number, x, epochs):
    """A large x leads early, a small x at the end."""
    top3 = x if epochs < 50 else 1 - x
    metrics = {"top3": top3, "precision": 0.9, "num_params": 1}
    return measured(number, x, 0.5, epochs, metrics=metrics)


def test_promotion_by_what_is_expected_where_early_ranks_mislead():
    places = (0.05, 0.2, 0.4, 0.55, 0.8, 0.95)
    past = [crossing(i, x, level) for level in (25, 50) for i, x in enumerate(places)]
    rung = [crossing(20 + i, x, 25) for i, x in enumerate((0.9, 0.1, 0.5))]
    sampler = GuidedSampler(LINE, RANKING, lambda config: {"num_params": 1}, 0, 50)
    before = sampler.rank_for_promotion(rung, rung)[0]
    sampler.learn(past)
    assert (before.trial, sampler.rank_for_promotion(rung, rung)[0].trial) == (20, 21)


def test_promotion_leaves_out_what_failed_and_ties_break_by_the_key():
    model = surrogate().learn(grid())
    rung = [measured(i, 0.3, 0.3, 25) for i in (7, 5, 6)]
    failed = make_trial(4, status="failed", metrics={}, epochs=25, config={"x": 0.3, "y": 0.3})
    order = model.rank_for_promotion(rung, [*rung, failed])
    assert [trial.trial for trial in order] == [5, 6, 7]
