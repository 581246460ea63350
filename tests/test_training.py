"""Training and the target function: exact continuation, purity, damaged states, metrics."""

import copy
import os
import pickle
import random
import shutil
import types
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

from target import ImageTarget, cross_validation, published_order, train_test
from utils import InputError, canonical_json, without_nan
from vision import training
from vision.data import Images
from vision.metrics import macro_precision, macro_recall
from vision.training import Learner, choose_device, read_state

CLASSES = 5
CONFIG = {
    "learning_rate_init": 0.004,
    "batch_size": 7,
    "kernel_size": 3,
    "use_BN": True,
    "global_avg_pooling": False,
    "dropout_rate": 0.3,
    "n_conv_layers": 2,
    "n_channels_conv_0": 5,
    "n_channels_conv_1": 4,
    "n_fc_layers": 2,
    "n_channels_fc_0": 9,
    "n_channels_fc_1": 8,
}
RUNGS = (3, 6, 12)
CUDA = torch.cuda.is_available()


class Recorder(ImageTarget):
    """Keeps the logits of each fold at each number of epochs at which it was measured."""

    def __init__(self, *args, **options):
        super().__init__(*args, **options)
        self.logits = {}

    def fit(self, learner, fold, epochs):
        self.logits[fold, epochs] = super().fit(learner, fold, epochs)
        return self.logits[fold, epochs]


def images_of(count=40, classes=CLASSES, seed=0, size=8):
    """Noise with a faint colour for each class: to be learned, but neither at once nor fully."""
    rng = np.random.default_rng(seed)
    labels = np.sort(np.arange(count) % classes).astype(np.int64)
    colours = np.random.default_rng(99).integers(60, 200, (classes, 3))
    pixels = rng.normal(colours[labels][:, None, None], 60, (count, size, size, 3))
    names = tuple(f"{label + 1}/image_{i:03d}.png" for i, label in enumerate(labels))
    return Images(pixels.clip(0, 255).astype(np.uint8), labels, names)


def make_target(images=None, folds=2, seed=1, curve_epochs=RUNGS, kind=Recorder, **options):
    target = cross_validation(
        images or images_of(), CLASSES, folds, seed, curve_epochs=curve_epochs, **options
    )
    target.__class__ = kind
    target.logits = {}
    return target


def bits(result):
    """All that has to be the same, as text: floats in JSON keep every bit."""
    return canonical_json(
        without_nan({name: result[name] for name in result if name != "observed"})
    )


def same_logits(first, second):
    """Whether both were measured at the same points, with the same bits."""
    assert first.keys() == second.keys() and first
    return all(first[point].tobytes() == second[point].tobytes() for point in first)


def in_steps(path, steps=RUNGS, config=CONFIG, seed=4, **options):
    """Through a state file, with a new target for each step as after a restart."""
    logits = {}
    for epochs in steps:
        target = make_target(**options)
        result = target.evaluate(config, epochs, seed, path)
        logits |= target.logits
    return result, logits


@pytest.fixture(scope="module")
def at_once():
    target = make_target()
    return target.evaluate(CONFIG, 12, 4), target.logits


