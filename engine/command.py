"""How a command ends: what goes wrong is one sentence on standard error, and an exit code."""

import os
import sys
from collections.abc import Callable

from utils import InputError


def command(name: str, work: Callable[[], int | None], interrupted: str = "interrupted") -> int:
    """Does the work of a command of that name; returns its exit code.

    None of the work is 0, bad input or a file that cannot be used 2, Ctrl-C 130, and 141 a reader
    of the output that has gone, such as `head`.
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
        print(f"{name}: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"{name}: {interrupted}", file=sys.stderr)
        return 130
