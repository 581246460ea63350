"""Training and the target function: purity, metrics, odd trainings, devices, dtypes."""

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
from target import METRICS, ImageTarget, train_test
from tests.trainings import (
    CLASSES,
    CONFIG,
    bits,
    flat,
    images_of,
    in_steps,
    make_target,
    same_logits,
    without_curve,
)
from vision.data import Images
from vision.metrics import macro_precision, macro_recall


def streams():
    numpy_state = np.random.get_state()
    return (torch.get_rng_state().tolist(), numpy_state[1].tolist(), random.getstate())


def test_only_the_arguments_matter_and_global_streams_are_left_alone(tmp_path, after_three):
    """Whatever ran before in the process, in whatever order the keys are."""
    target = make_target()
    target.evaluate({**CONFIG, "use_BN": False}, 2, 9)
    torch.manual_seed(1)
    np.random.seed(1)
    random.seed(1)
    before = streams()
    target.estimate_seconds(CONFIG, 3)
    target.evaluate(CONFIG, 1, 4, tmp_path / "a.pt")
    config = dict(reversed(CONFIG.items()))
    assert bits(target.evaluate(config, 3, 4, str(tmp_path / "a.pt"))) == bits(after_three)
    assert bits(target.evaluate(CONFIG, 3, 4)) == bits(after_three)
    assert streams() == before


@pytest.mark.parametrize("curve_epochs", [(), (1, 2, 3), (50,)])
def test_measuring_on_the_way_changes_nothing(after_three, curve_epochs):
    result = make_target(curve_epochs=curve_epochs).evaluate(CONFIG, 3, 4)
    assert bits(without_curve(result)) == bits(without_curve(after_three))
    for fold in result["folds"]:
        measured = [point["epochs"] for point in fold["curve"]]
        assert measured == [epochs for epochs in curve_epochs if epochs <= 3]


def test_arguments_are_not_changed_and_may_be_read_only(after_three):
    config, images = types.MappingProxyType(dict(CONFIG)), images_of()
    images.pixels.setflags(write=False)
    images.labels.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of arrays that it could write to
        result = make_target(images).evaluate(config, 3, 4)
    assert bits(result) == bits(after_three) and dict(config) == CONFIG


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


def test_metrics_are_those_of_the_logits(at_once):
    result, logits = at_once
    images, target = images_of(), make_target()
    for number, fold in enumerate(result["folds"]):
        held_out = target.folds[number][1]
        scores, labels = logits[number, 12], images.labels[held_out]
        guess = scores.argmax(axis=1)
        assert scores.shape == (len(held_out), CLASSES) and scores.dtype == np.float32
        top3 = (np.argsort(-scores, axis=1)[:, :3] == labels[:, None]).any(axis=1)
        wide = torch.from_numpy(scores).double()
        loss = torch.nn.functional.cross_entropy(wide, torch.from_numpy(labels))
        assert fold["top3"] == top3.mean() and fold["top1"] == (guess == labels).mean()
        assert fold["precision"] == macro_precision(guess, labels, CLASSES)
        assert fold["recall"] == macro_recall(guess, labels, CLASSES)
        assert fold["loss"] == pytest.approx(loss.item(), rel=1e-12)
        last = {"epochs": 12, **{name: fold[name] for name in fold if name != "curve"}}
        assert fold["curve"][-1] == last
        assert set(fold) == {*METRICS, "curve"}
    for name in METRICS:
        values = [fold[name] for fold in result["folds"]]
        assert result[name] == pytest.approx(sum(values) / 2) and type(result[name]) is float
    assert set(result) == {*METRICS, *STATIC, "folds", "meta"}
    assert target.static_metrics(CONFIG) == {name: result[name] for name in STATIC}
    assert len(result["meta"]["fold_seconds"]) == 2


def test_folds_are_shuffled_by_the_seed_and_measure_each_image_once():
    targets = [make_target(images_of(43), folds=3, seed=seed) for seed in (1, 1, 2)]
    first, again, other = ([held.tolist() for _, held in one.folds] for one in targets)
    assert first == again and first != other
    assert sorted(sum(first, [])) == list(range(43))
    for train, held_out in targets[0].folds:
        assert sorted([*train, *held_out]) == list(range(43))


def test_standardisation_knows_the_training_images_of_its_fold_only():
    images, target = images_of(), make_target()
    for number, (train, held_out) in enumerate(target.folds):
        part = images.pixels[train].astype(float) / 255
        layer = target.trainer(CONFIG, 4, number).network[0]
        assert np.allclose(layer.mean.flatten(), part.mean(axis=(0, 1, 2)), atol=1e-6)
        assert np.allclose(layer.std.flatten(), part.std(axis=(0, 1, 2)), atol=2e-3)
        changed = copy.deepcopy(images)
        changed.pixels[held_out] = 255 - changed.pixels[held_out] // 3
        other = make_target(changed).trainer(CONFIG, 4, number).network[0]
        assert torch.equal(layer.mean, other.mean) and torch.equal(layer.std, other.std)


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
    images, labels = target.images[indices], target.targets[indices]
    orders = []
    for _ in range(2):
        seen.clear()
        trainer.train_epoch(images, labels)
        assert [len(batch) for batch in seen] == [7, 7, 6]
        assert all(batch.is_contiguous(memory_format=torch.channels_last) for batch in seen)
        shown = torch.cat(seen).permute(0, 2, 3, 1)
        same = (shown[:, None] == images[None]).flatten(2).all(dim=2)
        assert torch.equal(same.sum(dim=0), torch.ones(20, dtype=torch.int64))
        orders.append(same.int().argmax(dim=1).tolist())
    assert orders[0] != orders[1] and orders[0] != sorted(orders[0])
    assert trainer.epochs == 2


