"""Hypothesis profile, shared fixtures, and the guard against files that tests leave behind."""

import os
import signal
import tempfile

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from search import guided
from search.space import Space
from tests.command_line import SMALL, logging_kept, make_folder, save
from tests.stubs import ROOT
from tests.trainings import CONFIG, make_target
from vision import data, download

GUARDED = (ROOT, ROOT / "runs", ROOT / "configs", ROOT / "data", ROOT / "data" / "cache")
IGNORED = {"__pycache__", ".pytest_cache", ".hypothesis", ".mypy_cache", ".ruff_cache"}

os.environ["HYPOTHESIS_STORAGE_DIRECTORY"] = os.path.join(
    tempfile.gettempdir(), f"hypothesis_{os.getuid()}"
)
os.environ["WANDB_MODE"] = "disabled"  # tests are not tracked, even if the developer has a key
# Tests send it; it is ignored if the tests are a script's job with &.
signal.signal(signal.SIGINT, signal.default_int_handler)
settings.register_profile(
    "project", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("project")


def entries() -> set[str]:
    return {
        os.path.join(folder, name)
        for folder in GUARDED
        if folder.is_dir()
        for name in os.listdir(folder)
        if name not in IGNORED
    }


@pytest.fixture(autouse=True)
def nothing_left_behind():
    before = entries()
    yield
    left = sorted(entries() - before)
    assert not left, f"the test left behind {', '.join(left)}"


@pytest.fixture
def few_candidates(monkeypatch):
    """A faster guided search: 16 candidates per child."""
    monkeypatch.setattr(guided, "CANDIDATES", 6)
    monkeypatch.setattr(guided, "NEIGHBOURS", 2)


@pytest.fixture(autouse=True)
def logging_as_before():
    with logging_kept():
        yield


@pytest.fixture(scope="session")
def space() -> Space:
    """The space of the search: configs/space.json."""
    return Space.load(ROOT / "configs" / "space.json")


@pytest.fixture(scope="session")
def modern_space() -> Space:
    return Space.load(ROOT / "configs" / "space_modern.json")


@pytest.fixture
def drawings(monkeypatch):
    """Replaces the embedded flowers, which take a second to draw, by other pixels."""
    drawn = np.random.default_rng(0).integers(0, 256, (1360, 8, 8, 3), dtype=np.uint8)
    monkeypatch.setattr(data, "_drawings", lambda size: (drawn, np.repeat(np.arange(17), 80)))
    return drawn


@pytest.fixture
def no_flowers(monkeypatch, tmp_path):
    """No photographs, no network, and separate caches."""
    monkeypatch.delenv("FLOWERS17_DIR", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    # No server listens there, so no test can reach the real home of Flowers-17.
    monkeypatch.setattr(download, "BASE_URL", "http://127.0.0.1:9/")
    monkeypatch.setattr(data, "DEFAULT_CACHE", tmp_path / "data" / "cache")


@pytest.fixture
def cache(tmp_path):
    return tmp_path / "data" / "cache"


@pytest.fixture
def folder(tmp_path):
    return make_folder(tmp_path / "woods")


@pytest.fixture
def config(tmp_path):
    (tmp_path / "given").mkdir()
    return save(tmp_path / "given" / "small.json", SMALL)


@pytest.fixture(scope="module")
def after_three():
    return make_target().evaluate(CONFIG, 3, 4)


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    """The state file after three epochs."""
    path = tmp_path_factory.mktemp("states") / "three.pt"
    make_target().evaluate(CONFIG, 3, 4, path)
    return path.read_bytes()
