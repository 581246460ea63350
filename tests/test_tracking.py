"""Tracking with W&B: the real client, read back with its own command line; servers that fail."""

import json
import logging
import os
import signal
import socket
import struct
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from engine.cli.settings import resolve
from engine.storage.run import RunFolder
from engine.watching.tracking import key_is_configured, tracking
from search.generation import incumbent
from tests.stubs import lines, on_disk
from utils import read_json

SCRIPT = Path(__file__).with_name("watched_search.py")
WANDB = Path(sys.executable).with_name("wandb")
TWO_GENERATIONS = {"max_generations": 2}
KEY = "0" * 40


def environment(home, **more):
    """Without the developer's own key and login."""
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


def track(folder, given, code=0, **more):
    """Runs a search; what it said."""
    process = start(folder, given, **more)
    output, errors = process.communicate(timeout=240)
    assert (process.returncode, errors) == (code, ""), output
    return output


def records(folder, number=-1):
    """The records of a W&B run in that folder, by the command line of W&B."""
    file = transaction_logs(folder)[number]
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
    """The last table that was logged under this key, as rows by column."""
    path = [row[f"{key}.path"] for row in rows if f"{key}.path" in row][-1]
    content = json.loads((place / "files" / path).read_text())
    return [dict(zip(content["columns"], cells, strict=True)) for cells in content["data"]]


def check_table(rows, trials, ranking, epochs=4):
    """The table says of each trial what the journal says, number for number."""
    by_key = {(row["trial"], row["epochs"]): row for row in rows}
    assert len(by_key) == len(rows) == len(trials)
    for trial in trials:
        row = by_key[trial.trial, trial.epochs]
        for name in ("generation", "bracket", "rung", "cost_epochs", "operator", "status"):
            assert row[name] == getattr(trial, name)
        assert {name: row[name] for name in trial.metrics} == trial.metrics
        assert {name: row[f"config.{name}"] for name in trial.config} == trial.config
        assert row["parents"].split() == [str(parent) for parent in trial.parents]
        assert row["feasible"] == ranking.feasible(trial)
        assert row["fully_trained"] == (trial.epochs == epochs)


def check_generations(rows, folder, trials, ranking, epochs=4):
    """The values of each generation are those of the journal and of population.csv."""
    header, *lines_ = (folder / "population.csv").read_text().splitlines()
    told = [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines_]
    logged = [row for row in rows if "by_time/best_top3" in row]
    assert [row["generation"] for row in logged] == list(range(len(told)))
    for row, line in zip(logged, told, strict=True):
        known = [trial for trial in trials if trial.generation <= row["generation"]]
        full = [trial for trial in known if trial.epochs == epochs]
        best = incumbent(known, ranking)
        of_it = [trial for trial in known if trial.generation == row["generation"]]
        assert row["epochs"] == sum(trial.cost_epochs for trial in known) == int(line["epochs"])
        assert row["time"] == float(line["time"])
        for axis in ("by_time", "by_epochs"):
            for name in ("top3", "precision", "num_params"):
                assert row[f"{axis}/best_{name}"] == best.metrics[name]
            assert row[f"{axis}/best_feasible"] == ranking.feasible(best)
            assert row[f"{axis}/average_top3"] == float(line["avg_acc"])
            assert row[f"{axis}/average_precision"] == float(line["avg_prec"])
            share = sum(map(ranking.feasible, full)) / len(full)
            assert row[f"{axis}/feasible_share"] == share
            assert row[f"{axis}/epochs_of_generation"] == sum(t.cost_epochs for t in of_it)


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """A search that was tracked offline, and then went on for one more generation."""
    folder = tmp_path_factory.mktemp("offline") / "run"
    names = {"wandb_group": "a group", "wandb_tags": ["one", "two"], "wandb_entity": "me"}
    said = track(folder, {**TWO_GENERATIONS, "wandb": "offline", **names})
    first = records(folder), on_disk(folder)
    track(folder, {"max_generations": 3, "wandb": "offline"})
    return folder, said, first, (records(folder), on_disk(folder))


def ranking_of(folder):
    return resolve(read_json(folder / "run.json")["settings"]).ranking()


def test_tracking_is_said_in_one_line(offline):
    folder, said, *_ = offline
    words = [line for line in said.splitlines() if "W&B" in line]
    number = read_json(folder / "run.json")["wandb"]
    assert words == [f"W&B: offline, run {number}, files in {folder / 'wandb'}"]


def test_the_run_at_wandb_is_the_run(offline):
    folder, _, ((_, read), _), _ = offline
    record = next(record["run"] for record in read if record["type"] == "run")
    assert record["run_id"] == read_json(folder / "run.json")["wandb"]
    assert record["project"] == "constrained-nas" and record["run_group"] == "a group"
    assert record["tags"] == ["one", "two"] and record["entity"] == "me"
    config = record["config"]["update"]
    assert config["pop_size"] == 4 and config["constraints"][0] == "num_params <= 150000"
    axes = {record["metric"].get("glob_name"): record["metric"].get("step_metric") for record in
            read if record["type"] == "metric"}  # fmt: skip
    assert axes["by_time/*"] == "time" and axes["by_epochs/*"] == "epochs"


