"""How a command ends: one sentence on standard error for an error, and an exit code."""

import contextlib
import os
import sys
from collections.abc import Callable

from utils import InputError


def command(
    name: str, work: Callable[[], int | None], interrupted: str = "interrupted", kept: str = ""
) -> int:
    """Runs the work of the command `name`; returns the exit code.

    0: success (the work returned None). 1: out of memory. 2: invalid input, or a file that cannot
    be used. 130: SIGINT. 141: SIGPIPE, as with `| head`. kept: what is intact after an OSError
    and how to continue; the exit code of an OSError is then 1.
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
        _tell(f"{name}: out of memory ({error or 'no details'})")
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
    """Reports once that standard output lost its reader or disk; discards further output."""
    _discard_output()
    words = f"standard output cannot be written ({error.strerror})"
    _tell(f"warning: {words}: the work continues without it")


def _tell(words: str) -> None:
    """Prints on standard error; ignores a closed terminal."""
    with contextlib.suppress(OSError):
        print(words, file=sys.stderr)


def _discard_output() -> None:
    """Redirects standard output to /dev/null, with its buffered text."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _open_streams() -> None:
    """Opens /dev/null for a standard stream that is closed (as by >&-).

    Otherwise the next opened file gets its descriptor and receives the printed text.
    """
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(os.devnull, mode))


def _flush() -> None:
    """Flushes standard output while an error can still be reported."""
    try:
        sys.stdout.flush()
    except OSError:
        _discard_output()  # else the interpreter tries again at exit and prints a traceback
        raise
