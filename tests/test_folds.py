"""What rungs of one fold lose: by curves whose folds agree, and by some whose folds do not."""

import numpy as np
import pytest

from benchmarks import folds
from benchmarks.curves import METRICS


def test_the_best_that_is_not_kept_is_lost():
    full = np.array([0.5, 0.9, 0.8, 0.7])
    assert folds.lost(np.array([4.0, 1, 2, 3]), full) == pytest.approx(0.1)
    assert folds.lost(full, full) == 0


def test_folds_that_agree_lose_nothing_and_noise_in_one_does():
    level = np.linspace(0.3, 0.8, 20)[:, None, None] * np.ones((20, 3, 50))
    assert folds.row(level, 3, draws=50) == pytest.approx((1, 1, 0, 0, 0))
    noise = np.zeros_like(level)
    noise[:, :, :8] = np.random.default_rng(1).normal(0, 0.3, (20, 3, 8))
    every, one, by_all, by_one, longer = folds.row(level + noise, 3, draws=500)
    assert 1 > every > one and 0 == longer < by_all < by_one


def test_luck_is_what_a_fold_keeps_from_rung_to_rung():
    """Neither the level of its configuration nor that of the fold's images is luck."""
    rng = np.random.default_rng(2)
    fold, own = rng.normal(0, 0.03, (200, 3, 1)), rng.normal(0, 0.03, (200, 3, 50))
    level, images = rng.uniform(0.2, 0.8, (200, 1, 1)), np.array([-0.1, 0.0, 0.1])[:, None]
    curves = np.full((200, 3, 50, 5), 0.5)
    apart = ~np.eye(len(folds.RUNGS), dtype=bool)
    for share in (0.0, 0.8):
        noise = np.sqrt(share) * fold + np.sqrt(1 - share) * own
        scaled = np.arcsin(np.sqrt(level)) + images + noise
        curves[..., METRICS.index("precision")] = np.sin(scaled) ** 2
        assert folds.luck(curves, "precision")[apart] == pytest.approx(share, abs=0.15)


def test_it_prints_a_row_for_each_number_of_epochs(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["folds"])
    monkeypatch.setattr(folds, "DRAWS", 5)
    folds.main()
    first, second = (part.splitlines() for part in capsys.readouterr().out.split("\n\n"))
    assert len(first) == 2 + 2 * len(folds.EPOCHS) and len(second) == 2 + 2 * len(folds.RUNGS)
    assert first[2].startswith("| all | 3 | ") and first[-1].startswith("| better half | 12 | ")
    assert second[2].startswith("| top3 | 3 | 1.00 | ") and second[-1].endswith(" | 1.00 |")
