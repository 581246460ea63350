"""Errors of the disk and of folders, and damaged JSON files: exactly one clear error."""

import dataclasses
import json
import resource

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import optimizer
from engine.cli.settings import Settings, resolve
from engine.storage import run as run_module
from engine.storage.resuming import place_of_images, resumed
from engine.storage.run import RunFolder, read_record
from evaluation.candidates import read_candidates, search_behind
from optimizer import search
from tests.stub_target import StubTarget
from tests.stubs import ROOT, lines, on_disk
from utils import InputError, read_json, read_object

STUB = {"pop_size": 4, "epochs": 12, "max_generations": 1, "workers": "0"}


@pytest.fixture(scope="module")
def whole(space):
    return lines(search(space, StubTarget(), resolve(STUB)).trials)


def test_a_full_disk_keeps_what_was_recorded(space, whole, tmp_path):
    """A limit on the size of files simulates a full disk."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (6000, before[1]))
    try:
        with pytest.raises(OSError, match="File too large"):
            search(space, StubTarget(), resolve(STUB), tmp_path / "run")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    kept = (tmp_path / "run" / "trials.jsonl").read_text()
    assert 0 < kept.count("\n") < len(whole)
    search(space, StubTarget(), resolve(STUB), tmp_path / "run")
    assert lines(on_disk(tmp_path / "run")) == whole


def test_no_space_stops_before_a_bracket_and_goes_on_later(space, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(run_module, "MIN_FREE_BYTES", 10**18)
    stopped = search(space, StubTarget(), resolve(STUB), tmp_path / "run")
    assert stopped.reason == "disk full" and not stopped.trials
    monkeypatch.undo()
    search(space, StubTarget(), resolve(STUB), tmp_path / "run")
    assert lines(on_disk(tmp_path / "run")) == whole


def test_states_over_the_cap_cost_time_only(space, whole, tmp_path):
    for cap in (0.0, 1e-6):  # GB: for no state, and for two or three
        target, folder = StubTarget(), tmp_path / str(cap)
        search(space, target, resolve({**STUB, "max_checkpoint_gb": cap}), folder)
        assert lines(on_disk(folder)) == whole
        if cap == 0:
            assert set(target.begun) == {0}, "all were trained from the beginning"
        else:
            assert 0 < sum(target.begun) < 18, "18 without a cap"


def test_os_errors_of_the_command_say_how_to_go_on(monkeypatch, capsys):
    def full(given):
        raise OSError(28, "No space left on device", "runs/a/trials.jsonl")

    monkeypatch.setattr(optimizer, "run", full)
    assert optimizer.main([]) == 1
    err = capsys.readouterr().err
    assert "runs/a/trials.jsonl: No space left on device" in err and "--resume" in err
    assert err.count("\n") == 1


def test_half_written_states_are_swept_up(tmp_path):
    torn = tmp_path / "run" / "checkpoints" / ".trial_000001.pt.123.tmp"
    torn.parent.mkdir(parents=True)
    torn.write_text("half")
    RunFolder(tmp_path / "run").close()
    assert not torn.exists()


def test_a_search_that_cannot_begin_leaves_no_folder(tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(optimizer, "run_in", full)
    assert optimizer.main(["--runs_dir", str(tmp_path / "runs")]) == 2
    assert not [*(tmp_path / "runs").iterdir()]
    assert "No space left on device; no run was started" in capsys.readouterr().err
    monkeypatch.setattr(optimizer, "run_in", None)  # whatever goes wrong
    with pytest.raises(TypeError):
        optimizer.main(["--runs_dir", str(tmp_path / "runs")])
    assert not [*(tmp_path / "runs").iterdir()]


@pytest.fixture(scope="module")
def fuzz_folder(tmp_path_factory):
    """A folder for the files of all Hypothesis examples of a test."""
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
PRESET = {**dataclasses.asdict(Settings()), **read_json(ROOT / "configs" / "quick.json")}


def damaged(good):
    """JSON with entries replaced, dropped or added; cut off; or any bytes."""
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
    loads_or_says(lambda: resolve(read_object(path)))
    (fuzz_folder / "run.json").write_bytes(record)
    path.write_text(json.dumps(GOOD))
    loads_or_says(lambda: resumed(read_record(fuzz_folder / "run.json"), {}))
    loads_or_says(lambda: place_of_images(read_record(fuzz_folder / "run.json"), {}, "--resume"))
    loads_or_says(lambda: search_behind(path))