@pytest.fixture(scope="module")
def after_three():
    return make_target().evaluate(CONFIG, 3, 4)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The state file after three epochs."""
    path = tmp_path_factory.mktemp("states") / "three.pt"
    make_target().evaluate(CONFIG, 3, 4, path)
    return path.read_bytes()


# ---------------------------------------------------------------------------- exact continuation


@pytest.mark.parametrize("optimizer", ["adam", "adamw"])
@pytest.mark.parametrize(
    "change",
    [{}, {"use_BN": False}, {"global_avg_pooling": True}, {"batch_size": 300}, {"n_fc_layers": 1}],
    ids=["base", "no BN", "pooled", "one batch", "one layer"],
)
def test_continuing_equals_one_go_bit_for_bit(tmp_path, change, optimizer):
    config = {**CONFIG, **change}
    target = make_target(optimizer=optimizer)
    result = target.evaluate(config, 12, 4)
    stepped, logits = in_steps(tmp_path / "a.pt", config=config, optimizer=optimizer)
    assert bits(stepped) == bits(result)
    assert same_logits(logits, target.logits)
    for fold in stepped["folds"]:
        assert [point["epochs"] for point in fold["curve"]] == list(RUNGS)


def test_continuing_saves_the_same_state(tmp_path):
    first, second = tmp_path / "a.pt", tmp_path / "b.pt"
    make_target().evaluate(CONFIG, 12, 4, first)
    in_steps(second)
    first, second = (torch.load(path, weights_only=True) for path in (first, second))
    assert flat(first) == flat(second) and len(flat(first)) > 50


def flat(value):
    if isinstance(value, torch.Tensor):
        return [(value.dtype, tuple(value.shape), value.contiguous().numpy().tobytes())]
    if isinstance(value, dict):
        return [part for key in value for part in [key, *flat(value[key])]]
    if isinstance(value, list | tuple):
        return [part for item in value for part in flat(item)]
    return [value]


def test_steps_of_any_length_come_to_the_same(tmp_path, at_once):
    result, _ = in_steps(tmp_path / "a.pt", steps=(1, 2, 3, 5, 11, 12))
    assert bits(without_curve(result)) == bits(without_curve(at_once[0]))


def without_curve(result):
    folds = [{**fold, "curve": None} for fold in result["folds"]]
    return {**result, "folds": folds}


PARTS = ("network", "optimizer", "order", "dropout")


@pytest.mark.parametrize("left_out", PARTS)
def test_what_is_not_restored_is_noticed(tmp_path, monkeypatch, at_once, left_out):
    """The negative control of the tests above: each part of the state matters."""
    restore = Learner.restore

    def careless(learner, state):
        restore(learner, {**state, left_out: copy.deepcopy(learner.state()[left_out])})

    monkeypatch.setattr(Learner, "restore", careless)
    result, logits = in_steps(tmp_path / "a.pt")
    assert not same_logits(logits, at_once[1])
    assert bits(result) != bits(at_once[0])


def test_the_control_itself_changes_nothing_when_it_restores_all(tmp_path, monkeypatch, at_once):
    restore = Learner.restore
    monkeypatch.setattr(Learner, "restore", lambda learner, state: restore(learner, dict(state)))
    result, logits = in_steps(tmp_path / "a.pt")
    assert same_logits(logits, at_once[1]) and bits(result) == bits(at_once[0])


def test_only_the_missing_epochs_are_trained(tmp_path, monkeypatch):
    calls, train_epoch = [], Learner.train_epoch

    def counted(learner, *args):
        calls.append(learner.epochs)
        train_epoch(learner, *args)

    monkeypatch.setattr(Learner, "train_epoch", counted)
    in_steps(tmp_path / "a.pt", steps=(3, 6))
    assert calls == [0, 1, 2, 0, 1, 2, 3, 4, 5, 3, 4, 5]
    calls.clear()
    in_steps(tmp_path / "a.pt", steps=(6,))
    assert calls == []


def test_asking_for_the_saved_epochs_again_gives_the_same(tmp_path, after_three):
    path = tmp_path / "a.pt"
    for _ in range(2):
        assert bits(make_target().evaluate(CONFIG, 3, 4, path)) == bits(after_three)


def test_a_state_beyond_the_epochs_asked_for_is_not_used(tmp_path, after_three):
    path = tmp_path / "a.pt"
    make_target().evaluate(CONFIG, 12, 4, path)
    assert bits(make_target().evaluate(CONFIG, 3, 4, path)) == bits(after_three)


def test_a_diverged_training_continues_to_the_same_result(tmp_path):
    config = {**CONFIG, "learning_rate_init": 1e30}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        stepped, _ = in_steps(tmp_path / "a.pt", steps=(3, 6), config=config)
        assert bits(stepped) == bits(make_target().evaluate(config, 6, 4))


# ------------------------------------------------------------------------------------ state files


def check_retrained(path, after_three_epochs, **options):
    """Whatever is in the file, the result is that of a training from the beginning."""
    assert bits(make_target(**options).evaluate(CONFIG, 3, 4, path)) == bits(after_three_epochs)


def test_a_missing_state_file_is_written(tmp_path, after_three):
    path = tmp_path / "a.pt"
    check_retrained(path, after_three)
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.pt"]  # nothing half written


def test_a_state_is_plain_data(tmp_path, saved):
    path = tmp_path / "a.pt"
    path.write_bytes(saved)
    state = torch.load(path, weights_only=True)
    assert state["epochs"] == 3 and len(state["folds"]) == 2
    assert {type(item) for item in flat(state)} <= {str, int, float, bool, tuple, type(None)}


@pytest.mark.parametrize("share", [0.0, 0.001, 0.3, 0.7, 0.99, 0.9999])
def test_a_truncated_state_is_retrained(tmp_path, saved, after_three, share):
    path = tmp_path / "a.pt"
    path.write_bytes(saved[: int(len(saved) * share)])
    check_retrained(path, after_three)
    assert path.stat().st_size > 0.9 * len(saved)  # and replaced by a whole one


@pytest.mark.parametrize(
    "content",
    [b"\0" * 100, b"PK\x03\x04" + b"x" * 50, b"{}", pickle.dumps({"key": 1}), os.urandom(5000)],
    ids=["zeros", "zip", "json", "pickle", "noise"],
)
def test_a_file_that_is_no_state_is_retrained(tmp_path, after_three, content):
    path = tmp_path / "a.pt"
    path.write_bytes(content)
    check_retrained(path, after_three)


@pytest.mark.parametrize("place", np.linspace(0.01, 0.97, 12).round(2))
def test_a_state_with_flipped_bits_is_retrained(tmp_path, saved, after_three, place):
    path, damaged, start = tmp_path / "a.pt", bytearray(saved), int(len(saved) * place)
    for i in range(start, start + 200):
        damaged[i] ^= 0x55
    path.write_bytes(damaged)
    check_retrained(path, after_three)


def test_torch_objects_that_are_no_state_are_retrained(tmp_path, after_three):
    path = tmp_path / "a.pt"
    for content in ([1, 2], {"epochs": 1}, {"key": None, "epochs": 1, "folds": []}, None):
        torch.save(content, path)
        check_retrained(path, after_three)


class Bomb:
    """Touches a file when a pickle of it is read."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


