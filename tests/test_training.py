"""Training and the target function: purity, metrics, edge cases, devices, dtypes."""

import copy
import gc
import os
import random
import types
import warnings
import weakref

import numpy as np
import pytest
import torch

from evaluation.metrics import STATIC
from target import METRICS, TRAINING_VERSION, ImageTarget, cross_validation, train_test
from tests.trainings import CLASSES, CONFIG, MODERN, bits, flat, images_of, make_target
from training.augmentation import as_floats
from training.checkpoints import on_cpu
from vision.data import Images


def streams():
    numpy_state = np.random.get_state()
    return (torch.get_rng_state().tolist(), numpy_state[1].tolist(), random.getstate())


@pytest.mark.filterwarnings("ignore:The given NumPy array is not writable")
def test_only_the_arguments_matter_and_nothing_else_is_changed(tmp_path, after_three):
    """After any other work in the process, and with keys in any order."""
    images = images_of()
    for array in (images.pixels, images.labels):
        array.setflags(write=False)
    target = make_target(images)
    target.evaluate({**CONFIG, "use_BN": False}, 2, 9)
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    before = streams()
    target.estimate_seconds(CONFIG, 3)
    target.evaluate(CONFIG, 1, 4, tmp_path / "a.pt")
    config = types.MappingProxyType(dict(reversed(CONFIG.items())))
    assert bits(target.evaluate(config, 3, 4, str(tmp_path / "a.pt"))) == bits(after_three)
    assert bits(target.evaluate(CONFIG, 3, 4)) == bits(after_three)
    assert streams() == before


def test_what_a_training_computes_changes_with_its_version_only():
    """A change of these numbers requires a new TRAINING_VERSION, or old states would resume."""
    published = make_target().evaluate(CONFIG, 1, 4)["loss"]
    modern = make_target(optimizer="schedule-free").evaluate(MODERN, 1, 4)["loss"]
    expected = 8, pytest.approx(1.61481, abs=1e-5), pytest.approx(1.53682, abs=1e-5)
    assert (TRAINING_VERSION, published, modern) == expected


def test_seeds_and_folds_have_streams_of_their_own():
    target = make_target()
    first = target.trainer(CONFIG, 4, 0)
    again = target.trainer(CONFIG, 4, 0)
    for other in (target.trainer(CONFIG, 4, 1), target.trainer(CONFIG, 5, 0)):
        for one in ("order", "dropout", "augment"):
            state = getattr(first, one).get_state()
            assert not torch.equal(state, getattr(other, one).get_state())
            assert torch.equal(state, getattr(again, one).get_state())
        weights = [next(trainer.network.parameters()) for trainer in (first, other)]
        assert not torch.equal(*weights)
    assert not torch.equal(first.order.get_state(), first.dropout.get_state())


def test_metrics_are_means_over_the_folds_of_those_of_the_logits():
    target = make_target()
    result = target.evaluate(CONFIG, 12, 4)
    for number, fold in enumerate(result["folds"]):
        scores = target.logits[number, 12]
        measured = target.measure(scores, number)
        assert scores.dtype == np.float32 and set(measured) == set(METRICS)
        assert fold == {**measured, "curve": fold["curve"]}
        assert fold["curve"][-1] == {**measured, "epochs": 12}
    for name in METRICS:
        assert result[name] == pytest.approx(np.mean([fold[name] for fold in result["folds"]]))
    assert set(result) == {*METRICS, *STATIC, "folds", "meta"}
    assert target.static_metrics(CONFIG) == {name: result[name] for name in STATIC}


def test_folds_are_shuffled_by_the_seed_and_measure_each_image_once():
    targets = [make_target(images_of(43), folds=3, seed=seed) for seed in (1, 1, 2)]
    first, again, other = ([held.tolist() for _, held in one.folds] for one in targets)
    assert first == again and first != other
    assert sorted(sum(first, [])) == list(range(43))
    for train, held_out in targets[0].folds:
        assert sorted([*train, *held_out]) == list(range(43))


def test_standardisation_is_by_the_training_images_of_its_fold():
    images, target = images_of(), make_target()
    for number, (train, _) in enumerate(target.folds):
        part = images.pixels[train].astype(float) / 255
        layer = target.trainer(CONFIG, 4, number).network[0]
        assert np.allclose(layer.mean.flatten(), part.mean(axis=(0, 1, 2)), atol=1e-6)
        assert np.allclose(layer.std.flatten(), part.std(axis=(0, 1, 2)), atol=2e-3)


