"""Standard output that is closed, full, or has lost its reader: one sentence at most."""

import os
import subprocess
import sys

import pytest

from tests.stubs import ROOT

TOLD = "warning: standard output cannot be written ({}): the work continues without it\n"
LOGS = """
import logging
from engine.watching.progress import progress
from engine.cli.settings import resolve
from engine.watching.console import set_up_logging
def work():
    progress(resolve({}))
    set_up_logging("INFO")
    for number in range(100):
        logging.getLogger("nas").info("line %d %s", number, "x" * 1000)
    print("the end")
    with open("journal", "w") as file:
        file.write(f"{number} {file.fileno()}")
"""


def run(folder, work, redirection):
    """(exit code, standard error) of a command that runs this code, with bash redirections."""
    begin, end = "import sys\nfrom engine.cli.command import command\n", 'command("x.py", work)'
    (folder / "x.py").write_text(f"{begin}{work}\nsys.exit({end})")
    words = ["bash", "-c", f"set -o pipefail; {sys.executable} x.py {redirection}"]
    here = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(words, cwd=folder, env=here, capture_output=True, text=True, timeout=60)
    return done.returncode, done.stderr


@pytest.mark.parametrize(
    ("redirection", "told"),
    [("<&- >&- 2>&-", ""), ("| head -1 > first", TOLD.format("Broken pipe"))],
)
def test_what_is_said_on_the_way_may_be_lost(tmp_path, redirection, told):
    assert run(tmp_path, LOGS, redirection) == (0, told)
    number, descriptor = (tmp_path / "journal").read_text().split()
    assert number == "99" and int(descriptor) > 2, "a file in the place of a stream"


FULL = (2, "x.py: standard output or a file: No space left on device\n")


@pytest.mark.parametrize(
    ("work", "redirection", "ended"),
    [
        ('print("result")', ">&-", (0, "")),
        ('print("result\\n" * 100_000)', "| head -1 > first", (141, "")),
        ('(print("help"), sys.exit(0))', "> /dev/full", FULL),
    ],
)
def test_a_result_that_cannot_be_printed_is_told(tmp_path, work, redirection, ended):
    assert run(tmp_path, f"work = lambda: {work}", redirection) == ended