def test_a_state_file_cannot_run_code(tmp_path, after_three):
    path, touched = tmp_path / "a.pt", tmp_path / "touched"
    torch.save({"key": Bomb(touched), "epochs": 1, "folds": []}, path)
    check_retrained(path, after_three)
    assert not touched.exists()
    torch.save({"key": Bomb(touched)}, path)
    torch.load(path, weights_only=False)
    assert touched.exists()  # so that the line above has a meaning


FOREIGN = {
    "seed": lambda path: make_target().evaluate(CONFIG, 2, 5, path),
    "config": lambda path: make_target().evaluate({**CONFIG, "dropout_rate": 0.31}, 2, 4, path),
    "rate": lambda path: make_target().evaluate({**CONFIG, "learning_rate_init": 0.1}, 2, 4, path),
    "images": lambda path: make_target(images_of(seed=8)).evaluate(CONFIG, 2, 4, path),
    "folds": lambda path: make_target(seed=2).evaluate(CONFIG, 2, 4, path),
    "fewer": lambda path: make_target(folds=3).evaluate(CONFIG, 2, 4, path),
    "optimizer": lambda path: make_target(optimizer="adamw").evaluate(CONFIG, 2, 4, path),
}


@pytest.mark.parametrize("what", FOREIGN)
def test_the_state_of_another_training_is_not_used(tmp_path, after_three, what):
    path = tmp_path / "a.pt"
    FOREIGN[what](path)
    check_retrained(path, after_three)


