"""Tracking with W&B: the real client, read back with its own command line; servers that fail."""

import json
import logging
import os
import shutil
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


def track(folder, given, *callbacks):
    """Runs a search in this process; its exit code and what it said."""
    ours = mock.patch.dict(os.environ, environment(folder.parent), clear=True)
    with ours, told(folder.parent) as said:
        code = watch(folder, given, *callbacks)
        sys.modules["wandb"].teardown()  # its process knows the environment of this run alone
    return code, said.getvalue()


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
    rows_of_file = [dict(zip(header.split(","), line.split(","), strict=True)) for line in lines_]
    logged = [row for row in rows if "by_time/best_top3" in row]
    assert [row["generation"] for row in logged] == list(range(len(rows_of_file)))
    for row, line in zip(logged, rows_of_file, strict=True):
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


class Terminated(Callback):
    """SIGTERM after the second generation."""

    def generation_complete(self, row, trials):
        if row["step"] == 2:
            signal.raise_signal(signal.SIGTERM)


@pytest.fixture(scope="module")
def offline(tmp_path_factory):
    """A search that was tracked offline until a signal came, and then went on to its end."""
    folder = tmp_path_factory.mktemp("offline") / "run"
    names = {"wandb_group": "a group", "wandb_tags": ["one", "two"], "wandb_entity": "me"}
    given = {"max_generations": 3, "wandb": "offline"}
    code, said = track(folder, {**given, **names}, Terminated())
    assert code == 143
    first = records(folder), on_disk(folder)
    shutil.copy(folder / "population.csv", folder.parent)
    assert track(folder, given)[0] == 0
    return folder, said, first, (records(folder), on_disk(folder))


def ranking_of(folder):
    return resolve(read_json(folder / "run.json")["settings"]).ranking()


def test_the_run_at_wandb_is_the_run(offline):
    folder, said, ((_, read), _), _ = offline
    record = next(record["run"] for record in read if record["type"] == "run")
    number = read_json(folder / "run.json")["wandb"]
    words = [line for line in said.splitlines() if "W&B" in line]
    assert words == [f"W&B: offline, run {number}, files in {folder / 'wandb'}"]
    assert record["run_id"] == number
    assert record["project"] == "constrained-nas" and record["run_group"] == "a group"
    assert record["tags"] == ["one", "two"] and record["entity"] == "me"
    config = record["config"]["update"]
    assert config["pop_size"] == 4 and config["constraints"][0] == "num_params <= 150000"
    metrics = [record["metric"] for record in read if record["type"] == "metric"]
    axes = {metric.get("glob_name"): metric.get("step_metric") for metric in metrics}
    assert axes["by_time/*"] == "time" and axes["by_epochs/*"] == "epochs"


def test_a_signal_closes_it_and_tables_and_generations_equal_the_journal(offline):
    folder, _, ((place, read), trials), _ = offline
    rows, ranking = history(read), ranking_of(folder)
    assert {trial.generation for trial in trials} == {0, 1, 2}
    check_table(table(place, rows, "trials"), trials, ranking)
    check_generations(rows, folder.parent, trials, ranking)
    assert read[-1]["exit"]["exit_code"] == 143


def test_a_resume_continues_the_run_and_is_complete_in_itself(offline):
    folder, _, ((_, before), _), ((place, read), trials) = offline
    ids = [next(r["run"]["run_id"] for r in part if r["type"] == "run") for part in (before, read)]
    assert ids[0] == ids[1]
    rows, ranking = history(read), ranking_of(folder)
    check_table(table(place, rows, "trials"), trials, ranking)
    check_generations(rows, folder, trials, ranking)


def test_the_journal_is_the_same_without_tracking(offline):
    folder, *_ = offline
    settings = resolve({**read_json(folder / "run.json")["settings"], "wandb": "disabled"})
    target = StubTarget(static_metrics=static_metrics)
    untracked = search(small_space(200), target, settings)
    assert lines(on_disk(folder)) == lines(untracked.trials)


def test_plots_have_all_trials_and_curves_those_of_the_last_brackets(offline):
    folder, _, _, ((place, read), trials) = offline
    ranking, rows = ranking_of(folder), history(read)
    for name in ("precision", "num_params"):
        points = table(place, rows, f"plots/{name}_top3_table")
        assert [(one[name], one["top3"]) for one in points] == [
            (trial.metrics[name], trial.metrics["top3"]) for trial in trials
        ]
        feasible = [one["kind"] == "feasible" for one in points]
        assert feasible == [one.epochs == 4 and ranking.feasible(one) for one in trials]

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


def transaction_logs(folder):
    return sorted((folder / "wandb").glob("offline-run-*/*.wandb"))


def processes():
    """What runs here, by its environment, which names the folder of a test."""
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
        assert time.monotonic() < until and process.poll() is None  # long before it closes
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


class Server:
    """Answers on loopback as a server that is ill: 401 or hang.

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
    "how", ["401", *(pytest.param(how, marks=pytest.mark.slow) for how in ("hang", "lost"))]
)
def test_an_ill_server_costs_a_warning_and_few_seconds(tmp_path, how):
    folder = tmp_path / "run"
    with Server(how) as server:
        connection = {"WANDB_BASE_URL": server.url, "WANDB_API_KEY": KEY}
        process = start(folder, {"max_generations": 1, "pause": 0.05}, **connection)
        said, errors = process.communicate(timeout=240)
        assert (process.returncode, errors) == (0, "") and server.asked
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


def test_what_wandb_refuses_costs_a_warning(tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "wandb").touch()  # where its folder would be
    code, said = track(folder, {"max_generations": 1, "wandb": "offline"})
    assert code == 0 and "warning: W&B is off, the search goes on: " in said
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