def test_tables_and_generations_equal_the_journal(offline):
    folder, _, first, _ = offline
    (place, read), trials = first
    rows, ranking = history(read), ranking_of(folder)
    check_table(table(place, rows, "trials"), trials, ranking)
    known = [row for row in rows if "by_time/best_top3" in row]
    assert len(known) == 3
    check_generations(rows, two_generations(folder), trials, ranking)


def two_generations(folder):
    """The folder as it was before the third generation: its history cut to the first rows."""
    earlier = folder.parent / "earlier"
    earlier.mkdir(exist_ok=True)
    kept = (folder / "population.csv").read_text().splitlines()[:4]
    (earlier / "population.csv").write_text("\n".join(kept))
    return earlier


def test_a_resume_continues_the_run_and_is_complete_in_itself(offline):
    folder, _, ((_, before), _), ((place, read), trials) = offline
    ids = [next(r["run"]["run_id"] for r in part if r["type"] == "run") for part in (before, read)]
    assert ids[0] == ids[1]
    rows, ranking = history(read), ranking_of(folder)
    check_table(table(place, rows, "trials"), trials, ranking)
    check_generations(rows, folder, trials, ranking)


def test_plots_have_all_trials_and_say_which_are_feasible(offline):
    folder, _, _, ((place, read), trials) = offline
    ranking, rows = ranking_of(folder), history(read)
    for name in ("precision", "num_params"):
        points = table(place, rows, f"plots/{name}_top3_table")
        assert [(one[name], one["top3"]) for one in points] == [
            (trial.metrics[name], trial.metrics["top3"]) for trial in trials
        ]
        feasible = [one["kind"] == "feasible" for one in points]
        assert feasible == [one.epochs == 4 and ranking.feasible(one) for one in trials]


def test_learning_curves_of_the_brackets(offline):
    _, _, _, ((place, read), trials) = offline
    last = max(trial.generation for trial in trials)
    for bracket in (1, 2):
        curves = table(place, history(read), f"curves/bracket_{bracket}_table")
        found = {(row["trial"], row["epochs"], row["top3"]) for row in curves}
        assert found == {
            (f"trial {trial.trial}", trial.epochs, trial.metrics["top3"])
            for trial in trials
            if (trial.generation, trial.bracket) == (last, bracket)
        }


def test_the_end_has_the_winner_and_its_configuration(offline):
    folder, _, _, ((_, read), trials) = offline
    summary = {}
    for record in read:
        summary |= record.get("summary", {}).get("update", {})
    best = incumbent(trials, ranking_of(folder))
    assert summary["reason"] == "generation limit"
    assert summary["winner"]["config"] == best.config == read_json(folder / "opt_cfg.json")
    assert summary["winner"]["metrics"] == best.metrics
    contents = [
        record["artifact"]["manifest"]["contents"]
        for record in read
        if record["type"] == "artifact"
    ]
    winners = [files[0] for files in contents if files[0]["path"] == "opt_cfg.json"]
    kept = Path(winners[0]["local_path"])
    assert read_json(kept) == best.config and folder in kept.parents
    assert read[-1]["exit"] == {"exit_code": 0, **read[-1]["exit"]}


def test_the_journal_is_the_same_without_tracking(offline, tmp_path):
    folder, *_ = offline
    said = track(tmp_path / "run", {"max_generations": 3})
    assert "W&B: disabled, since no key is configured" in said
    assert not (tmp_path / "run" / "wandb").exists()
    assert lines(on_disk(tmp_path / "run")) == lines(on_disk(folder))


@pytest.mark.parametrize(
    "number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.slow)]
)
def test_a_signal_closes_it(tmp_path, number):
    folder = tmp_path / "run"
    process = started(folder)
    process.send_signal(number)
    assert process.wait(60) == 128 + number
    place, read = records(folder)
    check_table(table(place, history(read), "trials"), on_disk(folder), ranking_of(folder))
    assert read[-1]["exit"]["exit_code"] == 128 + number


def test_what_is_logged_survives_a_kill_and_no_process_does(tmp_path):
    folder = tmp_path / "run"
    process = started(folder)
    until = time.monotonic() + 100
    while not any(b"by_time/best_top3" in path.read_bytes() for path in transaction_logs(folder)):
        assert time.monotonic() < until and process.poll() is None  # long before it closes
        time.sleep(0.1)
    process.kill()
    process.wait(60)
    _, read = records(folder)
    generations = [row["generation"] for row in history(read) if "by_time/best_top3" in row]
    assert generations == list(range(len(generations))) and generations
    until = time.monotonic() + 60
    while (
        left := [one for one in processes() if str(folder) in one]
    ) and time.monotonic() < until:
        time.sleep(0.2)
    assert not left