def test_the_state_of_another_division_of_the_same_images_is_not_used(tmp_path):
    images, path, order = images_of(), tmp_path / "a.pt", np.random.default_rng(0).permutation(40)

    def divided(at):
        return ImageTarget(images.pixels, images.labels, CLASSES, [(order[:at], order[at:])])

    divided(20).evaluate(CONFIG, 2, 4, path)
    assert bits(divided(30).evaluate(CONFIG, 2, 4, path)) == bits(
        divided(30).evaluate(CONFIG, 2, 4)
    )


def test_the_state_of_a_network_with_more_classes_is_not_used(tmp_path, after_three):
    path = tmp_path / "a.pt"
    cross_validation(images_of(), CLASSES + 1, 2, 1, curve_epochs=RUNGS).evaluate(
        CONFIG, 2, 4, path
    )
    check_retrained(path, after_three)


def test_a_state_that_did_not_ask_for_the_figure_per_batch_serves_one_that_does(tmp_path):
    path = tmp_path / "a.pt"
    for epochs in (3, 6):
        make_target().evaluate(CONFIG, 3, 4, path)
        result = make_target(per_batch=True).evaluate(CONFIG, epochs, 4, path)
        assert bits(result) == bits(make_target(per_batch=True).evaluate(CONFIG, epochs, 4))


def test_a_state_with_points_of_another_curve_gives_the_same_metrics(tmp_path):
    path = tmp_path / "a.pt"
    make_target(curve_epochs=(1, 2)).evaluate(CONFIG, 3, 4, path)
    target = make_target(curve_epochs=(2, 5))
    result, fresh = target.evaluate(CONFIG, 6, 4, path), target.evaluate(CONFIG, 6, 4)
    assert bits(without_curve(result)) == bits(without_curve(fresh))


def test_read_state_says_none_for_what_is_of_no_use(tmp_path):
    assert read_state(None, "key", 3) is None
    assert read_state(tmp_path / "missing.pt", "key", 3) is None
    torch.save({"key": "key", "epochs": 3, "folds": [1]}, tmp_path / "a.pt")
    assert read_state(tmp_path / "a.pt", "key", 3) == [1]
    assert read_state(str(tmp_path / "a.pt"), "key", 12) == [1]
    assert read_state(tmp_path / "a.pt", "key", 2) is None
    assert read_state(tmp_path / "a.pt", "other", 3) is None


def test_a_write_that_fails_leaves_the_old_state(tmp_path, monkeypatch, saved):
    path = tmp_path / "a.pt"
    path.write_bytes(saved)

    def half(state, file):
        Path(file).write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", half)
    result = make_target().evaluate(CONFIG, 6, 4, path)
    assert result["observed"]["state"] == "not saved: no space left"
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == saved


# ----------------------------------------------------------------------------------------- purity


def test_global_streams_do_not_matter(after_three):
    for seed in (1, 2):
        torch.manual_seed(seed)
        np.random.seed(seed)
        random.seed(seed)
        assert bits(make_target().evaluate(CONFIG, 3, 4)) == bits(after_three)


def test_global_streams_are_not_touched(tmp_path):
    def streams():
        numpy_state = np.random.get_state()
        return (torch.get_rng_state().tolist(), numpy_state[1].tolist(), random.getstate())

    before = streams()
    target = make_target()
    target.evaluate(CONFIG, 3, 4, tmp_path / "a.pt")
    target.evaluate(CONFIG, 6, 4, tmp_path / "a.pt")
    target.estimate_seconds(CONFIG, 3)
    assert streams() == before


def test_what_ran_before_does_not_matter(after_three):
    target = make_target()
    target.evaluate({**CONFIG, "use_BN": False}, 2, 9)
    target.estimate_seconds(CONFIG, 3)
    target.evaluate(CONFIG, 1, 4)
    assert bits(target.evaluate(CONFIG, 3, 4)) == bits(after_three)
    assert bits(target.evaluate(CONFIG, 3, 4)) == bits(after_three)


