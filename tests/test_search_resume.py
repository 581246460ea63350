"""A search that was stopped, killed or extended resumes to the same result."""

import contextlib
import json
import logging
import os
import signal
import time

import pytest

import optimizer
from engine.storage.run import RunFolder
from engine.workers.planning import model_facts
from optimizer import search
from search.guided import GuidedSampler
from search.trial import canonical
from tests.searches import GUIDED, METHODS, assert_resumed, small
from tests.stub_target import StubTarget
from tests.stubs import assert_same, lines, on_disk

pytestmark = pytest.mark.usefixtures("few_candidates")


def test_a_search_stopped_again_and_again_trains_nothing_twice(space, tmp_path):
    targets = assert_resumed(space, small(max_generations=1), tmp_path / "run", 1, False)
    calls = [(canonical(c), epochs) for target in targets for c, epochs, *_ in target.calls]
    assert len(calls) == len(set(calls)) == 18
    begun = [begun for target in targets for begun in target.begun]
    assert sorted(begun) == [0] * 14 + [3, 3, 6, 6]


@pytest.mark.parametrize(("sampler", "hyperband"), METHODS)
def test_every_method_can_be_stopped(space, tmp_path, sampler, hyperband):
    settings = small(sampler=sampler, hyperband=hyperband, max_generations=1)
    states_are_ahead_of_the_journal = sampler == "evolution"
    assert_resumed(space, settings, tmp_path / "run", 5, states_are_ahead_of_the_journal)