def test_held_out_images_have_no_part_in_training():
    images, target = images_of(), make_target()
    changed = copy.deepcopy(images)
    changed.pixels[target.folds[0][1]] //= 2
    weights = []
    other = make_target(changed)
    other.targets[target.folds[0][1]] = 0
    for one in (target, other):
        trainer = one.trainer(CONFIG, 4, 0)
        one.fit(trainer, 0, 2)
        weights.append(flat(trainer.state()))
    assert weights[0] == weights[1]


def test_images_of_one_colour_can_be_standardised():
    images = images_of()
    images.pixels[...] = 200
    assert np.isfinite(make_target(images).evaluate(CONFIG, 1, 4)["loss"])


def test_an_epoch_shows_each_image_once_in_random_order():
    target, seen = make_target(), []
    trainer = target.trainer(CONFIG, 4, 0)
    trainer.network.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    indices = target.folds[0][0]
    images = target.images[indices]
    orders = []
    for _ in range(2):
        seen.clear()
        trainer.train_epoch(images, target.targets[indices])
        shown = torch.cat(seen).permute(0, 2, 3, 1)
        same = (shown[:, None] == as_floats(images)[None]).flatten(2).all(dim=2)
        assert torch.equal(same.sum(dim=0), torch.ones(20, dtype=torch.int64))
        orders.append(same.int().argmax(dim=1).tolist())
    assert orders[0] != orders[1] and orders[0] != sorted(orders[0])


def test_a_single_logit_that_is_not_finite_makes_all_metrics_nan():
    target = make_target()
    scores = np.zeros((20, CLASSES), np.float32)
    assert np.isfinite(list(target.measure(scores, 0).values())).all()
    for value in (np.nan, np.inf, -np.inf):
        scores[3, 2] = value
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            measured = target.measure(scores, 0)
        assert len(measured) == 5 and np.isnan(list(measured.values())).all()


def test_optimizers_are_those_of_their_names():
    for name, kind, decay in (("adam", torch.optim.Adam, 0), ("adamw", torch.optim.AdamW, 0.01)):
        optimizer = make_target(optimizer=name).trainer(CONFIG, 4, 0).optimizer
        assert type(optimizer) is kind
        group = optimizer.param_groups[0]
        assert (group["lr"], group["betas"], group["eps"]) == (0.004, (0.9, 0.999), 1e-8)
        assert group["weight_decay"] == decay


def test_a_small_network_learns_an_easy_problem():
    rng, labels = np.random.default_rng(3), np.repeat(np.arange(CLASSES), 24).astype(np.int64)
    colours = np.array([[180, 0, 0], [0, 180, 0], [0, 0, 180], [180, 180, 180], [0, 0, 0]])
    pixels = colours[labels][:, None, None] + rng.integers(0, 75, (len(labels), 8, 8, 3))
    names = tuple(f"{label}/{i}" for i, label in enumerate(labels))
    images = Images(pixels.astype(np.uint8), labels, names)
    config = {**CONFIG, "dropout_rate": 0.01, "learning_rate_init": 0.01, "batch_size": 16}
    config |= {"n_channels_conv_0": 16, "n_channels_conv_1": 16, "n_channels_fc_0": 32}
    before = make_target(images).evaluate(config, 1, 4)
    result = make_target(images).evaluate(config, 12, 4)
    assert result["top1"] > 0.95 and result["top3"] > 0.98 and result["precision"] > 0.95
    assert result["loss"] < 0.2 < before["loss"]


def test_the_test_images_are_only_measured():
    [(train, held_out)] = train_test(images_of(40), images_of(15, seed=2), CLASSES).folds
    assert train.tolist() == [*range(40)] and held_out.tolist() == [*range(40, 55)]


def test_inputs_are_standardised_by_the_training_images_of_their_fold():
    target = make_target(images_of(40))
    for fold, (train, _) in enumerate(target.folds):
        pixels = target.pixels[train].reshape(-1, 3) / 255
        found = target.trainer(CONFIG, 4, fold).network[0]
        assert found.mean.ravel().tolist() == pytest.approx(pixels.mean(axis=0), rel=1e-6)
        assert found.std.ravel().tolist() == pytest.approx(pixels.std(axis=0) + 1e-3, rel=1e-6)


