"""Training that resumes from a state: exactly, and with any content of the file."""

import copy
import os
import pickle
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch

import target as target_module
from target import METRICS, cross_validation
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
from training.trainer import Trainer

SCHEDULE_FREE = {"optimizer": "schedule-free"}
CONTINUED: dict[str, tuple[dict[str, str], dict]] = {
    "base": ({}, CONFIG),
    "no BN, pooled": ({}, {**CONFIG, "use_BN": False, "global_avg_pooling": True}),
    "one batch": ({}, {**CONFIG, "batch_size": 300}),
    "one image left, published": ({}, {**CONFIG, "batch_size": 19}),
    "bfloat16": ({"dtype": "bfloat16"}, CONFIG),
    "adamw": ({"optimizer": "adamw"}, {**CONFIG, "n_fc_layers": 1}),
    "modern": (SCHEDULE_FREE, MODERN),
    "separable": (SCHEDULE_FREE, {**MODERN, "block": "separable", "n_stages": 1}),
    "one image left": (SCHEDULE_FREE, {**MODERN, "batch_size": 19}),
}


@pytest.mark.parametrize("name", CONTINUED)
def test_continuing_equals_one_go_bit_for_bit(tmp_path, name):
    """Equal results, logits, and saved states."""
    how, config = CONTINUED[name]
    target = make_target(**how)
    result = target.evaluate(config, 12, 4, tmp_path / "whole.pt")
    stepped, logits = in_steps(tmp_path / "a.pt", config=config, **how)
    assert np.isfinite(result["loss"])
    assert bits(stepped) == bits(result) and same_logits(logits, target.logits)
    for fold in stepped["folds"]:
        assert [point["epochs"] for point in fold["curve"]] == list(RUNGS)
    states = [torch.load(tmp_path / file, weights_only=True) for file in ("a.pt", "whole.pt")]
    first, second = map(flat, states)
    assert first == second and len(first) > 50


@pytest.mark.parametrize("name", ["base", "modern"])
def test_measuring_on_the_way_changes_nothing(name):
    """Also if a copy holds the averaged weights and their batch norm statistics."""
    how, config = CONTINUED[name]
    every, once = (
        make_target(curve_epochs=points, **how).evaluate(config, 6, 4)
        for points in (range(1, 7), ())
    )
    assert bits(without_curve(every)) == bits(without_curve(once))
    for fold in every["folds"]:
        assert [point["epochs"] for point in fold["curve"]] == [1, 2, 3, 4, 5, 6]


def test_what_is_not_restored_is_noticed(tmp_path, monkeypatch):
    """The negative control of the tests above: each part of the state matters."""
    restore, how = Trainer.restore, {"optimizer": "schedule-free", "curve_epochs": ()}
    target = make_target(**how)
    result = target.evaluate(MODERN, 4, 4)
    for left_out in ("nothing", "network", "optimizer", "order", "dropout", "augment"):

        def careless(trainer, state, left_out=left_out):
            kept = {} if left_out == "nothing" else {left_out: trainer.state()[left_out]}
            restore(trainer, {**state, **copy.deepcopy(kept)})

        monkeypatch.setattr(Trainer, "restore", careless)
        path = tmp_path / f"{left_out}.pt"
        found, logits = in_steps(path, steps=(2, 4), config=MODERN, **how)
        same = left_out == "nothing"
        assert (logits[1, 4].tobytes() == target.logits[1, 4].tobytes()) is same, left_out
        assert (bits(found) == bits(result)) is same, left_out


def test_only_the_missing_epochs_are_trained(tmp_path, monkeypatch, after_three):
    """None if the state has them; all if it has more, which would be another result."""
    calls, train_epoch, path = [], Trainer.train_epoch, tmp_path / "a.pt"

    def counted(trainer, *args):
        calls.append(trainer.epochs)
        train_epoch(trainer, *args)

    monkeypatch.setattr(Trainer, "train_epoch", counted)
    in_steps(path, steps=(2,))
    for again in ([2, 2], []):
        calls.clear()
        assert bits(make_target().evaluate(CONFIG, 3, 4, path)) == bits(after_three)
        assert calls == again
    in_steps(path, steps=(6,))
    calls.clear()
    check_retrained(path, after_three)
    assert calls == [0, 1, 2, 0, 1, 2]


