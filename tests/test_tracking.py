"""Tracking with W&B: the real client, read back with W&B's command line; failing servers."""

import contextlib
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from unittest import mock

import pytest

from engine.callbacks import Callback
from engine.cli.settings import resolve
from engine.storage.run import RunFolder
from engine.watching.tracking import key_is_configured, tracking
from optimizer import search
from search.generation import incumbent
from tests.command_line import told
from tests.stub_target import StubTarget
from tests.stubs import lines, on_disk, small_space
from tests.watched_search import static_metrics, watch
from utils import read_json

SCRIPT = Path(__file__).with_name("watched_search.py")
WANDB = Path(sys.executable).with_name("wandb")
KEY = "0" * 40


def environment(home, **more):
    """An environment without the developer's key and login."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("WANDB_")}
    return {**kept, "HOME": str(home), "NETRC": str(home / "netrc"), **more}


def start(folder, given, **more):
    return subprocess.Popen(
        [sys.executable, SCRIPT, folder, json.dumps(given)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(folder.parent, **more),
    )


def track(folder, given, *callbacks):
    """Runs a search in this process; returns its exit code and output."""
    ours = mock.patch.dict(os.environ, environment(folder.parent), clear=True)
    with ours, told(folder.parent) as said:
        code = watch(folder, given, *callbacks)
        sys.modules["wandb"].teardown()  # its process has the environment of this run only
    return code, said.getvalue()


def records(folder):
    """The records of a W&B run in that folder, read with W&B's command line."""
    file = transaction_logs(folder)[-1]
    read = subprocess.run(
        [WANDB, "leet", "inspect", "--json", file],
        capture_output=True,
        text=True,
        check=True,
        env=environment(folder.parent, WANDB_ERROR_REPORTING="false"),
    )
    return file.parent, [json.loads(line) for line in read.stdout.splitlines()]


def history(read):
    return [record["history"]["item"] for record in read if record["type"] == "history"]


def table(place, rows, key):
    """The last table logged under this key, as a list of {column: value}."""
    path = [row[f"{key}.path"] for row in rows if f"{key}.path" in row][-1]
    content = json.loads((place / "files" / path).read_text())
    return [dict(zip(content["columns"], cells, strict=True)) for cells in content["data"]]


def check(folder, place, read):
    """The table of trials and the values of each generation match the journal."""
    trials, rows = on_disk(folder), history(read)
    ranking = resolve(read_json(folder / "run.json")["settings"]).ranking()
    cells = table(place, rows, "trials")
    by_key = {(row["trial"], row["epochs"]): row for row in cells}
    assert len(by_key) == len(cells) == len(trials)
    for trial in trials:
        row = by_key[trial.trial, trial.epochs]
        assert {name: row[name] for name in trial.metrics} == trial.metrics
        assert {name: row[f"config.{name}"] for name in trial.config} == trial.config
        assert (row["status"], row["feasible"]) == (trial.status, ranking.feasible(trial))
    logged = [row for row in rows if "by_time/best_top3" in row]
    assert [row["generation"] for row in logged] == sorted({t.generation for t in trials})
    for row in logged:
        known = [trial for trial in trials if trial.generation <= row["generation"]]
        assert row["epochs"] == sum(trial.cost_epochs for trial in known)
        assert row["by_epochs/best_top3"] == incumbent(known, ranking).metrics["top3"]
    plotted = table(place, rows, "plots/precision_top3_table")
    assert [one["top3"] for one in plotted] == [trial.metrics["top3"] for trial in trials]
    curves = table(place, rows, "curves/bracket_1_table")
    assert curves and {row["top3"] for row in curves} <= {t.metrics["top3"] for t in trials}


class Terminated(Callback):
    """Sends SIGTERM after the second generation."""

    def generation_complete(self, row, trials):
        if row["step"] == 2:
            signal.raise_signal(signal.SIGTERM)


def test_a_tracked_search_is_the_same_search_and_a_resume_continues_its_run(tmp_path):
    folder, given = tmp_path / "run", {"max_generations": 3, "wandb": "offline"}
    names = {"wandb_group": "a group", "wandb_tags": ["one", "two"], "wandb_entity": "me"}
    code, said = track(folder, {**given, **names}, Terminated())
    place, read = records(folder)
    check(folder, place, read)
    assert code == read[-1]["exit"]["exit_code"] == 143, "a signal closes it"
    number = read_json(folder / "run.json")["wandb"]
    assert f"W&B: offline, run {number}, files in {folder / 'wandb'}" in said
    run = next(record["run"] for record in read if record["type"] == "run")
    assert (run["run_id"], run["project"], run["entity"]) == (number, "constrained-nas", "me")
    assert (run["run_group"], run["tags"]) == ("a group", ["one", "two"])

    assert track(folder, given)[0] == 0
    place, read = records(folder)
    check(folder, place, read)
    assert next(r["run"] for r in read if r["type"] == "run")["run_id"] == number
    winners = [record.get("summary", {}).get("update", {}).get("winner") for record in read]
    assert list(filter(None, winners))[-1]["config"] == read_json(folder / "opt_cfg.json")
    settings = resolve({**read_json(folder / "run.json")["settings"], "wandb": "disabled"})
    untracked = search(small_space(200), StubTarget(static_metrics=static_metrics), settings)
    assert lines(on_disk(folder)) == lines(untracked.trials)


def transaction_logs(folder):
    return sorted((folder / "wandb").glob("offline-run-*/*.wandb"))


