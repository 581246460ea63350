"""Command lines derived from the settings: strict, with a one-sentence message per mistake."""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NoReturn

from engine.cli.completion import SHELLS, PrintCompletion
from engine.cli.settings import FIELDS, SHORTHANDS, base_type
from utils import InputError, nearest

# The settings that --help shows, by group; --help_all also shows the others.
GROUPS = {
    "search": ("seed", "space", "sampler", "hyperband", "default_first", "objective")
    + ("constraints", *SHORTHANDS),
    "budget": ("epochs", "folds", "max_time", "max_total_epochs", "max_generations"),
    "data": ("dataset", "data_dir", "image_size", "crop"),
    "training": ("optimizer", "device", "workers"),
    "run": ("run_name", "runs_dir", "verbosity", "wandb"),
}
_METAVARS: dict[type, str] = {int: "N", float: "NUMBER"}
_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off")


class Parser(argparse.ArgumentParser):
    """Accepts --a-b for --a_b, suggests the nearest flag, raises InputError on mistakes."""

    def __init__(self, description: str):
        layout = partial(argparse.RawDescriptionHelpFormatter, max_help_position=34, width=100)
        super().__init__(
            description=description,
            allow_abbrev=False,
            argument_default=argparse.SUPPRESS,  # an absent flag sets no attribute
            usage="%(prog)s [flags]",
            formatter_class=layout,
        )
        self._hidden: dict[argparse.Action, str] = {}  # action -> its text in --help_all
        self._of_group = {name: self.add_argument_group(name) for name in [*GROUPS, "advanced"]}

    def add_help_all(self) -> None:
        """Adds --help_all, which shows the settings outside GROUPS too, and --print_completion."""
        self.add_argument("--help_all", action=_HelpAll, nargs=0, help="show all flags and exit")
        words = "print a script that completes these flags in bash or zsh, and exit"
        how: dict[str, Any] = {"action": PrintCompletion, "choices": SHELLS, "metavar": "SHELL"}
        self.add_argument("--print_completion", help=words, **how)

    def reveal(self) -> None:
        """Makes the hidden flags visible in the help."""
        for action, text in self._hidden.items():
            action.help = text

    def add_settings(self) -> None:
        """Adds a flag for every setting and shorthand."""
        for name in [*FIELDS, *SHORTHANDS]:
            self.add_setting(name)

    def add_setting(self, name: str, **changes: Any) -> None:
        """Adds --name for a setting."""
        if name in SHORTHANDS:
            prefix, text = SHORTHANDS[name]
            short = {"constraint_max_model_size": "-s", "constraint_min_precision": "-p"}[name]
            self._add(
                name,
                short,
                f"--{name}",
                type=to_float,
                metavar="NUMBER",
                help=f"{text}: the constraint '{prefix}NUMBER'",
            )
            return
        item = FIELDS[name]
        kind = base_type(item)
        default = changes.pop("default", item.default)
        text = item.metadata["help"]
        if kind is tuple:
            one = name.rpartition("_")[2].removesuffix("s").upper()
            shown = f"{text} [{', '.join(default) or 'none'}]"
            self._add(name, f"--{name}", nargs="+", metavar=one, help=shown)
        elif kind is bool:
            self.add_flag(f"--{name}", help=f"{text} [{default}]")
        else:
            convert: Callable[[str], Any] = {int: to_int, float: to_float}.get(kind, str)
            self._add(
                name,
                *item.metadata["flags"],
                f"--{name}",
                type=convert,
                metavar="|".join(item.metadata["choices"] or [_METAVARS.get(kind, "TEXT")]),
                help=f"{text} [{default}]" if default is not None else text,
                **changes,
            )

    def _add(self, name: str, *flags: str, help: str, **how: Any) -> None:
        """Adds the flags of a setting to its group; hides them if it has no group."""
        group = next((group for group, names in GROUPS.items() if name in names), "advanced")
        shown = argparse.SUPPRESS if group == "advanced" else help
        action = self._of_group[group].add_argument(*flags, help=shown, **how)
        if group == "advanced":
            self._hidden[action] = help

    def add_flag(self, *names: str, help: str) -> None:
        """Adds a switch: --name is True, `to_bool` parses --name VALUE, --no_name is False."""
        switch: dict[str, Any] = {"type": to_bool, "nargs": "?", "const": True}
        switch["metavar"] = "True|False"
        long = next(name for name in names if name.startswith("--"))
        if long[2:] in FIELDS:
            self._add(long[2:], *names, help=help, **switch)
        else:
            self.add_argument(*names, help=help, **switch)
        hidden: dict[str, Any] = {"default": argparse.SUPPRESS, "help": argparse.SUPPRESS}
        self.add_argument(f"--no_{long[2:]}", dest=long[2:], action="store_false", **hidden)

    def parse_strictly(self, argv: Sequence[str] | None = None) -> dict[str, Any]:
        """The given values by name. InputError for an unknown flag or an invalid value."""
        words = [_underscored(word) for word in (sys.argv[1:] if argv is None else argv)]
        given, unknown = self.parse_known_args(words)
        # The first version had such a flag; any user of the machine could read the key.
        key = re.compile(r"-w(?!-|orkers|andb)|--?(w|wandb)_key")
        if any(map(key.match, unknown)):
            raise InputError(
                "a W&B key cannot be a flag, since the process list would show it; set the "
                "variable WANDB_API_KEY, or run `wandb login` once"
            )
        if unknown:
            raise InputError(self._unknown(unknown[0]))
        return vars(given)

    def error(self, message: str) -> NoReturn:
        """Raises argparse's own errors (a missing value, a wrong type) as an InputError."""
        raise InputError(message.removeprefix("argument "))

    def _unknown(self, word: str) -> str:
        help_all = "--help_all" if "--help_all" in self._option_string_actions else "--help"
        if not word.startswith("-"):
            return f"{word!r} belongs to no flag; {help_all} lists them"
        flags = [flag for flag in self._option_string_actions if flag.startswith("--")]
        name = word.split("=")[0]
        return f"unknown flag {name}{nearest(name, flags) or f'; {help_all} lists all'}"


class _HelpAll(argparse.Action):
    def __call__(self, parser: argparse.ArgumentParser, *_: Any) -> None:
        assert isinstance(parser, Parser)
        parser.reveal()
        parser.print_help()
        parser.exit()


def _underscored(word: str) -> str:
    name, equals, value = word.partition("=")
    return "--" + name[2:].replace("-", "_") + equals + value if name.startswith("--") else word


def to_bool(text: str) -> bool:
    """Parses true, false, 1, 0, yes, no, on or off, in any letter case."""
    if text.lower() in _TRUE + _FALSE:
        return text.lower() in _TRUE
    raise argparse.ArgumentTypeError(
        f"{text!r} is neither True nor False{nearest(text.capitalize(), ('True', 'False'))}"
    )


def to_float(text: str) -> float:
    """Parses a finite number; an integral value becomes int, so that it prints without '.0'."""
    try:
        value = float(text)
        if value - value == 0:  # neither infinite nor NaN
            return int(value) if value == int(value) and abs(value) < 2**63 else value
    except ValueError:
        pass
    raise argparse.ArgumentTypeError(f"{text!r} is not a number")


def to_int(text: str) -> int:
    """Parses a whole number; accepts 2e7."""
    try:
        return int(text)
    except ValueError:
        pass
    try:
        value = float(text)
        if value == int(value):
            return int(value)
        hint = f"; the nearest is {round(value)}"
    except (ValueError, OverflowError):
        hint = ""
    raise argparse.ArgumentTypeError(f"{text!r} is not a whole number{hint}")