@pytest.mark.parametrize("curve_epochs", [(), (1, 2, 3), range(1, 13), (3,), (50,)])
def test_measuring_on_the_way_changes_nothing(after_three, curve_epochs):
    result = make_target(curve_epochs=curve_epochs).evaluate(CONFIG, 3, 4)
    assert bits(without_curve(result)) == bits(without_curve(after_three))
    for fold in result["folds"]:
        assert [point["epochs"] for point in fold["curve"]] == [
            epochs for epochs in curve_epochs if epochs <= 3
        ]


def test_using_a_state_changes_nothing(tmp_path, after_three):
    assert bits(make_target().evaluate(CONFIG, 3, 4, tmp_path / "a.pt")) == bits(after_three)
    assert bits(make_target().evaluate(CONFIG, 3, 4, str(tmp_path / "b.pt"))) == bits(after_three)


def test_arguments_are_not_changed_and_may_be_read_only(after_three):
    config, images = types.MappingProxyType(dict(CONFIG)), images_of()
    images.pixels.setflags(write=False)
    images.labels.setflags(write=False)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # torch warns of arrays that it could write to
        result = make_target(images).evaluate(config, 3, 4)
    assert bits(result) == bits(after_three) and dict(config) == CONFIG


def test_the_order_of_keys_does_not_matter(after_three):
    config = dict(reversed(CONFIG.items()))
    assert bits(make_target().evaluate(config, 3, 4)) == bits(after_three)


def test_another_seed_gives_another_result(after_three):
    first, second = make_target(), make_target()
    first.evaluate(CONFIG, 3, 4)
    second.evaluate(CONFIG, 3, 5)
    assert not same_logits(first.logits, second.logits)


def test_folds_have_streams_of_their_own():
    target = make_target()
    first, second = (target.learner(CONFIG, 4, fold) for fold in (0, 1))
    for one in ("order", "dropout"):
        assert not torch.equal(getattr(first, one).get_state(), getattr(second, one).get_state())
        again = getattr(target.learner(CONFIG, 4, 0), one)
        assert torch.equal(getattr(first, one).get_state(), again.get_state())
    assert not torch.equal(first.order.get_state(), first.dropout.get_state())
    weights = [next(learner.network.parameters()) for learner in (first, second)]
    assert not torch.equal(*weights)


# ------------------------------------------------------------------------------- what is measured


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
    for name in ("top3", "top1", "precision", "recall", "loss"):
        values = [fold[name] for fold in result["folds"]]
        assert result[name] == pytest.approx(sum(values) / 2) and type(result[name]) is float


def test_keys_of_a_result(at_once):
    names = {"top3", "top1", "precision", "recall", "loss"}
    assert set(at_once[0]) == names | {"num_params", "macs", "folds", "observed"}
    assert all(set(fold) == names | {"curve"} for fold in at_once[0]["folds"])
    assert len(at_once[0]["observed"]["fold_seconds"]) == 2
    target = make_target()
    assert target.cheap(CONFIG) == {name: at_once[0][name] for name in ("num_params", "macs")}


def test_folds_are_stratified_and_shuffled_by_the_seed():
    images = images_of(43)
    target = make_target(images, folds=3)
    assert sorted(np.concatenate([held for _, held in target.folds])) == list(range(43))
    for train, held_out in target.folds:
        assert sorted([*train, *held_out]) == list(range(43))
        counts = np.bincount(images.labels[held_out], minlength=CLASSES)
        assert counts.min() >= 2 and counts.max() <= 3
    again, other = make_target(images, folds=3), make_target(images, folds=3, seed=2)
    assert all(np.array_equal(*pair) for pair in zip(held(target), held(again), strict=True))
    assert not np.array_equal(held(target)[0], held(other)[0])


def held(target):
    return [part for _, part in target.folds]