def test_a_journal_may_be_cut_torn_and_in_any_order(space, tmp_path, caplog):
    """The model also learns from the trials in their fixed order, and ignores `meta`."""
    settings = small(**{**GUIDED, "max_generations": 6})
    whole = search(space, StubTarget(), settings, tmp_path / "run")
    before = lines(on_disk(tmp_path / "run"))
    path = tmp_path / "run" / "trials.jsonl"
    two_thirds = path.read_text().splitlines()[: 2 * len(before) // 3]
    two_thirds = [json.dumps({**json.loads(line), "meta": {}}) for line in two_thirds]
    path.write_text("".join(line + "\n" for line in two_thirds[::-1]) + '{"v": 2, "tri')
    target = StubTarget()
    with caplog.at_level(logging.WARNING, "nas"):
        result = search(space, target, settings, tmp_path / "run")
    assert "incomplete" in caplog.text
    assert len(target.calls) == len(before) - len(two_thirds)
    assert lines(result.trials) == lines(whole.trials)
    assert lines(on_disk(tmp_path / "run")) == before
    assert result.best.config == whole.best.config


@pytest.mark.parametrize(
    ("first", "more"),
    [
        ({"max_total_epochs": 48}, {"max_total_epochs": 70}),  # at the end of a generation
        ({**GUIDED, "max_total_epochs": 60}, {**GUIDED, "max_total_epochs": 100}),  # in a rung
        ({"max_generations": 1}, {"max_generations": 2}),
    ],
)
def test_a_run_goes_on_with_a_larger_limit(space, tmp_path, first, more):
    search(space, StubTarget(), small(**first), tmp_path / "run")
    longer = search(space, StubTarget(), small(**more), tmp_path / "run")
    at_once = search(space, StubTarget(), small(**more))
    assert_same(tmp_path / "run", longer.trials, at_once.trials)
    assert longer.best.config == at_once.best.config


def test_the_time_limit_counts_over_sessions(space, tmp_path):
    search(space, StubTarget(), small(max_generations=0), tmp_path / "run")
    path, target = tmp_path / "run" / "trials.jsonl", StubTarget()
    known = [json.loads(line) for line in path.read_text().splitlines()]
    long = [json.dumps({**line, "meta": {"elapsed": 100.0}}) for line in known]
    path.write_text("".join(line + "\n" for line in long))
    result = search(space, target, small(max_generations=1, max_time=99), tmp_path / "run")
    assert result.reason == "time limit" and not target.calls


def test_a_signal_between_trainings_waits_for_the_journal(space, tmp_path, monkeypatch):
    append = optimizer.Journal.append

    def append_with_signal(journal, trial):
        if len(journal.trials) == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return append(journal, trial)

    monkeypatch.setattr(optimizer.Journal, "append", append_with_signal)
    with contextlib.closing(RunFolder(tmp_path / "run")) as folder:
        result = search(space, StubTarget(), small(), folder)
    assert result.reason == "terminated" and len(on_disk(tmp_path / "run")) == 3


def interrupted_run(space, path):
    """A guided search of 6 generations, whose journal then lacks its last lines."""
    settings = small(**{**GUIDED, "max_generations": 6})
    whole = search(space, StubTarget(), settings, path)
    known = (path / "trials.jsonl").read_text().splitlines(keepends=True)
    (path / "trials.jsonl").write_text("".join(known[:-3]))
    return settings, whole


def test_a_resume_takes_the_children_of_later_generations_from_the_journal(
    space, tmp_path, monkeypatch
):
    """To choose each again takes a long search minutes."""
    settings, whole = interrupted_run(space, tmp_path / "run")
    drawn, propose = [], GuidedSampler._propose

    def noted(sampler, population, rng):
        drawn.append(len(sampler.seen))
        return propose(sampler, population, rng)

    monkeypatch.setattr(GuidedSampler, "_propose", noted)
    result = search(space, StubTarget(), settings, tmp_path / "run")
    assert lines(result.trials) == lines(whole.trials)
    first = {one.trial for one in whole.trials if one.generation == 1}
    begun = {one.trial for one in whole.trials if one.generation < 6}
    assert first <= {*drawn} and not {*drawn} & (begun - first)


def test_a_replay_takes_no_time_shortens_no_file_and_can_be_interrupted(
    space, tmp_path, monkeypatch
):
    settings, whole = interrupted_run(space, tmp_path / "run")
    table = (tmp_path / "run" / "population.csv").read_text()
    learn, generations = GuidedSampler.learn, []

    def slow(sampler, trials):
        generations.append(len(trials))
        time.sleep(0.2)
        if len(generations) == 4:
            assert (tmp_path / "run" / "population.csv").read_text() == table
            if interrupt:
                os.kill(os.getpid(), signal.SIGTERM)
        learn(sampler, trials)

    monkeypatch.setattr(GuidedSampler, "learn", slow)
    interrupt = True
    with contextlib.closing(RunFolder(tmp_path / "run")) as folder:
        folder.begin_session(settings, model_facts(settings))
        assert search(space, StubTarget(), settings, folder).reason == "terminated"
    assert len(generations) == 4
    interrupt, before = False, max(one.meta["elapsed"] for one in on_disk(tmp_path / "run"))
    generations.clear()
    result = search(space, StubTarget(), settings, tmp_path / "run")
    assert lines(result.trials) == lines(whole.trials) and len(generations) == 6
    assert max(one.meta["elapsed"] for one in result.trials) < before + 0.6
    after = (tmp_path / "run" / "population.csv").read_text()
    assert after.count("\n") == table.count("\n")


def test_what_was_promoted_stays_promoted_although_the_model_is_another(
    space, tmp_path, monkeypatch
):
    """As after `--allow_inexact`: the new model decides from where the journal ends."""
    settings, _ = interrupted_run(space, tmp_path / "run")
    before = on_disk(tmp_path / "run")
    rank = GuidedSampler.rank_for_promotion
    monkeypatch.setattr(GuidedSampler, "rank_for_promotion", lambda *all: rank(*all)[::-1])
    target = StubTarget()
    search(space, target, settings, tmp_path / "run")
    assert lines(before) <= lines(on_disk(tmp_path / "run"))
    assert len(target.calls) == 3, "as many as the journal lacks"
