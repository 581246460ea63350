"""How a command ends: what goes wrong is one sentence on standard error, and an exit code."""

import os
import sys
from collections.abc import Callable

from utils import InputError


def command(
    name: str, work: Callable[[], int | None], interrupted: str = "interrupted", kept: str = ""
) -> int:
    """Does the work of a command of that name; returns its exit code.

    None of the work is 0, bad input or a file that cannot be used 2, Ctrl-C 130, and 141 a reader
    of the output that has gone, such as `head`. kept: what a file that failed leaves intact and
    how to go on, if that is so; the exit code is 1 then.
    """
    try:
        return work() or 0
    except InputError as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    except BrokenPipeError:  # what is left in the buffer has nowhere to go either
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except OSError as error:
        words = f"{error.filename or 'a file'}: {error.strerror or error}"
        print(f"{name}: {words}{kept and f'; {kept}'}", file=sys.stderr)
        return 1 if kept else 2
    except KeyboardInterrupt:
        print(f"{name}: {interrupted}", file=sys.stderr)
        return 130
