"""Runs a search of the stub target with the command line's callbacks, in its own process.

python watched_search.py FOLDER SETTINGS: the settings as JSON; `pause` is in seconds per trial.
"""

import contextlib
import json
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from engine.callbacks import Callback  # noqa: E402
from engine.cli.settings import resolve  # noqa: E402
from engine.cli.stopping import EXIT_CODES  # noqa: E402
from engine.storage.run import RunFolder  # noqa: E402
from engine.watching import console  # noqa: E402
from engine.watching.progress import progress  # noqa: E402
from engine.watching.tracking import tracking  # noqa: E402
from optimizer import search  # noqa: E402
from tests.stub_target import StubTarget
from tests.stubs import small_space


def static_metrics(config):
    return {"num_params": 1000 * config["x"]}


class Stopwatch(Callback):
    """The first callback: records when the search ends and waits only for other callbacks."""

    ended = 0.0

    def end(self, result):
        """See Callback."""
        self.ended = time.monotonic()


def watch(path, given, *others):
    """Searches in that folder with these settings; returns the exit code."""
    given = {"workers": "0", "pop_size": 4, "epochs": 4, "min_epochs": 1, **given}
    pause = given.pop("pause", 0.0)
    settings = resolve({"constraint_max_model_size": 150_000, **given})
    target = StubTarget(act=lambda *_: time.sleep(pause), static_metrics=static_metrics)
    with contextlib.closing(RunFolder(path)) as folder:
        console.set_up_logging(settings.verbosity, folder.log_txt)
        folder.begin_session(settings, {"data": {}, "device": "cpu"})
        watching = [stopwatch := Stopwatch(), progress(settings), *tracking(settings, folder)]
        result = search(small_space(200), target, settings, folder, [*watching, *others])
        folder.save(waited=time.monotonic() - stopwatch.ended)
    return EXIT_CODES[result.reason]


if __name__ == "__main__":
    sys.exit(watch(sys.argv[1], json.loads(sys.argv[2])))