def processes():
    """The running processes whose environment names the folder of a test."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            yield path.read_bytes().decode(errors="replace")
        except OSError:
            continue


def test_what_is_logged_survives_a_kill_and_no_process_does(tmp_path):
    folder = tmp_path / "run"
    process = start(folder, {"max_generations": 999, "pause": 0.05, "wandb": "offline"})
    threading.Thread(target=process.stdout.read, daemon=True).start()
    until = time.monotonic() + 100
    while not any(b"by_time/best_top3" in path.read_bytes() for path in transaction_logs(folder)):
        assert time.monotonic() < until and process.poll() is None  # long before the server closes
        time.sleep(0.1)
    process.kill()
    process.wait(60)
    _, read = records(folder)
    generations = [row["generation"] for row in history(read) if "by_time/best_top3" in row]
    assert generations == list(range(len(generations))) and generations
    until = time.monotonic() + 60
    while any(str(folder) in one for one in processes()):
        assert time.monotonic() < until, "a process of W&B is left"
        time.sleep(0.2)


@contextlib.contextmanager
def ill_server(how):
    """A local server: answers 401, or hangs; 'lost' lets a run start, and hangs afterwards."""
    asked, over = [], threading.Event()
    project = {"id": "cA==", "name": "p", "entity": {"id": "ZQ==", "name": "me"}}
    bucket = {"id": "aWQ=", "name": "run", "displayName": "run", "config": "{}"}
    bucket |= {"project": project, "historyLineCount": 0}
    begun = {"RunResumeStatus": {"model": None}}
    begun["UpsertBucket"] = {"upsertBucket": {"bucket": bucket, "inserted": True}}

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            size = int(self.headers.get("Content-Length", 0))
            name = json.loads(self.rfile.read(size) or "{}").get("operationName")
            asked.append(name)
            if how == "hang" or (how == "lost" and name not in begun):
                over.wait(120)
                return
            content = {"errors": ["unauthorized"]} if how == "401" else {"data": begun[name]}
            body = json.dumps(content).encode()
            self.send_response(401 if how == "401" else 200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_PUT = do_POST

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", asked
    finally:
        over.set()
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(
    "how", ["401", *(pytest.param(how, marks=pytest.mark.slow) for how in ("hang", "lost"))]
)
def test_an_ill_server_costs_a_warning_and_few_seconds(tmp_path, how):
    folder = tmp_path / "run"
    with ill_server(how) as (url, asked):
        connection = {"WANDB_BASE_URL": url, "WANDB_API_KEY": KEY}
        process = start(folder, {"max_generations": 1, "pause": 0.05}, **connection)
        said, errors = process.communicate(timeout=240)
        assert (process.returncode, errors) == (0, "") and asked
    record = read_json(folder / "run.json")
    assert record["sessions"][-1]["reason"] == "generation limit"
    assert record["waited"] < 20  # the rest of a search does not wait for W&B
    warnings = [line for line in said.splitlines() if line.startswith("warning: ")]
    assert 1 <= len(warnings) <= 2 and all("W&B" in warning for warning in warnings)
    assert KEY not in said and KEY not in (folder / "log.txt").read_text()
    if how == "401":
        assert len(warnings) == 1 and "W&B continues offline: " in warnings[0] and "401" in said
        check(folder, *records(folder))


def test_what_wandb_refuses_costs_a_warning(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "wandb").touch()  # in place of its folder
    code, said = track(folder, {"max_generations": 1, "wandb": "offline"})
    assert code == 0 and "warning: W&B is off, the search continues: " in said
    assert {trial.generation for trial in on_disk(folder)} == {0, 1}


def test_a_key_is_found_where_wandb_finds_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not key_is_configured({}) and not key_is_configured({"WANDB_API_KEY": ""})
    assert key_is_configured({"WANDB_API_KEY": KEY})
    (tmp_path / ".netrc").write_text(f"machine api.wandb.ai login user password {KEY}\n")
    assert key_is_configured({})
    assert not key_is_configured({"WANDB_BASE_URL": "https://wandb.example.org"})
    (tmp_path / ".netrc").write_text("no such thing\n")
    assert not key_is_configured({})


@pytest.mark.parametrize(
    ("given", "variables", "mode", "words"),
    [
        ({}, {}, None, "W&B: disabled, since no key is configured"),
        ({}, {"WANDB_API_KEY": KEY}, "online", "W&B: online, run "),
        ({}, {"WANDB_API_KEY": KEY, "WANDB_MODE": "offline"}, "offline", "W&B: offline, run "),
        ({"wandb": "disabled"}, {"WANDB_API_KEY": KEY}, None, "W&B: disabled"),
        ({"wandb": "online"}, {"WANDB_MODE": "disabled"}, "offline", "no key is configured"),
        ({"wandb": "offline"}, {}, "offline", "W&B: offline, run "),
    ],
)
def test_the_mode_is_what_was_asked_for(
    tmp_path, monkeypatch, caplog, given, variables, mode, words
):
    for name in ("WANDB_MODE", "WANDB_API_KEY", "WANDB_BASE_URL", "NETRC"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(tmp_path), **variables}.items():
        monkeypatch.setenv(name, value)
    caplog.set_level("INFO", "nas")
    logging.getLogger("nas").propagate = True
    found = tracking(resolve(given), RunFolder(tmp_path / "run"))
    assert [tracker.mode for tracker in found] == ([] if mode is None else [mode])
    assert words in caplog.text and KEY not in caplog.text
    assert not (tmp_path / "run" / "wandb").exists()  # nothing before the first trial
