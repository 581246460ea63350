"""The whole search on a target that trains nothing: methods, limits, failures."""

import json
import logging
from collections import Counter
from pathlib import Path

import numpy as np
import pytest

from engine.callbacks import Callback
from engine.cli.settings import resolve
from engine.storage.run import RunFolder
from engine.workers.dispatch import WATCHED_JOBS
from engine.workers.planning import plan
from optimizer import search
from search.hyperband import hyperband_brackets, plain_bracket
from search.trial import canonical, evaluation_seed
from tests.searches import CHARGES, SMALL, each_method, fate, small, spent, unlucky
from tests.stub_target import StubTarget, num_params
from tests.stubs import assert_same, bare, lines, make_trial, on_disk, rich_space, small_space
from utils import InputError, derive_seed


@each_method
def test_each_method_for_two_generations(space, sampler, hyperband):
    settings = resolve(
        {"sampler": sampler, "hyperband": hyperband, "max_generations": 2, "workers": "0"}
    )
    target = StubTarget()
    result = search(space, target, settings)
    assert result.reason == "generation limit"
    assert {trial.generation for trial in result.trials} == (
        {0, 1, 2} if sampler == "evolution" else {1, 2}
    )
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


def test_the_brackets_of_each_generation():
    for hyperband in (True, False):
        settings = resolve({"hyperband": hyperband, "pop_size": 7, "num_children": 4})
        assert plan(settings, 0) == [plain_bracket(7, 50)]
        brackets = hyperband_brackets(50, 3, 2) if hyperband else [plain_bracket(4, 50)]
        assert plan(settings, 1) == plan(settings, 2) == brackets


def test_all_evolutions_of_a_seed_share_generation_zero(space):
    with_halving = search(space, StubTarget(), small())
    plain = search(space, StubTarget(), small(hyperband=False, num_children=2, mutation_rate=1))
    initial = [
        lines([trial for trial in result.trials if trial.generation == 0])
        for result in (with_halving, plain)
    ]
    assert initial[0] == initial[1] and len(initial[0]) == 4


@each_method
def test_a_seed_decides_everything(space, sampler, hyperband, tmp_path):
    given = {"sampler": sampler, "hyperband": hyperband}
    first = search(space, StubTarget(), small(**given))
    again = search(space, StubTarget(), small(**given), tmp_path / "run")
    assert_same(tmp_path / "run", again.trials, first.trials)
    assert first.best.config == again.best.config
    assert json.loads((tmp_path / "run" / "opt_cfg.json").read_text()) == first.best.config
    other = search(space, StubTarget(), small(**given, seed=124))
    assert not lines(first.trials) & lines(other.trials)
    configs = [{canonical(t.config) for t in result.trials} for result in (first, other)]
    assert not configs[0] & configs[1]


def test_a_rich_space_is_searched_too():
    target = StubTarget(static_metrics=lambda config: {"num_params": config["width"]})
    result = search(rich_space(), target, small(constraints=["num_params <= 500"]))
    assert result.reason == "generation limit" and result.best.metrics["num_params"] <= 500


def test_every_job_gets_the_seed_of_its_configuration(space, tmp_path):
    target = StubTarget()
    search(space, target, small(), tmp_path / "run")
    for config, _, seed, _ in target.calls:
        assert seed == evaluation_seed(123, config)


def test_states_wait_between_rungs_only_and_are_gone_in_the_end(space, tmp_path):
    left = []

    def count_states(*_):
        left.append(len(list((tmp_path / "run" / "checkpoints").iterdir())))

    target = StubTarget(count_states)
    result = search(space, target, small(), tmp_path / "run")
    assert not (tmp_path / "run" / "checkpoints").exists()
    for trial, (config, epochs, _, state), begun in zip(
        result.trials, target.calls, target.begun, strict=True
    ):
        assert (trial.config, trial.epochs) == (config, epochs)
        assert Path(state).name == f"trial_{trial.trial:06d}.pt"
        assert begun == (trial.epochs - trial.cost_epochs if trial.bracket else 0)
    assert 0 < max(left) <= 4 and max(left[: small().pop_size]) == 0