def test_standardisation_knows_the_training_images_of_its_fold_only():
    images, target = images_of(), make_target()
    for number, (train, held_out) in enumerate(target.folds):
        part = images.pixels[train].astype(float) / 255
        layer = target.learner(CONFIG, 4, number).network[0]
        assert np.allclose(layer.mean.flatten(), part.mean(axis=(0, 1, 2)), atol=1e-6)
        assert np.allclose(layer.std.flatten(), part.std(axis=(0, 1, 2)), atol=2e-3)
        changed = copy.deepcopy(images)
        changed.pixels[held_out] = 255 - changed.pixels[held_out] // 3
        other = make_target(changed).learner(CONFIG, 4, number).network[0]
        assert torch.equal(layer.mean, other.mean) and torch.equal(layer.std, other.std)


def test_held_out_images_have_no_part_in_training():
    images, target = images_of(), make_target()
    changed = copy.deepcopy(images)
    changed.pixels[target.folds[0][1]] //= 2
    weights = []
    for one in (target, make_target(changed)):
        learner = one.learner(CONFIG, 4, 0)
        one.fit(learner, 0, 2)
        weights.append(flat(learner.state()))
    assert weights[0] == weights[1]


def test_images_of_one_colour_can_be_standardised():
    images = images_of()
    images.pixels[...] = 200
    result = make_target(images).evaluate(CONFIG, 2, 4)
    assert np.isfinite(result["loss"])


def test_an_epoch_shows_each_image_once_in_random_order():
    target, seen = make_target(), []
    learner = target.learner(CONFIG, 4, 0)
    learner.network.register_forward_pre_hook(lambda _, args: seen.append(args[0].clone()))
    indices = target.folds[0][0]
    images, labels = target.images[indices], target.targets[indices]
    orders = []
    for _ in range(2):
        seen.clear()
        learner.train_epoch(images, labels)
        assert [len(batch) for batch in seen] == [7, 7, 6]
        assert all(batch.is_contiguous(memory_format=torch.channels_last) for batch in seen)
        shown = torch.cat(seen).permute(0, 2, 3, 1)
        orders.append([place_of(image, images) for image in shown])
        assert sorted(orders[-1]) == list(range(20))
    assert orders[0] != orders[1] and sorted(orders[0]) != orders[0]
    assert learner.epochs == 2


def place_of(image, images):
    return next(i for i, other in enumerate(images) if torch.equal(image, other))


def test_scores_change_nothing():
    target = make_target()
    learner = target.learner(CONFIG, 4, 0)
    learner.train_epoch(target.images, target.targets)
    before = flat(copy.deepcopy(learner.state()))
    first, second = learner.scores(target.images), learner.scores(target.images)
    assert np.array_equal(first, second) and flat(learner.state()) == before


def test_scores_do_not_depend_on_the_batch_that_an_image_is_in():
    target = make_target(images_of(300, size=8))
    learner = target.learner(CONFIG, 4, 0)
    together = learner.scores(target.images)
    assert together.shape == (300, CLASSES)
    assert np.allclose(together[290:], learner.scores(target.images[290:]), atol=1e-5)


# ---------------------------------------------------------------------------------- odd trainings


@pytest.mark.parametrize("rate", [1e30, 1e38])
@pytest.mark.parametrize("use_bn", [True, False])
def test_a_diverging_training_is_a_result(tmp_path, rate, use_bn):
    config = {**CONFIG, "learning_rate_init": rate, "use_BN": use_bn}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # nobody wants numpy's warnings among the search's lines
        result = make_target().evaluate(config, 6, 4, tmp_path / "a.pt")
    for name in ("top3", "top1", "precision", "recall", "loss"):
        assert np.isnan(result[name])
        assert all(np.isnan(fold[name]) for fold in result["folds"])
    assert result["num_params"] > 0


def test_a_single_logit_that_is_not_finite_makes_all_metrics_nan():
    target = make_target(per_batch=True)
    scores = np.zeros((20, CLASSES), np.float32)
    assert np.isfinite(list(target.measure(scores, 0, 7).values())).all()
    for value in (np.nan, np.inf, -np.inf):
        scores[3, 2] = value
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            measured = target.measure(scores, 0, 7)
        assert len(measured) == 6 and np.isnan(list(measured.values())).all()