def test_a_single_fold_is_the_first_of_three():
    images = images_of(40)
    whole, one = (cross_validation(images, CLASSES, folds, 1) for folds in (3, 1))
    assert len(one.folds) == 1
    assert all(np.array_equal(*pair) for pair in zip(one.folds[0], whole.folds[0], strict=True))
    result = one.evaluate(CONFIG, 1, 4)
    assert result["folds"] == whole.evaluate(CONFIG, 1, 4)["folds"][:1]
    assert result["top1"] == result["folds"][0]["top1"]


def test_estimates_grow_with_epochs_and_are_plausible():
    target = make_target()
    few, many = target.estimate_seconds(CONFIG, 1), target.estimate_seconds(CONFIG, 10)
    took = sum(target.evaluate(CONFIG, 10, 4)["meta"]["fold_seconds"])
    assert many == pytest.approx(10 * few) and took / 300 < many < 300 * took


def test_a_training_sets_its_process_up_and_rounds_to_tf32_only_where_asked_for():
    for dtype in ("tf32", "bfloat16", "float32"):
        torch.use_deterministic_algorithms(False)
        make_target(dtype=dtype, threads=1).trainer(CONFIG, 4, 0)
        assert torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == 1
        assert torch.backends.cuda.matmul.allow_tf32 == (dtype == "tf32")
        assert torch.backends.cudnn.allow_tf32 == (dtype == "tf32")
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")
    smallest_normal, target, seen = float("2.3e-308"), make_target(), []
    target.on_epoch = lambda *_: seen.append(smallest_normal / 10)
    target.evaluate(CONFIG, 1, 4)
    assert set(seen) == {0.0}
    assert smallest_normal / 10 > 0  # a denormal: flushed during training only


def test_networks_and_moments_are_freed_fold_by_fold(monkeypatch):
    """Without a state to write, nothing of a fold remains when the next one starts."""
    before, left, fit = [], [], ImageTarget.fit

    def watched(self, trainer, fold, epochs):
        gc.collect()
        left.append(sum(one() is not None for one in before))
        scores = fit(self, trainer, fold, epochs)
        before.append(weakref.ref(trainer))
        moments = trainer.optimizer.state.values()
        before.extend(weakref.ref(moment["exp_avg"]) for moment in moments)
        return scores

    monkeypatch.setattr(ImageTarget, "fit", watched)
    make_target(folds=2).evaluate(CONFIG, 1, 4)
    assert left == [0, 0] and len(before) > 10


def test_bfloat16_is_near_float32_and_weights_stay_so(after_three):
    target = make_target(dtype="bfloat16")
    assert 0 < abs(target.evaluate(CONFIG, 3, 4)["loss"] - after_three["loss"]) < 0.2
    weights = target.trainer(CONFIG, 4, 0).network.parameters()
    assert {weight.dtype for weight in weights} == {torch.float32}


def test_what_keeps_memory_small_on_a_gpu(monkeypatch):
    """Images are bytes there, states are in host memory, and cuDNN's cache of plans is bounded."""
    target, moved = make_target(), []
    assert target.images.dtype == torch.uint8
    assert as_floats(target.images).max() <= 1
    monkeypatch.delenv("TORCH_CUDNN_V8_API_LRU_CACHE_LIMIT", raising=False)
    trainer = target.trainer(CONFIG, 4, 0)
    assert int(os.environ["TORCH_CUDNN_V8_API_LRU_CACHE_LIMIT"]) < 10_000
    target.fit(trainer, 0, 1)
    to_host = torch.Tensor.cpu
    monkeypatch.setattr(torch.Tensor, "cpu", lambda self: moved.append(self) or to_host(self))
    state = on_cpu(trainer.state())
    weights, moments = trainer.network.state_dict(), trainer.optimizer.state_dict()["state"]
    assert len(moved) == len(weights) + sum(map(len, moments.values())) + 3  # and the generators
    again = target.trainer(CONFIG, 4, 0)
    again.restore(copy.deepcopy(state))  # as read from a file
    for fold in (trainer, again):
        target.fit(fold, 0, 2)
    pairs = zip(*(one.network.state_dict().values() for one in (trainer, again)), strict=True)
    assert all(torch.equal(one, other) for one, other in pairs)


def test_without_dropout_nothing_is_drawn_for_it():
    target = make_target()
    for rate, same in ((0.0, True), (0.3, False)):
        trainer = target.trainer({**CONFIG, "dropout_rate": rate}, 4, 0)
        before = trainer.dropout.get_state()
        target.fit(trainer, 0, 1)
        assert torch.equal(before, trainer.dropout.get_state()) is same
