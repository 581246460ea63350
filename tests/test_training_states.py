"""Trainings that go on from a state: exactly, and whatever the file holds."""

import copy
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import target as target_module
from target import ImageTarget, cross_validation
from tests.trainings import (
    CLASSES,
    CONFIG,
    MODERN,
    RUNGS,
    bits,
    flat,
    images_of,
    in_steps,
    make_target,
    same_logits,
    without_curve,
)
from training.checkpoints import read_state
from training.trainer import Trainer

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


@pytest.mark.parametrize(
    "change",
    [{}, {"block": "separable"}, {"n_stages": 1}, {"batch_size": 300}, {"batch_size": 19}],
    ids=["base", "separable", "one stage", "one batch", "one image left"],
)
def test_the_modern_training_continues_bit_for_bit(tmp_path, change):
    config, how = {**MODERN, **change}, {"optimizer": "schedule-free"}
    target = make_target(**how)
    result = target.evaluate(config, 12, 4)
    stepped, logits = in_steps(tmp_path / "a.pt", config=config, **how)
    assert np.isfinite(result["loss"])
    assert bits(stepped) == bits(result) and same_logits(logits, target.logits)


def test_measuring_on_the_way_changes_nothing():
    """The average of weights and its statistics of batch norm are of a copy."""
    how = {"optimizer": "schedule-free"}
    every = make_target(curve_epochs=range(1, 13), **how).evaluate(MODERN, 12, 4)
    once = make_target(curve_epochs=(), **how).evaluate(MODERN, 12, 4)
    assert bits(without_curve(every)) == bits(without_curve(once))


def test_continuing_saves_the_same_state(tmp_path):
    first, second = tmp_path / "a.pt", tmp_path / "b.pt"
    make_target().evaluate(CONFIG, 12, 4, first)
    in_steps(second)
    first, second = (torch.load(path, weights_only=True) for path in (first, second))
    assert flat(first) == flat(second) and len(flat(first)) > 50


def test_steps_of_any_length_come_to_the_same(tmp_path, at_once):
    result, _ = in_steps(tmp_path / "a.pt", steps=(1, 2, 3, 5, 11, 12))
    assert bits(without_curve(result)) == bits(without_curve(at_once[0]))


PARTS = ("network", "optimizer", "order", "dropout", "augment")


@pytest.mark.parametrize("left_out", PARTS)
def test_what_is_not_restored_is_noticed(tmp_path, monkeypatch, left_out):
    """The negative control of the tests above: each part of the state matters."""
    restore, how = Trainer.restore, {"optimizer": "schedule-free"}
    target = make_target(**how)
    result = target.evaluate(MODERN, 12, 4)

    def careless(trainer, state):
        restore(trainer, {**state, left_out: copy.deepcopy(trainer.state()[left_out])})

    monkeypatch.setattr(Trainer, "restore", careless)
    careless_result, logits = in_steps(tmp_path / "a.pt", config=MODERN, **how)
    assert not same_logits(logits, target.logits)
    assert bits(careless_result) != bits(result)


def test_the_control_itself_changes_nothing_when_it_restores_all(tmp_path, monkeypatch, at_once):
    restore = Trainer.restore
    monkeypatch.setattr(Trainer, "restore", lambda trainer, state: restore(trainer, dict(state)))
    result, logits = in_steps(tmp_path / "a.pt")
    assert same_logits(logits, at_once[1]) and bits(result) == bits(at_once[0])


def test_only_the_missing_epochs_are_trained(tmp_path, monkeypatch):
    calls, train_epoch = [], Trainer.train_epoch

    def counted(trainer, *args):
        calls.append(trainer.epochs)
        train_epoch(trainer, *args)

    monkeypatch.setattr(Trainer, "train_epoch", counted)
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


def test_a_state_with_points_of_another_curve_gives_the_same_metrics(tmp_path):
    path = tmp_path / "a.pt"
    make_target(curve_epochs=(1, 2)).evaluate(CONFIG, 3, 4, path)
    target = make_target(curve_epochs=(2, 5))
    result, fresh = target.evaluate(CONFIG, 6, 4, path), target.evaluate(CONFIG, 6, 4)
    assert bits(without_curve(result)) == bits(without_curve(fresh))


def test_read_state_says_none_for_what_is_of_no_use(tmp_path):
    assert read_state(None, "key", 3) == []
    assert read_state(tmp_path / "missing.pt", "key", 3) == []
    torch.save({"key": "key", "epochs": 3, "folds": [1]}, tmp_path / "a.pt")
    assert read_state(tmp_path / "a.pt", "key", 3) == [1]
    assert read_state(str(tmp_path / "a.pt"), "key", 12) == [1]
    assert read_state(tmp_path / "a.pt", "key", 2) == []
    assert read_state(tmp_path / "a.pt", "other", 3) == []


@pytest.mark.parametrize("begun", [None, 3])
def test_a_long_fold_survives_a_kill_within_the_next_one(tmp_path, monkeypatch, begun):
    """From the beginning, or from the rung before; the same result to the last bit."""
    monkeypatch.setattr(target_module, "LONG_FOLD", 0.0)
    path, trained, whole = tmp_path / "a.pt", [], make_target().evaluate(CONFIG, 6, 4)
    if begun:
        make_target().evaluate(CONFIG, begun, 4, path)

    def killed(fold, epoch):
        if (fold, epoch) == (1, 5):
            raise KeyboardInterrupt

    target = make_target()
    target.on_epoch = killed
    with pytest.raises(KeyboardInterrupt):
        target.evaluate(CONFIG, 6, 4, path)
    target.on_epoch = lambda *where: trained.append(where)
    assert bits(target.evaluate(CONFIG, 6, 4, path)) == bits(whole)
    assert trained == [(1, epoch) for epoch in range((begun or 0) + 1, 7)]
    monkeypatch.setattr(target_module, "LONG_FOLD", 1e9)
    path.unlink()
    with pytest.raises(KeyboardInterrupt):
        target.on_epoch = killed
        target.evaluate(CONFIG, 6, 4, path)
    assert not path.exists(), "a short fold is not worth a file"


def test_a_write_that_fails_leaves_the_old_state(tmp_path, monkeypatch, saved):
    path = tmp_path / "a.pt"
    path.write_bytes(saved)

    def half(state, file):
        Path(file).write_bytes(b"half")
        raise OSError("no space left")

    monkeypatch.setattr(torch, "save", half)
    result = make_target().evaluate(CONFIG, 6, 4, path)
    assert result["meta"]["state"] == "not saved: no space left"
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == saved
