"""The study of ways of training: each trains, the store goes on, the table is right."""

import json

import numpy as np

from benchmarks import schedules, trainers
from benchmarks.trainers import Store, row, sampled, studied, train, varied
from tests.trainings import CLASSES, images_of

CONFIG = {**trainers._BASE, **trainers.NETWORKS[0], "width_0": 4, "width_1": 4, "width_2": 4}
CONFIG |= {"batch_size": 16, "learning_rate_init": 0.005}


def test_each_schedule_is_measured_at_each_rung_and_repeats_and_differs(monkeypatch):
    for module in (schedules, trainers):
        monkeypatch.setattr(module, "RUNGS", (1, 2))
    losses = set()
    for schedule in schedules.SCHEDULES:
        curve = train(images_of(), CLASSES, schedule, CONFIG, 1, 0)
        assert [point["epochs"] for point in curve] == [1, 2]
        assert all(np.isfinite(point["loss"]) for point in curve)
        assert train(images_of(), CLASSES, schedule, CONFIG, 1, 0) == curve
        losses.add(curve[-1]["loss"])
    assert len(losses) == len(schedules.SCHEDULES)


def test_the_store_goes_on(tmp_path, monkeypatch):
    path, calls = tmp_path / "a.jsonl", []
    curve = [{"epochs": 1, "top3": 0.5, "precision": 0.2, "loss": 1.0}]

    def counted(*arguments):
        calls.append(arguments)
        return [dict(curve[0]), {**curve[0], "top3": 0.5 + 0.001 * len(calls)}]

    monkeypatch.setattr(trainers, "train", counted)
    for _ in range(2):
        store = Store(str(path), None, CLASSES)
        curves = studied(store, "schedule-free", len(trainers.NETWORKS), 1)
    assert len(curves) == 15 and len(calls) == 3 + 15 == len(path.read_text().splitlines())
    assert len(sampled(store, "adam", 3)) == 3
    assert len(varied(store, "schedule-free", {"cutout": 0.0})) == 3
    rates = {json.loads(line)["key"][1]["learning_rate_init"] for line in path.open()}
    assert len(rates) > 3
    assert row("x", curves, False).startswith("| x | 0.500 0.5")
    curves = [[{"top3": i, "precision": i}, {"top3": i, "precision": -i}] for i in range(4)]
    assert row("x", curves, True) == "| x | 1.500 1.500 | 1.00 | 1.500 -1.500 | -1.00 |"
