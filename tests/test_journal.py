"""The journal on disk, whole and damaged."""

import json
import os
from pathlib import Path

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from engine.storage.journal import Journal
from tests.stubs import make_trial, write_journal
from utils import InputError

TRIALS = [make_trial(i, epochs=epochs, cost_epochs=3) for i in range(3) for epochs in (3, 6)]


def test_a_trial_is_on_disk_when_append_returns(tmp_path, monkeypatch):
    path, synced = tmp_path / "trials.jsonl", []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(path.read_text()))
    journal = Journal(path)
    for count, trial in enumerate(TRIALS, start=1):
        journal.append(trial)
        assert len(synced) == count and synced[-1] == path.read_text()
        assert path.read_text().splitlines() == [t.to_line() for t in TRIALS[:count]]
    journal.close()


def test_a_journal_is_read_back_and_continued(tmp_path):
    path = tmp_path / "trials.jsonl"
    write_journal(path, TRIALS[:4])
    journal = Journal(path)
    assert journal.trials == TRIALS[:4] and not journal.warnings
    journal.append(TRIALS[4])
    journal.close()
    assert Journal(path).trials == TRIALS[:5]


def test_trials_are_found_by_their_key(tmp_path):
    write_journal(tmp_path / "trials.jsonl", TRIALS)
    journal = Journal(tmp_path / "trials.jsonl")
    assert journal.find(make_trial(1, epochs=6)) == TRIALS[3]
    assert journal.find(make_trial(1, epochs=7)) is None
    again = make_trial(1, epochs=6, repeat=1)
    assert journal.find(again) is None
    journal.append(again)
    assert journal.find(again).repeat == 1
    journal.close()


def test_a_trial_is_found_for_its_own_configuration_only(tmp_path):
    write_journal(tmp_path / "trials.jsonl", TRIALS)
    journal = Journal(tmp_path / "trials.jsonl")
    with pytest.raises(InputError, match=r"trial 1 is {\"x\":1}, and now it would be {\"x\":2}"):
        journal.find(make_trial(1, epochs=6, config={"x": 2}))
    journal.close()


def test_without_a_path_nothing_is_written():
    journal = Journal()
    journal.append(TRIALS[0])
    assert journal.find(TRIALS[0]) == TRIALS[0]
    journal.close()


def test_the_last_line_may_be_torn_anywhere(tmp_path):
    path = tmp_path / "trials.jsonl"
    lines = [trial.to_line() + "\n" for trial in TRIALS[:3]]
    kept = "".join(lines[:2]).encode()
    for length in range(1, len(lines[2])):
        path.write_bytes(kept + lines[2].encode()[:length])
        journal = Journal(path)
        assert journal.trials == TRIALS[:2]
        assert len(journal.warnings) == 1 and "trials.jsonl" in journal.warnings[0]
        assert path.read_bytes() == kept
        if length % 50 == 1:
            journal.append(TRIALS[2])
            assert path.read_text() == "".join(lines)
        journal.close()


def test_a_torn_first_line_leaves_an_empty_journal(tmp_path):
    path = tmp_path / "trials.jsonl"
    path.write_bytes(b'{"v": 1, "tri')
    journal = Journal(path)
    assert journal.trials == [] and len(journal.warnings) == 1 and path.read_bytes() == b""
    journal.close()


DAMAGES = ["", "7", "{}", "not json", '{"v": 2}', "\x00" * 50, TRIALS[0].to_line()[:-9]]


@pytest.mark.parametrize("damage", DAMAGES, ids=lambda line: repr(line)[:12])
@pytest.mark.parametrize("number", [1, 2, 3])
def test_damage_elsewhere_is_told_with_its_line(tmp_path, damage, number):
    path = tmp_path / "trials.jsonl"
    lines = [trial.to_line() for trial in TRIALS[:3]]
    lines[number - 1] = damage
    path.write_text("\n".join(lines) + "\n")
    before = path.read_bytes()
    with pytest.raises(InputError, match=f"trials.jsonl, line {number} is damaged") as caught:
        Journal(path)
    assert "\n" not in str(caught.value)
    assert path.read_bytes() == before


def loads_or_is_told(path: Path) -> None:
    try:
        Journal(path).close()
    except InputError as error:
        assert "trials.jsonl" in str(error)


on_a_folder = settings(
    max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


@on_a_folder
@given(content=st.binary(max_size=200) | st.text(max_size=50).map(str.encode))
@example(content=b"[" * 5000 + b"\n")
@example(content=b"1" * 5000 + b"\n")
def test_any_bytes_are_a_journal_or_told(tmp_path, content):
    path = tmp_path / "trials.jsonl"
    path.write_bytes(content)
    loads_or_is_told(path)


@on_a_folder
@given(position=st.integers(0, 2000), byte=st.integers(0, 255))
def test_any_changed_byte_is_a_journal_or_told(tmp_path, position, byte):
    path = tmp_path / "trials.jsonl"
    content = bytearray("".join(trial.to_line() + "\n" for trial in TRIALS).encode())
    content[position % len(content)] = byte
    path.write_bytes(bytes(content))
    loads_or_is_told(path)


VALUES = (
    st.none() | st.booleans() | st.integers() | st.text(max_size=3) | st.just([]) | st.just({})
)


@on_a_folder
@given(name=st.sampled_from(list(json.loads(TRIALS[0].to_line()))), value=VALUES)
@example(name="trial", value=[])
@example(name="epochs", value={})
@example(name="status", value=[])
def test_any_value_in_a_record_is_a_journal_or_told(tmp_path, name, value):
    path = tmp_path / "trials.jsonl"
    record = {**json.loads(TRIALS[0].to_line()), name: value}
    path.write_text(json.dumps(record) + "\n")
    loads_or_is_told(path)
