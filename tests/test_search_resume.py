"""A search that was stopped, killed or given more goes on to the same end."""

import contextlib
import csv
import json
import logging
import os
import signal
from dataclasses import replace

import pytest

import optimizer
from engine.storage.run import RunFolder
from optimizer import search
from search.trial import canonical
from tests.searches import GUIDED, METHODS, assert_resumed, small, spent
from tests.stub_target import StubTarget
from tests.stubs import assert_same, lines, on_disk

pytestmark = pytest.mark.usefixtures("few_candidates")


def test_a_finished_search_is_finished_even_without_time(space, tmp_path):
    settings = small(max_generations=1)
    first = search(space, StubTarget(), settings, tmp_path / "run")
    population = (tmp_path / "run" / "population.csv").read_text()
    target = StubTarget()
    again = search(space, target, replace(settings, max_time=0.0), tmp_path / "run")
    assert not target.calls
    assert (again.reason, again.best) == (first.reason, first.best)
    assert (tmp_path / "run" / "population.csv").read_text() == population


@pytest.mark.parametrize("after", [1, 7])
def test_a_search_stopped_again_and_again_is_the_same_search(space, tmp_path, after):
    targets = assert_resumed(space, small(max_generations=1), tmp_path / "run", after, False)
    calls = [(canonical(c), epochs) for target in targets for c, epochs, *_ in target.calls]
    assert len(calls) == len(set(calls)) == 18
    begun = [begun for target in targets for begun in target.begun]
    assert sorted(begun) == [0] * 14 + [3, 3, 6, 6]


def test_a_search_killed_with_states_ahead_of_its_journal_is_the_same(space, tmp_path):
    assert_resumed(space, small(max_generations=1), tmp_path / "run", 5, True)


@pytest.mark.parametrize(("sampler", "hyperband"), METHODS[1:])
def test_every_method_can_be_stopped(space, tmp_path, sampler, hyperband):
    settings = small(sampler=sampler, hyperband=hyperband, max_generations=1)
    assert_resumed(space, settings, tmp_path / "run", 4, False)


def test_a_search_whose_journal_is_cut_anywhere_goes_on_to_the_same_end(space, tmp_path):
    settings = small(max_generations=1)
    whole = search(space, StubTarget(), settings, tmp_path / "whole")
    content = (tmp_path / "whole" / "trials.jsonl").read_text().splitlines(keepends=True)
    for count in (0, 5, 16):  # in each kind of bracket; no state of a training is left
        folder = tmp_path / str(count)
        folder.mkdir()
        (folder / "trials.jsonl").write_text("".join(content[:count]))
        target = StubTarget()
        result = search(space, target, settings, folder)
        assert lines(on_disk(folder)) == lines(on_disk(tmp_path / "whole"))
        assert result.best.config == whole.best.config
        assert len(target.calls) == len(content) - count


def test_the_order_of_a_journal_does_not_matter(space, tmp_path):
    """Not even to the model, which learns from the trials in their fixed order."""
    settings = small(**{**GUIDED, "max_generations": 6})
    whole = search(space, StubTarget(), settings, tmp_path / "run")
    before = lines(on_disk(tmp_path / "run"))
    path = tmp_path / "run" / "trials.jsonl"
    two_thirds = path.read_text().splitlines()[: 2 * len(before) // 3]
    path.write_text("".join(line + "\n" for line in two_thirds[::-1]))
    result = search(space, StubTarget(), settings, tmp_path / "run")
    assert lines(result.trials) == lines(whole.trials)
    assert lines(on_disk(tmp_path / "run")) == before
    assert result.best.config == whole.best.config


def test_a_torn_journal_is_said_and_mended(space, tmp_path, caplog):
    settings = small(max_generations=0)
    whole = search(space, StubTarget(), settings, tmp_path / "run")
    before = lines(on_disk(tmp_path / "run"))
    path = tmp_path / "run" / "trials.jsonl"
    path.write_bytes(path.read_bytes()[:-30])
    with caplog.at_level(logging.WARNING, "nas"):
        result = search(space, StubTarget(), settings, tmp_path / "run")
    assert "incomplete" in caplog.text
    assert lines(on_disk(tmp_path / "run")) == before
    assert lines(whole.trials) == lines(result.trials)


# At the end of a generation, and within a rung.
@pytest.mark.parametrize(("first", "more"), [(48, 70), (60, 130)])
def test_a_run_goes_on_with_a_larger_limit(space, tmp_path, first, more):
    search(space, StubTarget(), small(max_total_epochs=first), tmp_path / "run")
    longer = search(space, StubTarget(), small(max_total_epochs=more), tmp_path / "run")
    at_once = search(space, StubTarget(), small(max_total_epochs=more))
    assert_same(tmp_path / "run", longer.trials, at_once.trials)
    assert longer.best.config == at_once.best.config


@pytest.mark.parametrize("preset", [{}, GUIDED], ids=["published", "guided"])
def test_a_run_goes_on_for_more_generations(space, tmp_path, preset):
    first = small(**{**preset, "max_generations": 1})
    more = replace(first, max_generations=4 if preset else 2)
    search(space, StubTarget(), first, tmp_path / "run")
    longer = search(space, StubTarget(), more, tmp_path / "run")
    at_once = search(space, StubTarget(), more)
    assert_same(tmp_path / "run", longer.trials, at_once.trials)


@pytest.mark.parametrize("limit", [48, 132])
def test_population_csv_has_a_row_for_each_generation_with_trials(space, tmp_path, limit):
    settings = small(max_total_epochs=limit)
    result = search(space, StubTarget(), settings, tmp_path / "run")
    rows = list(csv.DictReader((tmp_path / "run" / "population.csv").open()))
    generations = sorted({trial.generation for trial in result.trials})
    assert [int(row["step"]) for row in rows] == generations
    assert int(rows[-1]["epochs"]) == spent(result.trials)
    initial = [trial for trial in result.trials if trial.generation == 0]
    best = min(initial, key=settings.ranking().key)
    assert float(rows[0]["best_acc"]) == best.metrics["top3"]


@pytest.mark.parametrize(
    ("number", "reason", "after"),
    [(signal.SIGINT, "interrupted", 6), (signal.SIGTERM, "terminated", 16)],
)
def test_a_signal_stops_in_training_and_leaves_the_best(space, tmp_path, number, reason, after):
    settings = small(max_generations=1)
    handlers = signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)
    target = StubTarget(
        lambda *_: os.kill(os.getpid(), number) if len(target.calls) == after else None
    )
    with contextlib.closing(RunFolder(tmp_path / "run")) as folder:  # as a command does
        result = search(space, target, settings, folder)
    assert result.reason == reason and len(result.trials) == after
    assert json.loads((tmp_path / "run" / "opt_cfg.json").read_text()) == result.best.config
    assert (signal.getsignal(signal.SIGINT), signal.getsignal(signal.SIGTERM)) == handlers
    again = search(space, StubTarget(), settings, tmp_path / "run")
    assert_same(tmp_path / "run", again.trials, search(space, StubTarget(), settings).trials)


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
