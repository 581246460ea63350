"""Completion in a shell: the script that a command prints, asked by bash itself."""

import contextlib
import io
import shutil
import subprocess
import sys
from unittest import mock

import pytest

import main
import optimizer


def printed(entry, shell):
    name = mock.patch.object(sys, "argv", [f"{entry.__name__}.py"])  # a parser's name for itself
    with name, contextlib.redirect_stdout(io.StringIO()) as out:
        with pytest.raises(SystemExit) as stop:
            entry.main(["--print-completion", shell])
    assert not stop.value.code
    return out.getvalue()


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    home = tmp_path_factory.mktemp("completion")
    for entry in (optimizer, main):
        (home / f"{entry.__name__}.py.bash").write_text(printed(entry, "bash"))
    (home / "winner.json").write_text("{}")
    return home


@pytest.mark.skipif(shutil.which("bash") is None, reason="there is no bash")
@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("main.py --se", {"--seed", "--seeds"}),
        ("python main.py --see", {"--seed", "--seeds"}),
        ("python3 ./main.py -c winn", {"winner.json"}),
        ("python main.py --seeds 1 2 --com", {"--compare"}),
        ("python /somewhere/optimizer.py --sampler ra", {"random"}),
        ("python optimizer.py --hyperband F", {"False"}),
        ("python optimizer.py --constraint_mi", {"--constraint_min_precision"}),
        ("python other.py --se", set()),
    ],
)
def test_bash_completes(scripts, line, expected):
    """Both scripts are loaded, as in a user's shell."""
    function = "_complete_after_python" if line.startswith("python") else "_shtab_main_py"
    asked = f"""
        source optimizer.py.bash; source main.py.bash
        COMP_WORDS=({line}); COMP_CWORD=$(( ${{#COMP_WORDS[@]}} - 1 ))
        {function}
        printf '%s\\n' "${{COMPREPLY[@]}}"
    """
    result = subprocess.run(
        ["bash", "-c", asked], cwd=scripts, capture_output=True, text=True, check=True
    )
    assert set(result.stdout.split()) == expected, result.stderr


@pytest.mark.skipif(shutil.which("zsh") is None, reason="there is no zsh")
def test_zsh_reads_its_script():
    script = printed(main, "zsh")
    assert script.startswith("#compdef main.py") and "--seeds" in script
    subprocess.run(["zsh", "-n"], input=script, text=True, check=True)


def test_another_shell_is_answered_in_words(capsys):
    assert optimizer.main(["--print-completion", "fish"]) == 2
    err = capsys.readouterr().err
    assert "'bash', 'zsh'" in err and err.count("\n") == 1