def transaction_logs(folder):
    return sorted((folder / "wandb").glob("offline-run-*/*.wandb"))


def started(folder):
    """A search of many generations, in its second one."""
    process = start(folder, {"max_generations": 999, "pause": 0.1, "wandb": "offline"})
    next(line for line in process.stdout if line.startswith("generation 2, "))
    threading.Thread(target=process.stdout.read, daemon=True).start()
    return process


def processes():
    """What runs here, by its environment, which names the folder of a test."""
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            yield path.read_bytes().decode(errors="replace")
        except OSError:
            continue


class Server:
    """Answers on loopback as a server that is ill: 401, hang or reset.

    'lost': lets a run begin, and hangs from then on.
    """

    def __init__(self, how):
        self.how, self.asked, outer = how, 0, self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, *_):
                pass

            def do_POST(self):
                outer.asked += 1
                size = int(self.headers.get("Content-Length", 0))
                asked = json.loads(self.rfile.read(size) or "{}").get("operationName")
                outer.answer(self, asked)

            do_GET = do_PUT = do_POST

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.over = threading.Event()

    def answer(self, handler, asked):
        if self.how == "401":
            self.send(handler, 401, {"errors": ["unauthorized"]})
        elif self.how == "reset":
            linger = struct.pack("ii", 1, 0)
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            handler.connection.close()
        elif self.how == "lost" and asked == "RunResumeStatus":
            self.send(handler, 200, {"data": {"model": None}})
        elif self.how == "lost" and asked == "UpsertBucket":
            project = {"id": "cA==", "name": "p", "entity": {"id": "ZQ==", "name": "me"}}
            bucket = {"id": "aWQ=", "name": "run", "displayName": "run", "config": "{}"}
            bucket |= {"project": project, "historyLineCount": 0}
            done = {"upsertBucket": {"bucket": bucket, "inserted": True}}
            self.send(handler, 200, {"data": done})
        else:
            self.over.wait(120)

    @staticmethod
    def send(handler, code, value):
        body = json.dumps(value).encode()
        handler.send_response(code)
        handler.send_header("Content-Type", "application/json")
        handler.send_header("Content-Length", str(len(body)))
        handler.end_headers()
        handler.wfile.write(body)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.over.set()
        self.server.shutdown()
        self.server.server_close()


@pytest.mark.parametrize(
    "how",
    ["401", *(pytest.param(how, marks=pytest.mark.slow) for how in ("hang", "reset", "lost"))],
)
def test_an_ill_server_costs_a_warning_and_few_seconds(offline, tmp_path, how):
    folder = tmp_path / "run"
    with Server(how) as server:
        connection = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        said = track(folder, {"max_generations": 3, "pause": 0.2}, **connection)
        assert server.asked
    assert lines(on_disk(folder)) == lines(on_disk(offline[0]))
    record = read_json(folder / "run.json")
    assert record["sessions"][-1]["reason"] == "generation limit"
    assert record["waited"] < 20  # nothing else in a search waits for W&B
    warnings = [line for line in said.splitlines() if line.startswith("warning: ")]
    assert 1 <= len(warnings) <= 2 and all("W&B" in warning for warning in warnings)
    assert KEY not in said and KEY not in (folder / "log.txt").read_text()
    if how == "401":
        assert len(warnings) == 1 and "W&B goes on offline: " in warnings[0] and "401" in said
        place, read = records(folder)
        check_table(table(place, history(read), "trials"), on_disk(folder), ranking_of(folder))


@pytest.mark.parametrize("how", ["no folder", pytest.param("a bad key", marks=pytest.mark.slow)])
def test_what_wandb_refuses_costs_a_warning(tmp_path, how):
    folder = tmp_path / "run"
    if how == "no folder":
        folder.mkdir()
        (folder / "wandb").touch()
        said = track(folder, {"max_generations": 1, "wandb": "offline"})
        assert "warning: W&B is off, the search goes on: " in said
    else:
        given = {"max_generations": 1, "pause": 0.5}
        said = track(folder, given, WANDB_API_KEY="too short")
        assert "warning: W&B goes on offline: AuthenticationError" in said
        assert "too short" not in said
    assert {trial.generation for trial in on_disk(folder)} == {0, 1}


def test_a_key_is_found_where_wandb_finds_it(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert not key_is_configured({}) and not key_is_configured({"WANDB_API_KEY": ""})
    assert key_is_configured({"WANDB_API_KEY": KEY})
    (tmp_path / ".netrc").write_text(f"machine api.wandb.ai login user password {KEY}\n")
    assert key_is_configured({})
    assert not key_is_configured({"WANDB_BASE_URL": "https://wandb.example.org"})
    other = tmp_path / "other"
    other.write_text(f"machine wandb.example.org login user password {KEY}\n")
    other_host = {"WANDB_BASE_URL": "https://wandb.example.org/", "NETRC": str(other)}
    assert key_is_configured(other_host)
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