@pytest.mark.parametrize(("rate", "use_bn"), [(1e30, True), (1e38, False)])
def test_a_diverging_training_is_a_result_and_continues_to_it(tmp_path, rate, use_bn):
    config = {**CONFIG, "learning_rate_init": rate, "use_BN": use_bn}
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # numpy's warnings must not appear in the search's output
        stepped, _ = in_steps(tmp_path / "a.pt", steps=(3, 6), config=config)
        assert bits(stepped) == bits(make_target().evaluate(config, 6, 4))
    for part in (stepped, *stepped["folds"]):
        assert np.isnan([part[name] for name in METRICS]).all()


def check_retrained(path, after_three_epochs):
    """With any content of the file, the result is that of training from the beginning."""
    assert bits(make_target().evaluate(CONFIG, 3, 4, path)) == bits(after_three_epochs)


def damaged(saved):
    """Cut off, with flipped bits, or other data."""
    for share in (0.0, 0.001, 0.7, 0.9999):
        yield saved[: int(len(saved) * share)]
    for place in (0.01, 0.2, 0.5, 0.8, 0.97):
        start, flipped = int(len(saved) * place), bytearray(saved)
        for i in range(start, start + 200):
            flipped[i] ^= 0x55
        yield bytes(flipped)
    yield from (b"\0" * 100, b"PK\x03\x04" + b"x" * 50, pickle.dumps({"key": 1}), os.urandom(5000))


def test_a_damaged_state_is_retrained_and_replaced(tmp_path, saved, after_three):
    path = tmp_path / "a.pt"
    for content in damaged(saved):
        path.write_bytes(content)
        check_retrained(path, after_three)
        assert path.stat().st_size > 0.9 * len(saved)
    for content in ([1, 2], {"epochs": 1}, {"key": None, "epochs": 1, "folds": []}, None):
        torch.save(content, path)
        check_retrained(path, after_three)


def test_a_state_file_cannot_run_code(tmp_path, after_three):
    path, made = tmp_path / "a.pt", tmp_path / "made"

    class Bomb:
        def __reduce__(self):
            return os.mkdir, (str(made),)

    torch.save({"key": Bomb(), "epochs": 1, "folds": []}, path)
    check_retrained(path, after_three)
    assert not made.exists()


def test_the_state_of_another_training_is_not_used(tmp_path, after_three):
    """Of another seed, configuration, set of images, split, optimizer, dtype or curve."""
    path, images = tmp_path / "a.pt", images_of()
    more_classes = cross_validation(images, CLASSES + 1, 2, 1, curve_epochs=RUNGS)
    for target, config, seed in (
        (make_target(), CONFIG, 5),
        (make_target(), {**CONFIG, "dropout_rate": 0.31}, 4),
        (make_target(), {**CONFIG, "learning_rate_init": 0.1}, 4),
        (make_target(images_of(seed=8)), CONFIG, 4),
        (make_target(seed=2), CONFIG, 4),
        (make_target(folds=3), CONFIG, 4),
        (make_target(optimizer="adamw"), CONFIG, 4),
        (make_target(dtype="bfloat16"), CONFIG, 4),
        (make_target(curve_epochs=(1, 2)), CONFIG, 4),
        (more_classes, CONFIG, 4),
    ):
        target.evaluate(config, 1, seed, path)
        check_retrained(path, after_three)


def test_a_long_fold_survives_a_kill_within_the_next_one(tmp_path, monkeypatch):
    """Training resumes there, from any rung; a short fold writes no file."""
    whole = make_target().evaluate(CONFIG, 6, 4)

    def killed(fold, epoch):
        if (fold, epoch) == (1, 5):
            raise KeyboardInterrupt

    for seconds, begun in ((0.0, 0), (0.0, 3), (1e9, 0)):
        monkeypatch.setattr(target_module, "LONG_FOLD", seconds)
        target, trained, path = make_target(), [], tmp_path / f"{seconds} {begun}.pt"
        if begun:
            target.evaluate(CONFIG, begun, 4, path)
        target.on_epoch = killed
        with pytest.raises(KeyboardInterrupt):
            target.evaluate(CONFIG, 6, 4, path)
        assert path.exists() == (seconds == 0)
        target.on_epoch = lambda *where, to=trained: to.append(where)
        assert bits(target.evaluate(CONFIG, 6, 4, path)) == bits(whole)
        if seconds == 0:
            assert trained == [(1, epoch) for epoch in range(begun + 1, 7)]


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