def test_without_a_folder_nothing_is_written(space, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    target = StubTarget()
    search(space, target, small())
    assert not list(tmp_path.iterdir())
    assert all(state is None for *_, state in target.calls)


def overtrained(config: dict, epochs: int) -> dict:
    """The less training the better."""
    return {"top3": 1 / epochs + derive_seed(config) / 2**67}


either_way = pytest.mark.parametrize("act", [lambda *_: None, overtrained], ids=["up", "down"])


@either_way
def test_only_the_fully_trained_survive_and_become_parents(space, act):
    settings = small(max_generations=4)
    result = search(space, StubTarget(act), settings)
    key = settings.ranking().key
    for generation in range(1, 5):
        before = [t for t in result.trials if t.generation < generation and t.epochs == 12]
        population = {trial.trial for trial in sorted(before, key=key)[:4]}
        children = [trial for trial in result.trials if trial.generation == generation]
        assert children and all(set(trial.parents) <= population for trial in children)


@either_way
def test_the_best_is_the_best_of_the_fully_trained(space, act):
    settings = small()
    result = search(space, StubTarget(act), settings)
    full = [trial for trial in result.trials if trial.epochs == 12]
    assert result.best == min(full, key=settings.ranking().key)
    assert result.feasible == (result.best.metrics["precision"] >= 0.39)


def test_promotion_keeps_the_best_of_each_rung(space):
    settings = small()
    result = search(space, StubTarget(), settings)
    for generation, bracket in ((1, 2), (1, 1), (2, 2), (2, 1)):
        trials = [
            trial
            for trial in result.trials
            if (trial.generation, trial.bracket) == (generation, bracket)
        ]
        for rung in range(bracket):
            here = sorted((t for t in trials if t.rung == rung), key=settings.ranking().key)
            promoted = {t.trial for t in trials if t.rung == rung + 1}
            assert promoted == {t.trial for t in here[: len(promoted)]} and promoted


def test_another_objective_and_a_limit_on_another_metric(space):
    given = {"objective": "minimize loss", "constraints": ["recall >= 0.15"]}
    result = search(space, StubTarget(), small(**given))
    full = [trial for trial in result.trials if trial.epochs == 12]
    feasible = [trial for trial in full if trial.metrics["recall"] >= 0.15]
    assert feasible and len(feasible) < len(full)
    assert result.feasible
    assert result.best.metrics["loss"] == min(trial.metrics["loss"] for trial in feasible)


def test_where_nothing_is_feasible_the_nearest_is_the_best(space, tmp_path):
    result = search(space, StubTarget(), small(constraints=["precision >= 2"]), tmp_path / "run")
    full = [trial for trial in result.trials if trial.epochs == 12]
    assert not result.feasible
    assert result.best.metrics["precision"] == max(t.metrics["precision"] for t in full)
    winner = json.loads((tmp_path / "run" / "run.json").read_text())["winner"]
    assert not winner["feasible"] and winner["config"] == result.best.config


@pytest.fixture(scope="module")
def whole(space):
    return search(space, StubTarget(), small()).trials


@pytest.mark.parametrize("limit", [1, 11, 12, 47, 48, 50, 51, 60, 95, 96, 131, 132, 140, 216, 300])
def test_the_limit_of_epochs_is_exact(space, whole, limit, tmp_path):
    result = search(space, StubTarget(), small(max_total_epochs=limit), tmp_path / "run")
    ends = np.cumsum(CHARGES)
    assert spent(result.trials) == max((end for end in ends if end <= limit), default=0)
    assert result.reason == ("epoch limit" if limit < ends[-1] else "generation limit")
    assert (result.best is None) == (limit < 12)
    assert not (tmp_path / "run" / "checkpoints").exists()
    assert lines(on_disk(tmp_path / "run")) <= lines(whole)
    assert lines(result.trials) <= bare(whole)


@pytest.mark.parametrize("sampler", ["evolution", "random"])
def test_the_limit_of_epochs_counts_for_plain_methods(space, sampler):
    result = search(
        space, StubTarget(), small(hyperband=False, sampler=sampler, max_total_epochs=71)
    )
    assert spent(result.trials) == 60 and result.reason == "epoch limit"


@pytest.mark.parametrize(("sampler", "last", "jobs"), [("evolution", 0, 4), ("random", 0, 0)])
def test_no_generations_leave_the_initial_population(space, sampler, last, jobs):
    result = search(space, StubTarget(), small(sampler=sampler, max_generations=last))
    assert len(result.trials) == jobs and result.reason == "generation limit"
    assert (result.best is None) == (jobs == 0)


def test_no_time_is_no_training(space):
    result = search(space, StubTarget(), small(max_time=0))
    assert result.reason == "time limit" and not result.trials and result.best is None


@each_method
def test_a_small_space_is_searched_to_its_end(sampler, hyperband, tmp_path):
    target = StubTarget(static_metrics=lambda config: {"size": config["x"]})
    settings = small(sampler=sampler, hyperband=hyperband, constraints=["size <= 6"])
    settings = resolve(
        {**SMALL, "max_generations": 9, "constraints": ["size <= 6"]},
        {"sampler": sampler, "hyperband": hyperband},
    )
    result = search(small_space(8), target, settings, tmp_path / "run")
    assert result.reason == "space exhausted"
    assert sorted({trial.config["x"] for trial in result.trials}) == [1, 2, 3, 4, 5, 6]
    again = search(small_space(8), target, settings, tmp_path / "run")
    assert again.reason == "space exhausted" and again.best == result.best


def test_limits_out_of_reach_name_the_limit_and_the_smallest(space, tmp_path):
    with pytest.raises(InputError) as caught:
        search(space, StubTarget(), small(constraints=["num_params <= 600"]), tmp_path / "run")
    message = str(caught.value)
    assert "num_params <= 600" in message and "601" in message and "\n" not in message
    RunFolder(tmp_path / "run").close()


def test_a_search_leaves_its_folder_to_others(space, tmp_path):
    result = search(space, StubTarget(), small(max_generations=0), tmp_path / "run")
    RunFolder(tmp_path / "run").close()
    folder = RunFolder(tmp_path / "run")
    assert search(space, StubTarget(), small(max_generations=0), folder).best == result.best
    with pytest.raises(InputError, match="in use"):
        RunFolder(tmp_path / "run")
    folder.close()


def test_a_target_that_fails_now_and_then_does_not_end_the_search(space, tmp_path):
    settings = small(pop_size=6)
    result = search(space, StubTarget(unlucky), settings, tmp_path / "run")
    assert result.reason == "generation limit"
    statuses = Counter(trial.status for trial in on_disk(tmp_path / "run"))
    assert min(statuses["ok"], statuses["failed"], statuses["diverged"]) > 0
    for trial in result.trials:
        assert (
            trial.status
            == {
                "raises": "failed" if trial.epochs > 3 else "ok",
                "diverges": "diverged",
                "ok": "ok",
            }[fate(trial.config)]
        )
        if trial.status == "failed":
            assert trial.error.startswith("RuntimeError: out of luck")
        if trial.status == "diverged":
            assert trial.metrics["top3"] is None and trial.metrics["loss"] is None
            assert trial.error == "not finite: top3, loss"
    assert result.best.status == "ok" and fate(result.best.config) == "ok"
    out = {trial.key for trial in result.trials if trial.status != "ok"}
    latest = {}
    for trial in result.trials:
        assert latest.get(trial.trial) not in out
        latest[trial.trial] = trial.key


def test_a_target_that_always_fails_ends_the_search(space, tmp_path, caplog):
    def broken(config, epochs):
        raise OSError("no disk")

    for session in (1, 2):  # another session may try anew
        result = search(space, StubTarget(broken), small(), tmp_path / "run")
        assert result.reason == "failures" and result.best is None
        assert len(result.trials) == session * (WATCHED_JOBS // 2 + 1)
        assert not (tmp_path / "run" / "opt_cfg.json").exists()
    with caplog.at_level(logging.INFO, "nas"):
        search(space, StubTarget(broken), small())
    assert "failed alike: OSError: no disk" in caplog.text


def test_what_failed_is_not_done_again_on_resume(space, tmp_path):
    settings = small(pop_size=6)
    first = search(space, StubTarget(unlucky), settings, tmp_path / "run")
    target = StubTarget()
    again = search(space, target, settings, tmp_path / "run")
    assert not target.calls and lines(again.trials) == lines(first.trials)


def test_an_objective_that_the_target_does_not_measure_is_told(space):
    with pytest.raises(InputError, match="nonsense"):
        search(space, StubTarget(), small(objective="maximize nonsense"))


@pytest.mark.parametrize("kind", [np.float64, np.float32, np.int64])
def test_a_target_may_measure_in_numpy_numbers(space, tmp_path, kind):
    target = StubTarget(lambda *_: {"recall": kind(1)})
    result = search(space, target, small(max_generations=0), tmp_path / "run")
    assert {trial.status for trial in result.trials} == {"ok"}
    assert all(trial.metrics["recall"] == 1 for trial in on_disk(tmp_path / "run"))


@pytest.mark.parametrize("value", ["high", None, [1], object()], ids=lambda v: type(v).__name__)
def test_a_metric_that_is_no_number_is_a_failure(space, tmp_path, value):
    target = StubTarget(lambda config, _: {"recall": value} if fate(config) == "ok" else None)
    result = search(space, target, small(max_generations=0, pop_size=6), tmp_path / "run")
    statuses = [trial.status for trial in on_disk(tmp_path / "run")]
    assert statuses == ["failed" if fate(t.config) == "ok" else "ok" for t in result.trials]
    assert set(statuses) == {"failed", "ok"}


def test_an_estimate_is_said_before_the_first_job_and_not_on_resume(space, tmp_path, caplog):
    class Guessing(StubTarget):
        def estimate_seconds(self, config, epochs):
            return 1000.0 * epochs

    with caplog.at_level(logging.INFO, "nas"):
        search(space, Guessing(), small(max_generations=0), tmp_path / "run")
    assert "estimated time: 13.3 hours for the first generation, 23.3 hours" in caplog.text
    assert "configs/quick.json" in caplog.text
    caplog.clear()
    with caplog.at_level(logging.INFO, "nas"):
        search(space, Guessing(), small(max_generations=0), tmp_path / "run")
    assert "estimated" not in caplog.text


def test_the_stub_counts_parameters_as_the_default_network_has_them(space):
    assert num_params(space.default()) == sum(
        [457 * (3 * 25 + 1), 511 * (457 * 25 + 1), 38 * (511 * 25 + 1)]
        + [27 * (38 + 1), 17 * (27 + 1), 17 * (17 + 1)]
    )
    assert make_trial(3).trial == 3


def test_folds_that_are_on_disk_do_not_fill_the_memory(space, tmp_path):
    class Memory(Callback):
        def generation_complete(self, row, trials):
            assert trials and not any(trial.folds for trial in trials)
            counts.append(len(trials))

    counts = []
    search(space, StubTarget(), small(), tmp_path / "run", [Memory()])
    assert counts and all(trial.folds for trial in on_disk(tmp_path / "run"))