def test_batches_larger_than_the_data_are_one_batch():
    results = [make_target().evaluate({**CONFIG, "batch_size": n}, 3, 4) for n in (20, 300)]
    assert bits(results[0]) == bits(results[1])


@pytest.mark.parametrize("size", [8, 9])
def test_the_last_batch_may_be_one_image_with_batch_norm(size):
    config = {**CONFIG, "batch_size": 19, "n_conv_layers": 3, "n_channels_conv_2": 4}
    result = make_target(images_of(size=size)).evaluate(config, 2, 4)  # 20 images to train with
    assert np.isfinite(result["loss"])


def test_optimizers_differ():
    results = {
        name: make_target(optimizer=name).evaluate({**CONFIG, "learning_rate_init": 0.02}, 6, 4)
        for name in ("adam", "adamw")
    }
    assert results["adam"]["loss"] != results["adamw"]["loss"]
    for name, kind in (("adam", torch.optim.Adam), ("adamw", torch.optim.AdamW)):
        optimizer = make_target(optimizer=name).learner(CONFIG, 4, 0).optimizer
        assert type(optimizer) is kind
        group = optimizer.param_groups[0]
        assert (group["lr"], group["betas"], group["eps"]) == (0.004, (0.9, 0.999), 1e-8)
        assert group["weight_decay"] == (0.01 if name == "adamw" else 0)


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


def test_shuffled_labels_stay_at_chance():
    images = images_of(200)
    shuffled = np.random.default_rng(1).permutation(images.labels)
    result = make_target(Images(images.pixels, shuffled, images.names)).evaluate(CONFIG, 6, 4)
    assert result["top1"] < 0.35 and result["top3"] < 0.75  # chance is 0.2 and 0.6


def test_train_test_measures_on_the_test_images_only():
    train, test = images_of(40, seed=1), images_of(15, seed=2)
    target = train_test(train, test, CLASSES, optimizer="adamw")
    (pair,) = target.folds
    assert pair[0].tolist() == list(range(40)) and pair[1].tolist() == list(range(40, 55))
    result = target.evaluate(CONFIG, 2, 4)
    learner = target.learner(CONFIG, 4, 0)
    target.fit(learner, 0, 2)
    inputs = torch.from_numpy(test.pixels).float() / 255
    guess = learner.scores(inputs).argmax(axis=1)
    assert result["top1"] == (guess == test.labels).mean()


def test_estimates_grow_with_epochs_and_are_plausible():
    target = make_target()
    few, many = target.estimate_seconds(CONFIG, 1), target.estimate_seconds(CONFIG, 10)
    assert 0 < few < 60 and many == pytest.approx(10 * few)


# --------------------------------------------------------------------------- the published figure


def test_published_order_is_by_text():
    names = [f"{label}/image_{i}.jpg" for label in (1, 2, 10, 11) for i in (9, 10)]
    order = published_order(names)
    assert [names[i] for i in order] == [
        *("1/image_10.jpg", "1/image_9.jpg", "10/image_10.jpg", "10/image_9.jpg"),
        *("11/image_10.jpg", "11/image_9.jpg", "2/image_10.jpg", "2/image_9.jpg"),
    ]


def test_the_figure_per_batch_uses_the_published_order():
    classes = 12
    images = images_of(48, classes)
    target = cross_validation(images, classes, 2, 1, per_batch=True)
    held_out = target.folds[0][1]
    scores = np.random.default_rng(0).normal(size=(len(held_out), classes)).astype(np.float32)
    scores[np.arange(len(held_out)), images.labels[held_out]] += 1.5
    rows = sorted(range(len(held_out)), key=lambda row: images.names[held_out[row]])
    guess, labels = scores.argmax(axis=1), images.labels[held_out]

    def figure(order):
        batches = [order[i : i + 5] for i in range(0, len(order), 5)]
        parts = [macro_precision(guess[b], labels[b], classes) * len(b) for b in batches]
        return sum(parts) / len(order)

    measured = target.measure(scores, 0, 5)["precision_per_batch"]
    assert measured == pytest.approx(figure(rows), abs=1e-12)
    assert abs(figure(rows) - figure(list(range(len(held_out))))) > 1e-3  # the order matters here


