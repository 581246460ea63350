"""General utilities: derived generators, atomic files, error messages.

A function may be here only if two modules use it, it needs nothing else of this project, and no
domain noun (trial, configuration, rung, fold, image, network) is in its name or its arguments.
"""

import contextlib
import csv
import difflib
import hashlib
import io
import json
import math
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

import numpy as np


class InputError(ValueError):
    """Invalid input from the user. The message is one sentence, shown without a traceback."""


def derive_seed(*parts: Any) -> int:
    """A seed in [0, 2**63) that depends on every part and nothing else (SHA-256 of their JSON).

    The parts name the purpose, so that no two purposes share a stream of random numbers.
    """
    digest = hashlib.sha256(canonical_json(list(parts)).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def derive_rng(*parts: Any) -> np.random.Generator:
    """A numpy generator seeded by `derive_seed(*parts)`."""
    return np.random.default_rng(derive_seed(*parts))


def canonical_json(value: Any) -> str:
    """JSON with sorted keys and no spaces: equal values give equal text.

    NaN and infinity raise ValueError.
    """
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False)


def without_nan(value: Any) -> Any:
    """The same nested value for JSON: None for non-finite floats, Python numbers for numpy's."""
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    if isinstance(value, Mapping):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return value


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a temporary path to write to, which then replaces `path` atomically."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        os.replace(temporary, path)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Replaces the file atomically: a reader or a crash never sees half of it."""
    try:
        with replacing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:  # name the requested file, not the temporary one
        raise type(error)(error.errno, error.strerror, str(path)) from None


def write_csv(path: Path, columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    """Writes a table with a header atomically (see `write_text`); missing values are empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, text.getvalue())


def write_json(path: Path, value: Any) -> None:
    """Writes indented JSON atomically (see `write_text`); non-finite floats become null."""
    write_text(path, json.dumps(without_nan(value), indent=2, allow_nan=False) + "\n")


def read_object(path: Path) -> dict[str, Any]:
    """As `read_json`; InputError if it is not an object."""
    if isinstance(value := read_json(path), dict):
        return value
    raise InputError(f"{path} holds a JSON {type(value).__name__}; allowed is an object")


def read_json(path: Path) -> Any:
    """Reads a JSON file; InputError if it is missing, unreadable or not JSON.

    The encoding is UTF-8, or UTF-8 with a byte order mark or UTF-16, as Windows tools write them.
    """
    try:
        return json.loads(Path(path).read_bytes(), parse_constant=no_number)
    except FileNotFoundError:
        raise InputError(f"there is no file {path}{_sibling_hint(Path(path))}") from None
    except json.JSONDecodeError as error:
        message = f"{path} is not JSON: {error.msg} in line {error.lineno}, column {error.colno}"
        raise InputError(message) from None
    except (ValueError, RecursionError) as error:  # not UTF-8, a number of 5000 digits, too deep
        raise InputError(f"{path} is not JSON that can be read: {error}") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from None


def no_number(name: str) -> NoReturn:
    """For `json.loads`: NaN and infinity are not valid JSON, although Python accepts them."""
    raise ValueError(f"{name} is not valid JSON; use null for a value that is not finite")


def _sibling_hint(path: Path) -> str:
    if not path.parent.is_dir():
        return f" (nor a folder {path.parent})"
    if path.is_symlink():
        return f" (a link to {path.readlink()})"
    siblings = [entry.name for entry in path.parent.iterdir() if entry.suffix == path.suffix]
    close = difflib.get_close_matches(path.name, siblings, n=1)
    return f"; did you mean {path.parent / close[0]}?" if close else ""


def first_few(names: Sequence[str], most: int = 5) -> str:
    """The first names, with commas, and how many others there are."""
    more = f" and {len(names) - most:,} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def nearest(word: str, choices: Iterable[str]) -> str:
    """The end of an error message: '; did you mean X?' with the closest choice, or ''."""
    close = difflib.get_close_matches(str(word), list(choices), n=1, cutoff=0.5)
    return f"; did you mean {close[0]}?" if close else ""
