"""The whole search on a target without training: methods, limits, failures."""

import csv
import json
import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from engine.cli.settings import resolve
from engine.storage.run import RunFolder
from engine.workers.dispatch import WATCHED_JOBS
from optimizer import search
from search.trial import canonical, evaluation_seed
from tests.searches import CHARGES, each_method, fate, small, spent, unlucky
from tests.stub_target import StubTarget
from tests.stubs import lines, on_disk, small_space
from utils import InputError, derive_seed


@pytest.fixture(scope="module")
def whole(space):
    return search(space, StubTarget(), small()).trials


@each_method
def test_each_method_for_two_generations(space, sampler, hyperband):
    given = {"sampler": sampler, "hyperband": hyperband, "max_generations": 2, "workers": "0"}
    result = search(space, StubTarget(), resolve(given))
    assert result.reason == "generation limit"
    for generation in (1, 2):
        trials = [trial for trial in result.trials if trial.generation == generation]
        assert len({trial.trial for trial in trials}) == (43 if hyperband else 10)
        assert sum(trial.epochs == 50 for trial in trials) == 10
        assert spent(trials) == (861 if hyperband else 500)
    initial = [trial for trial in result.trials if trial.generation == 0]
    assert len(initial) == (50 if sampler == "evolution" else 0)
    assert all(trial.epochs == 50 for trial in initial)
    if sampler == "random":
        assert {trial.operator for trial in result.trials} == {"sample"}
    else:
        later = [trial for trial in result.trials if trial.generation]
        assert {trial.operator for trial in later} == {"mutate", "recombine"}
    configs = {trial.trial: canonical(trial.config) for trial in result.trials}
    assert len(set(configs.values())) == len(configs)
    assert sorted(configs) == list(range(len(configs)))
    assert all(trial.metrics["num_params"] <= 2e7 for trial in result.trials)


def test_another_seed_is_another_search(space, whole):
    other = search(space, StubTarget(), small(seed=124)).trials
    configs = [{canonical(trial.config) for trial in trials} for trials in (whole, other)]
    assert not lines(whole) & lines(other) and not configs[0] & configs[1]