def test_the_figure_per_batch_is_measured_on_request_only():
    assert "precision_per_batch" not in make_target().evaluate(CONFIG, 1, 4)
    result = make_target(per_batch=True).evaluate(CONFIG, 1, 4)
    assert 0 <= result["precision_per_batch"] <= 1
    assert all("precision_per_batch" in fold for fold in result["folds"])


# ---------------------------------------------------------------------------------------- devices


def test_cuda_without_cuda_is_an_input_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="--device cuda.*cpu or auto"):
        choose_device("cuda")
    assert choose_device("auto").type == choose_device("cpu").type == "cpu"


def test_cuda_is_taken_where_it_is(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert choose_device("auto").type == choose_device("cuda").type == "cuda"
    assert choose_device("cpu").type == "cpu"


def test_training_is_prepared_for_exact_repetition():
    make_target(threads=1)
    assert torch.are_deterministic_algorithms_enabled() and torch.get_num_threads() == 1
    assert os.environ["CUBLAS_WORKSPACE_CONFIG"] in (":4096:8", ":16:8")
    assert training.SCORING_BATCH == 256


@pytest.mark.skipif(not CUDA, reason="PyTorch sees no CUDA device here")
def test_training_on_cuda_continues_exactly(tmp_path):
    target = make_target(device="cuda")
    result = target.evaluate(CONFIG, 12, 4)
    assert np.isfinite(result["loss"])
    stepped, logits = in_steps(tmp_path / "a.pt", device="cuda")
    assert bits(stepped) == bits(result) and same_logits(logits, target.logits)


def test_training_leaves_the_arithmetic_of_the_process_alone():
    make_target().evaluate(CONFIG, 1, 4)
    smallest_normal = float("2.3e-308")
    assert smallest_normal / 10 > 0  # a denormal, not flushed


# ---------------------------------------------------------------------------- faster arithmetic


def test_a_gpu_rounds_to_tf32_only_where_it_is_asked_for():
    for arithmetic, precision in (("tf32", "tf32"), ("bfloat16", "ieee"), ("float32", "ieee")):
        make_target(arithmetic=arithmetic)
        assert torch.backends.cuda.matmul.fp32_precision == precision
        assert torch.backends.cudnn.conv.fp32_precision == precision


def test_bfloat16_continues_bit_for_bit_and_is_not_float32(tmp_path, at_once):
    target = make_target(arithmetic="bfloat16")
    result = target.evaluate(CONFIG, 12, 4)
    stepped, logits = in_steps(tmp_path / "a.pt", arithmetic="bfloat16")
    assert bits(stepped) == bits(result) != bits(at_once[0])
    assert same_logits(logits, target.logits)
    assert abs(result["loss"] - at_once[0]["loss"]) < 0.2
    learner = target.learner(CONFIG, 4, 0)
    target.fit(learner, 0, 1)
    assert {weight.dtype for weight in learner.network.parameters()} == {torch.float32}


def test_a_state_of_another_arithmetic_is_not_taken_over(tmp_path, saved, after_three):
    path = tmp_path / "three.pt"
    path.write_bytes(saved)
    other = make_target(arithmetic="bfloat16").evaluate(CONFIG, 3, 4, path)
    assert bits(other) != bits(after_three)


@pytest.mark.slow
@pytest.mark.skipif(not shutil.which("g++"), reason="torch.compile needs a C++ compiler")
def test_compiled_training_continues_bit_for_bit_and_is_near_the_plain_one(tmp_path, after_three):
    result = make_target(compiled=True).evaluate(CONFIG, 3, 4)
    stepped, _ = in_steps(tmp_path / "a.pt", steps=(1, 3), compiled=True)
    assert bits(stepped) == bits(result)
    assert result["loss"] == pytest.approx(after_three["loss"], rel=0.02)
