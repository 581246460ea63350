"""Completion in a shell: bash runs the script that a command prints."""

import contextlib
import io
import shutil
import subprocess
import sys
from unittest import mock

import pytest

import main
import optimizer

ASKED = """
complete_line() {
    COMP_WORDS=($2); COMP_CWORD=$(( ${#COMP_WORDS[@]} - 1 )); COMPREPLY=()
    $1
    echo "${COMPREPLY[*]}"
}
source optimizer.py.bash; source main.py.bash
"""


def printed(entry, shell):
    name = mock.patch.object(sys, "argv", [f"{entry.__name__}.py"])  # the parser's program name
    with name, contextlib.redirect_stdout(io.StringIO()) as out:
        with pytest.raises(SystemExit) as stop:
            entry.main(["--print-completion", shell])
    assert not stop.value.code
    return out.getvalue()


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
def test_bash_completes(tmp_path):
    """With both scripts loaded, as in a user's shell."""
    expected = {
        "main.py --se": {"--seed", "--seeds"},
        "python3 ./main.py -c winn": {"winner.json"},
        "python main.py --seeds 1 2 --com": {"--compare"},
        "python /somewhere/optimizer.py --sampler ra": {"random"},
        "python optimizer.py --hyperband F": {"False"},
        "python other.py --se": set(),
    }
    for entry in (optimizer, main):
        (tmp_path / f"{entry.__name__}.py.bash").write_text(printed(entry, "bash"))
    (tmp_path / "winner.json").write_text("{}")
    asked = ASKED
    for line in expected:
        function = "_complete_after_python" if line.startswith("python") else "_shtab_main_py"
        asked += f"complete_line {function} '{line}'\n"
    result = subprocess.run(
        ["bash", "-c", asked], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    answers = [set(line.split()) for line in result.stdout.splitlines()]
    assert dict(zip(expected, answers, strict=True)) == expected, result.stderr


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
def test_zsh_reads_its_script():
    script = printed(main, "zsh")
    assert script.startswith("#compdef main.py") and "--seeds" in script
    subprocess.run(["zsh", "-n"], input=script, text=True, check=True)