def test_scores_change_nothing_and_do_not_depend_on_the_batch():
    target = make_target(images_of(300, size=8))
    trainer = target.trainer(CONFIG, 4, 0)
    trainer.train_epoch(target.images[:20], target.targets[:20])
    before = flat(copy.deepcopy(trainer.state()))
    together = trainer.scores(target.images, target.images)
    assert together.shape == (300, CLASSES)
    alone = trainer.scores(target.images[290:], target.images)
    assert np.allclose(together[290:], alone, atol=1e-5)
    assert np.array_equal(together, trainer.scores(target.images, target.images))
    assert flat(trainer.state()) == before


@pytest.mark.parametrize(("rate", "use_bn"), [(1e30, True), (1e38, False)])
def test_a_diverging_training_is_a_result(tmp_path, rate, use_bn):
    config = {**CONFIG, "learning_rate_init": rate, "use_BN": use_bn}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nobody wants numpy's warnings among the search's lines
        result = make_target().evaluate(config, 4, 4, tmp_path / "a.pt")
    for name in METRICS:
        assert np.isnan(result[name])
        assert all(np.isnan(fold[name]) for fold in result["folds"])
    assert result["num_params"] > 0


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


def test_batches_larger_than_the_data_are_one_batch():
    results = [make_target().evaluate({**CONFIG, "batch_size": n}, 2, 4) for n in (20, 300)]
    assert bits(results[0]) == bits(results[1])


def test_the_last_batch_may_be_one_image_with_batch_norm():
    config = {**CONFIG, "batch_size": 19, "n_conv_layers": 3, "n_channels_conv_2": 4}
    result = make_target(images_of()).evaluate(config, 1, 4)  # 20 images to train with
    assert np.isfinite(result["loss"])


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


def test_train_test_measures_on_the_test_images_only():
    train, test = images_of(40, seed=1), images_of(15, seed=2)
    target = train_test(train, test, CLASSES, optimizer="adamw")
    (pair,) = target.folds
    assert pair[0].tolist() == list(range(40)) and pair[1].tolist() == list(range(40, 55))
    result = target.evaluate(CONFIG, 2, 4)
    trainer = target.trainer(CONFIG, 4, 0)
    target.fit(trainer, 0, 2)
    inputs = torch.from_numpy(test.pixels).float() / 255
    guess = trainer.scores(inputs, inputs).argmax(axis=1)
    assert result["top1"] == (guess == test.labels).mean()


def test_estimates_grow_with_epochs_and_are_plausible():
    target = make_target()
    few, many = target.estimate_seconds(CONFIG, 1), target.estimate_seconds(CONFIG, 10)
    assert 0 < few < 60 and many == pytest.approx(10 * few)


def test_the_process_is_set_up_by_a_training_and_not_before():
    make_target(threads=1).trainer(CONFIG, 4, 0)
    assert torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == 1
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")
    torch.use_deterministic_algorithms(False)
    make_target(dtype="tf32")
    assert not torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.allow_tf32
    make_target().evaluate(CONFIG, 1, 4)
    assert torch.are_deterministic_algorithms_enabled()
    smallest_normal = float("2.3e-308")
    assert smallest_normal / 10 > 0  # a denormal: flushed during the training only


def test_a_gpu_rounds_to_tf32_only_where_it_is_asked_for():
    for dtype in ("tf32", "bfloat16", "float32"):
        make_target(dtype=dtype).trainer(CONFIG, 4, 0)
        rounded = dtype == "tf32"
        assert torch.backends.cuda.matmul.allow_tf32 == rounded
        assert torch.backends.cudnn.allow_tf32 == rounded
        assert torch.get_float32_matmul_precision() == ("high" if rounded else "highest")
        with torch.backends.cudnn.flags():  # PyTorch can still tell what holds
            pass


def test_networks_and_moments_are_freed_fold_by_fold(monkeypatch):
    """Without a state to be written, nothing of a fold is left when the next one begins."""
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


def test_bfloat16_continues_bit_for_bit_and_only_from_its_own(tmp_path, saved, after_three):
    target, path = make_target(dtype="bfloat16"), tmp_path / "a.pt"
    result = target.evaluate(CONFIG, 6, 4)
    path.write_bytes(saved)  # of float32: not taken over
    stepped, logits = in_steps(path, (3, 6), dtype="bfloat16")
    assert bits(stepped) == bits(result) and same_logits(logits, target.logits)
    for ours, theirs in zip(result["folds"], after_three["folds"], strict=True):
        assert 0 < abs(ours["curve"][0]["loss"] - theirs["loss"]) < 0.2
    trainer = target.trainer(CONFIG, 4, 0)
    target.fit(trainer, 0, 1)
    assert {weight.dtype for weight in trainer.network.parameters()} == {torch.float32}
