"""Shell completion of the command lines with shtab: `--print_completion bash` or `zsh`."""

import argparse
import sys
from typing import Any

from engine.cli.settings import FIELDS, base_type

SHELLS = ("bash", "zsh")
_FILES = (
    *("config", "compare", "model", "output", "resume", "space", "dataset", "data_dir"),
    *("start_from", "export", "runs_dir"),
)
# shtab completes `optimizer.py --`; this also completes `python optimizer.py --`.
_AFTER_PYTHON = r"""
_complete_after_python() {
  local script="_shtab_${COMP_WORDS[1]##*/}"
  script="${script//[^[:word:]]/_}"
  if (( COMP_CWORD > 1 )) && declare -F "$script" > /dev/null; then
    COMP_WORDS=("${COMP_WORDS[@]:1}")
    (( COMP_CWORD -= 1 ))
    "$script"
  fi
}
complete -o bashdefault -o default -F _complete_after_python python python3
"""


class PrintCompletion(argparse.Action):
    """Prints a completion script for the flags of a command, and exits."""

    def __call__(self, parser: argparse.ArgumentParser, *arguments: Any) -> None:
        """argparse passes (parser, namespace, shell, flag)."""
        import shtab

        parser.reveal()  # type: ignore[attr-defined]
        for action in parser._actions:
            setting = FIELDS.get(action.dest)
            if setting and (setting.metadata["choices"] or base_type(setting) is bool):
                action.choices = setting.metadata["choices"] or ("True", "False")
            elif action.dest in _FILES:
                action.complete = shtab.FILE  # type: ignore[attr-defined]
        shell = arguments[1]
        preamble = _AFTER_PYTHON if shell == "bash" else ""
        sys.stdout.write(shtab.complete(parser, shell, preamble=preamble) + "\n")
        parser.exit()
