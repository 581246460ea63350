"""Helpers for tests of the commands: tiny budgets and images, readers of output files."""

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import main
import optimizer
from tests.stubs import ROOT
from vision import data

LIMITS = ["num_params <= 3e4", "macs <= 1.5e5", "precision >= 0.01"]
BUDGET = "--workers 0 --image_size 8 --pop_size 2 --epochs 2 --min_epochs 1 --folds 2 "
BUDGET += "--max_generations 1"
TINY = ["--dataset", "synthetic", *BUDGET.split(), "--seed", "5", "--constraints", *LIMITS]
JOBS = 7  # 2 of the population; 2 and 1 of the first bracket; 2 of the second
SMALL = {"n_conv_layers": 1, "n_channels_conv_0": 16, "kernel_size": 3, "use_BN": True}
SMALL |= {"global_avg_pooling": True, "n_fc_layers": 1, "n_channels_fc_0": 8}
SMALL |= {"dropout_rate": 0.1, "batch_size": 100, "learning_rate_init": 0.01}
METRICS = {"top3", "top1", "precision", "recall", "loss"}


def command(script, *arguments, cwd):
    """(exit code, standard output, standard error) of a command, from another folder."""
    words = [sys.executable, str(ROOT / script), *map(str, arguments)]
    env = {k: v for k, v in os.environ.items() if k != "FLOWERS17_DIR"} | {"no_proxy": "*"}
    done = subprocess.run(words, cwd=cwd, env=env, capture_output=True, text=True, timeout=300)
    return done.returncode, done.stdout, done.stderr


@contextlib.contextmanager
def logging_kept():
    """Restores the logger afterwards."""
    log = logging.getLogger("nas")
    level, propagate, handlers = log.level, log.propagate, list(log.handlers)
    try:
        yield
    finally:
        log.setLevel(level)
        log.propagate = propagate
        for handler in [handler for handler in log.handlers if handler not in handlers]:
            log.removeHandler(handler)
            handler.close()


@contextlib.contextmanager
def told(home):
    """Collects the output in module fixtures, with the environment that each test gets.

    `home` is the working folder and has the cache of images. Restores the logger afterwards.
    """
    with pytest.MonkeyPatch.context() as patch, logging_kept():
        patch.setattr(data, "DEFAULT_CACHE", home / "cache")
        patch.chdir(home)
        with contextlib.redirect_stdout(io.StringIO()) as printed:
            yield printed


def call(entry, *words):
    """The exit code of a command in this process."""
    return entry.main([str(word) for word in words])


def search(runs, *more, name="tiny"):
    return call(optimizer, *TINY, "--runs_dir", runs, "--run_name", name, *more)


def lines_of(run):
    return [json.loads(line) for line in (run / "trials.jsonl").read_text().splitlines()]


def decided(run):
    """The journal without the values that may differ between identical runs."""
    return [{k: v for k, v in line.items() if k != "meta"} for line in lines_of(run)]


def read(path):
    return json.loads(Path(path).read_text())


def save(path, value):
    path.write_text(value if isinstance(value, str) else json.dumps(value))
    return path


def complaint(capsys, entry, arguments):
    """The one-sentence error message of a command."""
    capsys.readouterr()
    code = call(entry, *arguments)
    err = capsys.readouterr().err
    assert code == 2, err
    assert "Traceback" not in err
    assert err.endswith("\n") and err.count("\n") == 1, f"not one line: {err!r}"
    assert err.startswith(f"{entry.__name__}.py: ") and 20 < len(err) < 600
    return err


def check_complaint(capsys, runs, arguments, *words):
    err = complaint(capsys, optimizer, ["--runs_dir", runs, *arguments])
    for word in words:
        assert word in err, err
    assert not runs.exists() or not list(runs.iterdir()), "something was left behind"


def make_folder(root, test=True, contrast=190):
    """Three classes of coloured noise, hard to distinguish with a low contrast."""
    rng = np.random.default_rng(0)
    for part, count in (("train", 6), *([("test", 3)] if test else [])):
        for label, name in enumerate(("alder", "birch", "cedar")):
            (root / part / name).mkdir(parents=True)
            for number in range(count):
                pixels = rng.integers(0, 60, (8, 8, 3)) + contrast * (np.arange(3) == label)
                path = root / part / name / f"{number}.png"
                Image.fromarray(pixels.astype(np.uint8)).save(path)
    return root


def evaluate(*arguments):
    return call(main, *arguments, "--image_size", 8, "--folds", 2)
