"""The journal on disk, whole and damaged."""

import json
import os

import pytest

from engine.storage.journal import Journal
from tests.stubs import make_trial, write_journal
from utils import InputError

TRIALS = [
    make_trial(i, epochs=epochs, cost_epochs=3, folds=[{"top3": 0.5}, {"top3": 0.6}])
    for i in range(3)
    for epochs in (3, 6)
]


def test_a_trial_is_on_disk_when_append_returns(tmp_path, monkeypatch):
    path, synced = tmp_path / "trials.jsonl", []
    monkeypatch.setattr(os, "fsync", lambda _: synced.append(path.read_text()))
    journal = Journal(path)
    for count, trial in enumerate(TRIALS, start=1):
        journal.append(trial)
        assert len(synced) == count and synced[-1] == path.read_text()
        assert path.read_text().splitlines() == [t.to_line() for t in TRIALS[:count]]
    journal.close()


def test_a_trial_is_found_by_its_key_and_for_its_own_configuration_only(tmp_path):
    write_journal(tmp_path / "trials.jsonl", TRIALS)
    journal, again = Journal(tmp_path / "trials.jsonl"), make_trial(1, epochs=6, repeat=1)
    assert journal.find(make_trial(1, epochs=6)) == TRIALS[3]
    assert journal.find(make_trial(1, epochs=7)) is None
    assert journal.find(again) is None
    journal.append(again)
    assert journal.find(again).repeat == 1
    with pytest.raises(InputError, match=r"trial 1 is {\"x\":1}, and now it would be {\"x\":2}"):
        journal.find(make_trial(1, epochs=6, config={"x": 2}))
    journal.close()


def test_the_last_line_may_be_torn_anywhere(tmp_path, caplog):
    path = tmp_path / "trials.jsonl"
    lines = [trial.to_line() + "\n" for trial in TRIALS[:2]]
    kept, last = lines[0].encode(), lines[1].encode()
    for length in (1, 2, *range(3, len(last), 7), len(last) - 1):
        path.write_bytes(kept + last[:length])
        caplog.clear()
        journal = Journal(path)
        assert journal.trials == TRIALS[:1]
        assert len(caplog.records) == 1 and "trials.jsonl: its incomplete last line" in caplog.text
        assert path.read_bytes() == kept
        journal.append(TRIALS[1])
        assert path.read_text() == "".join(lines)
        journal.close()
    path.write_bytes(b'{"v": 1, "tri')  # an incomplete first line
    journal = Journal(path)
    assert journal.trials == [] and path.read_bytes() == b""
    journal.close()


DAMAGES = ["", "7", "{}", "not json", '{"v": 2}', "\x00" * 50, TRIALS[0].to_line()[:-9]]
DAMAGES += ["[" * 5000, "1" * 5000, TRIALS[0].to_line().replace('"status": "ok"', '"status": []')]
DAMAGES += [
    json.dumps(json.loads(TRIALS[0].to_line()) | change)
    for change in (
        *({"v": 3}, {"status": "fine"}, {"surprise": 1}, {"parents": 5}, {"trial": "seven"}),
        *({"epochs": None}, {"config": None}, {"metrics": {"top3": "high"}}),
    )
]


def test_damage_elsewhere_is_told_with_its_line(tmp_path):
    path = tmp_path / "trials.jsonl"
    for damage in DAMAGES:
        for number in (1, 2, 3):
            lines = [trial.to_line() for trial in TRIALS[:3]]
            lines[number - 1] = damage
            path.write_text("\n".join(lines) + "\n")
            before = path.read_bytes()
            with pytest.raises(InputError, match=f"line {number} is damaged") as caught:
                Journal(path)
            assert "\n" not in str(caught.value)
            assert path.read_bytes() == before