def test_states_and_seeds_are_those_of_the_job_and_no_state_is_left(space, tmp_path):
    left = []

    def count_states(*_):
        left.append(len(list((tmp_path / "run" / "checkpoints").iterdir())))

    target = StubTarget(count_states)
    result = search(space, target, small(), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()
    for trial, call, begun in zip(result.trials, target.calls, target.begun, strict=True):
        config, epochs, seed, state = call
        assert (trial.config, trial.epochs) == (config, epochs)
        assert seed == evaluation_seed(123, config)
        assert Path(state).name == f"trial_{trial.trial:06d}.pt"
        assert begun == (trial.epochs - trial.cost_epochs if trial.bracket else 0)
    between_rungs = left[small().pop_size :]
    assert 0 < max(between_rungs) <= 4 and max(left[: small().pop_size]) == 0


def test_without_a_folder_nothing_is_written(space, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    target = StubTarget()
    search(space, target, small(max_generations=1))
    assert not list(tmp_path.iterdir()) and all(state is None for *_, state in target.calls)


def overtrained(config: dict, epochs: int) -> dict:
    """Fewer epochs are better."""
    return {"top3": 1 / epochs + derive_seed(config) / 2**67}


@pytest.mark.parametrize("act", [lambda *_: None, overtrained], ids=["up", "down"])
def test_only_the_fully_trained_survive_become_parents_and_win(space, act):
    settings = small(max_generations=4)
    result = search(space, StubTarget(act), settings)
    key = settings.ranking().key
    for generation in range(1, 5):
        before = [t for t in result.trials if t.generation < generation and t.epochs == 12]
        population = {trial.trial for trial in sorted(before, key=key)[:4]}
        children = [trial for trial in result.trials if trial.generation == generation]
        assert children and all(set(trial.parents) <= population for trial in children)
    assert result.best == min((t for t in result.trials if t.epochs == 12), key=key)
    assert result.feasible == (result.best.metrics["precision"] >= 0.39)


def test_all_methods_of_a_seed_share_the_first_population(space, whole):
    plain = search(space, StubTarget(), small(max_generations=0, hyperband=False)).trials
    assert lines(plain) == lines([trial for trial in whole if not trial.generation])


def test_promotion_keeps_the_best_of_each_rung(whole):
    key = small().ranking().key
    for generation, bracket in ((1, 2), (1, 1), (2, 2), (2, 1)):
        place = generation, bracket
        trials = [trial for trial in whole if (trial.generation, trial.bracket) == place]
        for rung in range(bracket):
            here = sorted((t for t in trials if t.rung == rung), key=key)
            promoted = {t.trial for t in trials if t.rung == rung + 1}
            assert promoted == {t.trial for t in here[: len(promoted)]} and promoted


def test_where_nothing_is_feasible_the_nearest_is_the_best(space, tmp_path):
    settings = small(constraints=["precision >= 2"], max_generations=1)
    result = search(space, StubTarget(), settings, tmp_path / "run")
    full = [trial for trial in result.trials if trial.epochs == 12]
    assert not result.feasible
    assert result.best.metrics["precision"] == max(t.metrics["precision"] for t in full)
    winner = json.loads((tmp_path / "run" / "run.json").read_text())["winner"]
    assert not winner["feasible"] and winner["config"] == result.best.config


@pytest.mark.parametrize("limit", [11, 12, 50, 131, 132, 216])
def test_the_limit_of_epochs_is_exact(space, whole, limit, tmp_path):
    result = search(space, StubTarget(), small(max_total_epochs=limit), tmp_path / "run")
    ends = np.cumsum(CHARGES)
    assert spent(result.trials) == max((end for end in ends if end <= limit), default=0)
    assert result.reason == ("epoch limit" if limit < ends[-1] else "generation limit")
    full = [trial for trial in result.trials if trial.epochs == 12]
    assert result.best == min(full, key=small().ranking().key, default=None)
    assert not (tmp_path / "run" / "checkpoints").exists()
    rows = csv.DictReader((tmp_path / "run" / "population.csv").open())
    assert [int(row["step"]) for row in rows] == sorted({t.generation for t in result.trials})
    assert lines(on_disk(tmp_path / "run")) == lines(result.trials) <= lines(whole)


def test_the_limit_of_epochs_counts_without_brackets(space):
    result = search(space, StubTarget(), small(hyperband=False, max_total_epochs=71))
    assert spent(result.trials) == 60 and result.reason == "epoch limit"


def test_without_time_or_generations_there_is_the_initial_population_or_nothing(space):
    for given, jobs, reason in (
        ({"max_generations": 0}, 4, "generation limit"),
        ({"max_generations": 0, "sampler": "random"}, 0, "generation limit"),
        ({"max_time": 0}, 0, "time limit"),
    ):
        result = search(space, StubTarget(), small(**given))
        assert len(result.trials) == jobs and result.reason == reason
        assert (result.best is None) == (jobs == 0)


def test_a_search_leaves_its_folder_to_others(space, tmp_path):
    settings = small(max_generations=0)
    with pytest.raises(InputError, match="size <= 0"):
        target = StubTarget(static_metrics=lambda config: {"size": config["x"]})
        search(small_space(2), target, small(constraints=["size <= 0"]), tmp_path / "run")
    RunFolder(tmp_path / "run").close()
    result = search(space, StubTarget(), settings, tmp_path / "other")
    folder = RunFolder(tmp_path / "other")
    assert search(space, StubTarget(), settings, folder).best == result.best
    with pytest.raises(InputError, match="in use"):
        RunFolder(tmp_path / "other")
    folder.close()


def test_a_target_that_fails_now_and_then_does_not_end_the_search(space, tmp_path):
    settings = small(pop_size=6)
    result = search(space, StubTarget(unlucky), settings, tmp_path / "run")
    assert result.reason == "generation limit"
    statuses = Counter(trial.status for trial in on_disk(tmp_path / "run"))
    assert min(statuses["ok"], statuses["failed"], statuses["diverged"]) > 0
    for trial in result.trials:
        raises = "failed" if trial.epochs > 3 else "ok"
        expected = {"raises": raises, "diverges": "diverged", "ok": "ok"}
        assert trial.status == expected[fate(trial.config)]
        if trial.status == "failed":
            assert trial.error.startswith("RuntimeError: out of luck")
        if trial.status == "diverged":
            assert trial.metrics["top3"] is None and trial.metrics["loss"] is None
            assert trial.error == "not finite: top3, loss"
    assert result.best.status == "ok" and fate(result.best.config) == "ok"
    target = StubTarget()
    again = search(space, target, replace(settings, max_time=0.0), tmp_path / "run")
    assert not target.calls and lines(again.trials) == lines(result.trials)
    assert again.reason == "generation limit", "what is finished needs no time"


def test_a_target_that_always_fails_ends_the_search(space, tmp_path, caplog):
    def broken(config, epochs):
        raise OSError("no disk")

    for _ in range(2):
        result = search(space, StubTarget(broken), small(), tmp_path / "run")
        assert result.reason == "failures" and result.best is None
        assert len(result.trials) == WATCHED_JOBS // 2 + 1
        assert not (tmp_path / "run").exists(), "nothing is lost, and another call may try again"
    warned = [one.message for one in caplog.records if one.levelno >= logging.WARNING]
    assert "no disk" in result.detail and any("no disk" in message for message in warned)


@pytest.mark.parametrize("kind", [np.float32, np.int64])
def test_a_target_may_measure_in_numpy_numbers(space, tmp_path, kind):
    target = StubTarget(lambda *_: {"recall": kind(1)})
    result = search(space, target, small(max_generations=0), tmp_path / "run")
    assert {trial.status for trial in result.trials} == {"ok"}
    assert all(trial.metrics["recall"] == 1 for trial in on_disk(tmp_path / "run"))


def test_an_estimate_is_said_before_the_first_job_and_not_on_resume(space, tmp_path, caplog):
    class Guessing(StubTarget):
        def estimate_seconds(self, config, epochs):
            return 1000.0 * epochs

    caplog.set_level(logging.INFO, "nas")
    search(space, Guessing(), small(max_generations=0), tmp_path / "run")
    first, following = "hours for the first generation", "hours for the next one"
    assert estimates(caplog) == [f"13.3 {first}"], "no other one follows"
    search(space, Guessing(), small(max_generations=0), tmp_path / "run")
    assert estimates(caplog) == []
    for given, words in (
        ({"max_generations": 1}, f"13.3 {first}, 23.3 {following}"),
        ({"max_total_epochs": 60}, f"13.3 {first}, 3.3 {following}"),
        ({"max_total_epochs": 30}, f"6.7 {first}"),
        ({"sampler": "guided", "default_first": True}, f"10.0 {first}, 6.7 {following}"),
    ):
        search(space, Guessing(), small(**given))
        assert estimates(caplog) == [words]


@pytest.mark.parametrize("constraints", [["macs <= 900"], ["size <= 100"]])
def test_slow_networks_without_a_limit_on_macs_are_said(space, caplog, constraints):
    class Guessing(StubTarget):
        def estimate_seconds(self, config, epochs):
            return 1.0 if config == space.default() else 9.0

    def static_metrics(config):
        return {"macs": 500, "size": 1}

    caplog.set_level(logging.INFO, "nas")
    own = {"sampler": "guided", "default_first": True, "constraints": constraints}
    search(space, Guessing(static_metrics=static_metrics), small(**own))
    said = "times as long as the default, which has 500 multiply-adds"
    assert (said in caplog.text) is (constraints == ["size <= 100"])
    assert "a tenth of the time limit" not in caplog.text
    search(space, Guessing(static_metrics=static_metrics), small(**own, max_time=60.0))
    assert "a tenth of the time limit (60 seconds)" in caplog.text
    assert "none will end" not in caplog.text
    search(space, Guessing(static_metrics=static_metrics), small(**own, max_time=9, grace=2))
    assert "takes 12 seconds: none will end within --max_time 9" in caplog.text


def estimates(caplog):
    """The estimates that were told since the last call."""
    told = [one.message for one in caplog.records if one.message.startswith("estimated time: ")]
    caplog.clear()
    return [message.removeprefix("estimated time: ") for message in told]
