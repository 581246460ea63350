"""The disk and the folder go wrong; loaders are given whatever bytes: one clear error, no more."""

import contextlib
import json
import resource
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import optimizer
from engine.cli.settings import read_preset, resolve
from engine.storage import run as run_module
from engine.storage.journal import Journal
from engine.storage.resuming import resumed
from engine.storage.run import RunFolder, read_record
from evaluation.candidates import read_candidates, search_behind
from optimizer import search
from tests.stub_target import StubTarget
from tests.stubs import lines, make_trial, on_disk
from utils import InputError
from vision.data import open_data, open_train

ROOT = Path(__file__).resolve().parent.parent
STUB = {"pop_size": 4, "epochs": 12, "max_generations": 1, "workers": "0"}


@pytest.fixture(scope="module")
def whole(space):
    return lines(search(space, StubTarget(), resolve(STUB)).trials)


# ------------------------------------------------------------------------- the disk and the folder


@contextlib.contextmanager
def full_disk(most):
    """A limit on the size of files stands for the end of the disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_full_disk_keeps_what_was_recorded(space, whole, tmp_path):
    with pytest.raises(OSError, match="File too large"), full_disk(6000):
        search(space, StubTarget(), resolve(STUB), tmp_path / "run")
    kept = (tmp_path / "run" / "trials.jsonl").read_text()
    assert 0 < kept.count("\n") < len(whole)
    search(space, StubTarget(), resolve(STUB), tmp_path / "run")
    assert lines(on_disk(tmp_path / "run")) == whole


def test_a_run_folder_that_is_removed_is_told(space, tmp_path):
    def remove(config, epochs):
        shutil.rmtree(tmp_path / "run", ignore_errors=True)

    with pytest.raises(FileNotFoundError):
        search(space, StubTarget(remove), resolve(STUB), tmp_path / "run")


def test_no_space_stops_before_a_bracket_and_goes_on_later(space, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "MIN_FREE_BYTES", 10**18)
    stopped = search(space, StubTarget(), resolve(STUB), tmp_path / "run")
    assert stopped.reason == "disk full" and not stopped.trials
    monkeypatch.undo()
    search(space, StubTarget(), resolve(STUB), tmp_path / "run")
    assert lines(on_disk(tmp_path / "run")) == whole


def test_states_over_the_cap_cost_time_only(space, whole, tmp_path):
    for cap in (0.0, 1e-7):
        target, folder = StubTarget(), tmp_path / str(cap)
        search(space, target, resolve({**STUB, "max_checkpoint_gb": cap}), folder)
        assert lines(on_disk(folder)) == whole
        if cap == 0:
            assert set(target.begun) == {0}, "all were trained from the beginning"


def test_os_errors_of_the_command_say_how_to_go_on(monkeypatch, capsys):
    def full(given):
        raise OSError(28, "No space left on device", "runs/a/trials.jsonl")

    monkeypatch.setattr(optimizer, "run", full)
    assert optimizer.main([]) == 1
    err = capsys.readouterr().err
    assert "runs/a/trials.jsonl: No space left on device" in err and "--resume" in err
    assert err.count("\n") == 1


def test_half_written_states_are_swept_up(tmp_path):
    (tmp_path / "run" / "checkpoints").mkdir(parents=True)
    torn = tmp_path / "run" / "checkpoints" / ".trial_000001.pt.123.tmp"
    torn.write_text("half")
    with contextlib.closing(RunFolder(tmp_path / "run")):
        assert not torn.exists()


# -------------------------------------------------------------------------------- whatever bytes


@pytest.fixture(scope="module")
def fuzz_folder(tmp_path_factory):
    """Hypothesis runs a test's body many times; its files lie here."""
    folder = tmp_path_factory.mktemp("fuzz")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        yield folder


numbers = st.one_of(
    st.integers(-(10**30), 10**30), st.floats(), st.sampled_from([1e308, -0.0, 10**9, 2**63])
)
values = st.recursive(
    st.one_of(st.none(), st.booleans(), numbers, st.text(max_size=20)),
    lambda inner: st.one_of(
        st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=12), inner, max_size=4)
    ),
    max_leaves=12,
)
GOOD = json.loads((ROOT / "configs" / "default.json").read_text())
PRESET = json.loads((ROOT / "configs" / "quick.json").read_text())


def damaged(good):
    """JSON near a good one: entries replaced, dropped, added; cut off; or any bytes at all."""
    known = st.sampled_from(sorted(good))
    changed = st.dictionaries(st.one_of(known, st.text(max_size=12)), values, max_size=3)
    near = st.builds(
        lambda change, gone: {k: v for k, v in {**good, **change}.items() if k not in gone},
        changed,
        st.sets(known, max_size=2),
    ).map(lambda value: json.dumps(value).encode())
    cut = st.integers(0, len(json.dumps(good))).map(lambda n: json.dumps(good)[:n].encode())
    deep = st.integers(1, 100_000).map(lambda n: b"[" * n + b"]" * n)
    return st.one_of(
        near, cut, deep, st.binary(max_size=200), values.map(json.dumps).map(str.encode)
    )


def loads_or_says(load):
    try:
        load()
    except InputError as error:
        assert 10 < len(str(error)) < 2000 and "\n" not in str(error)


RECORD = {"v": 1, "settings": PRESET, "data": {"kind": "synthetic", "root": None}, "winner": None}


@given(damaged(GOOD), damaged(PRESET), damaged(RECORD))
@settings(max_examples=50)
def test_files_in_json_load_or_are_refused(space, fuzz_folder, config, preset, record):
    """A configuration, a preset, and the record of a run."""
    path = fuzz_folder / "a.json"
    path.write_bytes(config)
    loads_or_says(lambda: read_candidates([path], [1], space))
    path.write_bytes(preset)
    loads_or_says(lambda: resolve(read_preset(str(path))))
    (fuzz_folder / "run.json").write_bytes(record)
    path.write_text(json.dumps(GOOD))
    loads_or_says(lambda: resumed(read_record(fuzz_folder / "run.json"), {}))
    loads_or_says(lambda: search_behind(path))


@given(damaged(json.loads(make_trial(3).to_line())), st.booleans())
@settings(max_examples=50)
def test_journals_load_or_are_refused(fuzz_folder, line, ended):
    path = fuzz_folder / "trials.jsonl"
    path.write_bytes(make_trial(1).to_line().encode() + b"\n" + line + (b"\n" if ended else b""))

    def load():
        journal = Journal(path)
        journal.close()
        assert journal.trials[0].trial == 1

    loads_or_says(load)


@settings(max_examples=12)  # six files each
@given(st.binary(max_size=300), st.sampled_from([".png", ".jpg", ".txt", ".gif"]))
def test_images_load_or_are_refused(fuzz_folder, content, suffix):
    folder = fuzz_folder / "images"
    shutil.rmtree(folder, ignore_errors=True)
    for name in ("a", "b"):
        (folder / name).mkdir(parents=True)
        for number in range(3):
            (folder / name / f"{number}{suffix}").write_bytes(content)
    loads_or_says(lambda: open_train(open_data(str(folder), None, 8, 1)))
