"""How a command ends: what goes wrong is one sentence on standard error, and an exit code."""

import contextlib
import os
import sys
from collections.abc import Callable

from utils import InputError


def command(
    name: str, work: Callable[[], int | None], interrupted: str = "interrupted", kept: str = ""
) -> int:
    """Does the work of a command of that name; returns its exit code.

    0: success (the work returned None). 1: too little memory. 2: bad input, or a file that cannot
    be used. 130: Ctrl-C. 141: the reader of the output has gone, as `head` does. kept: what a file
    that failed leaves intact and how to go on, if that is so; the exit code is 1 then.
    """
    _open_streams()
    try:
        try:
            return work() or 0
        finally:
            _flush()
    except InputError as error:
        _tell(f"{name}: {error}")
        return 2
    except MemoryError as error:
        _tell(f"{name}: too little memory ({error or 'no more is known'})")
        return 1
    except BrokenPipeError:
        return 141
    except OSError as error:
        words = f"{error.filename or 'standard output or a file'}: {error.strerror or error}"
        _tell(f"{name}: {words}{kept and f'; {kept}'}")
        return 1 if kept else 2
    except KeyboardInterrupt:
        _tell(f"{name}: {interrupted}")
        return 130


def go_on_without_output(error: OSError) -> None:
    """For what is said on the way: a reader that has gone, or a full disk, is told once."""
    _discard_output()
    words = f"standard output cannot be written ({error.strerror})"
    _tell(f"warning: {words}: the work goes on without it")


def _tell(words: str) -> None:
    """On standard error, if anybody is there to read it: a terminal may have gone."""
    with contextlib.suppress(OSError):
        print(words, file=sys.stderr)


def _discard_output() -> None:
    """From now on, what is written to standard output goes nowhere, with all that it holds yet."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_streams() -> None:
    """Gives a stream that was closed (as by >&-) somewhere to lead to, and its number.

    A file that is opened later would have that number else, and take what is printed.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))


def _flush() -> None:
    """Writes what was printed while an error can still be told in words."""
    try:
        sys.stdout.flush()
    except OSError:
        _discard_output()  # else the interpreter tries again at its end, and complains
        raise
