"""Completion in a shell: the script that a command prints, asked by bash itself."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import optimizer

ROOT = Path(__file__).resolve().parent.parent


def printed(script, shell):
    command = [sys.executable, str(ROOT / script), "--print-completion", shell]
    return subprocess.run(command, capture_output=True, text=True)


@pytest.fixture(scope="module")
def scripts(tmp_path_factory):
    home = tmp_path_factory.mktemp("completion")
    for name in ("optimizer.py", "main.py"):
        result = printed(name, "bash")
        assert (result.returncode, result.stderr) == (0, "")
        (home / f"{name}.bash").write_text(result.stdout)
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
    script = printed("main.py", "zsh").stdout
    assert script.startswith("#compdef main.py") and "--seeds" in script
    subprocess.run(["zsh", "-n"], input=script, text=True, check=True)


def test_another_shell_is_answered_in_words(capsys):
    assert optimizer.main(["--print-completion", "fish"]) == 2
    err = capsys.readouterr().err
    assert "'bash', 'zsh'" in err and err.count("\n") == 1
