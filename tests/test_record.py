"""Recording of learning curves, on the embedded flowers with tiny budgets."""

import numpy as np
import pytest

from benchmarks import record
from benchmarks.curves import METRICS, pack, unpack
from engine.journal import read_trials
from utils import InputError


@pytest.fixture
def words(tmp_path):
    places = ["--work", str(tmp_path / "w.jsonl"), "--output", str(tmp_path / "c.npz")]
    tiny = ["--max_macs", "2e5", "--epochs", "2", "--jobs", "1", "--dataset", "synthetic"]
    return [*places, *tiny]


def test_a_recording_goes_on_and_is_packed(words, tmp_path, capsys, monkeypatch):
    # Small rounds, so that the second is drawn from the first; not yet known to the others.
    monkeypatch.setattr(record, "ROUND", 2)
    monkeypatch.setattr(record, "RANDOM", 1)
    assert record.main([*words, "--configurations", "1"]) == 0
    first = (tmp_path / "w.jsonl").read_text()
    assert record.main([*words, "--configurations", "4"]) == 0
    assert (tmp_path / "w.jsonl").read_text().startswith(first), "nothing is trained twice"
    trials, _ = read_trials(tmp_path / "w.jsonl")
    assert [trial.trial for trial in trials] == [0, 1, 2, 3]
    assert [trial.operator for trial in trials[:3]] == ["sample"] * 3
    assert trials[3].operator in ("mutate", "recombine") and set(trials[3].parents) <= {0, 1}

    curves = unpack(tmp_path / "c.npz")
    assert curves.configs == [trial.config for trial in trials]
    assert curves.macs.max() <= 2e5
    assert curves.curves.shape == (4, 3, 2, len(METRICS))
    for trial, curve in zip(trials, curves.curves, strict=True):
        means = [trial.metrics[name] for name in METRICS]
        assert np.allclose(curve[:, -1].mean(axis=0), means, rtol=1e-6)

    packed = (tmp_path / "c.npz").read_bytes()
    assert pack(trials[:3], tmp_path / "c.npz") == 4, "what holds more is kept"
    assert record.main([*words, "--pack"]) == 0
    assert (tmp_path / "c.npz").read_bytes() == packed, "packing is repeatable"

    def interrupted(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(record, "results", interrupted)
        assert record.main([*words, "--configurations", "6"]) == 130
    told = capsys.readouterr()
    assert "goes on" in told.err and "4 configurations" in told.out.splitlines()[-1]

    assert record.main([*words, "--configurations", "4", "--seed", "5"]) == 2
    assert "now it would be" in capsys.readouterr().err


def test_missing_curves_are_told(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        unpack(tmp_path / "none.npz")
