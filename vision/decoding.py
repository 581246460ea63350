"""Reads image files: hashes and decodes them in threads, and keeps the result in a cache.

The cache is one .npz file with the name, size, modification time, hash and pixels of each image.
An image with the same name, size and time is not read again: a search of many photographs starts
at once, and an interrupted start goes on where it was.
"""

import contextlib
import hashlib
import logging
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from predict import Mistake, read_image
from utils import InputError, replacing
from vision.folders import File, in_words, refuse

log = logging.getLogger("nas")
DECODING = 5  # count up when `read_image` changes, so that older cache files are not used
CHUNK = 256  # images read before a line is logged or Ctrl-C is noticed
LOG_SECONDS = 10.0
MOST_BROKEN = 0.01  # share of the images that may be left out because they cannot be decoded


class Found(NamedTuple):
    """The images of some files that can be decoded."""

    pixels: np.ndarray  # uint8 (n, S, S, 3)
    usable: np.ndarray  # bool (files,): which they are
    fingerprint: str  # of all files
    note: str  # about files that are left out; else empty


class _Table:
    """A row for each file, as in the cache; `done` tells which rows have pixels."""

    def __init__(self, files: Sequence[File], size: int):
        self.names = [name for _, name, _ in files]
        self.stamps = _stamps(files)  # int64 (n, 3): bytes, times of modification and change in ns
        self.digests = np.zeros(len(files), "S64")  # SHA-256 in hex; of broken files, too
        self.pixels = np.zeros((len(files), size, size, 3), np.uint8)
        self.done = np.zeros(len(files), bool)

    def load(self, path: Path) -> None:
        """Fills the rows of unchanged files from a cache, if it is there and not damaged."""
        try:
            with np.load(path, allow_pickle=False) as stored:
                names, stamps, digests, pixels = (stored[name] for name in stored.files)
            places = {name: i for i, name in enumerate(names.tolist())}
            rows = np.array([places.get(name, -1) for name in self.names])
            done = (rows >= 0) & (stamps[rows] == self.stamps).all(axis=1)
            self.digests[done] = digests[rows[done]]
            for row in np.flatnonzero(done):  # not at once: that would copy all pixels
                self.pixels[row] = pixels[rows[row]]
        except Exception:  # a damaged file raises anything from zipfile or numpy
            return
        self.done = done

    def save(self, path: Path) -> None:
        """Writes the rows with pixels to a cache; if that fails, there is none."""
        rows = slice(None) if self.done.all() else self.done.copy()  # else a copy of all pixels
        with contextlib.suppress(OSError):
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary, open(temporary, "wb") as file:
                columns = {name: getattr(self, name)[rows] for name in ("stamps", "digests")}
                names = np.array(self.names)[rows]
                np.savez(file, names=names, **columns, pixels=self.pixels[rows])

    def fingerprint(self) -> str:
        """Hash of names, sizes and contents: it depends neither on the machine nor on the folder.

        With the published layout the names contain the image numbers of the split.
        """
        digest = hashlib.sha256()
        for i in sorted(range(len(self.names)), key=self.names.__getitem__):
            known = self.names[i], str(self.stamps[i, 0]), self.digests[i].decode()
            line = "\0".join(known if self.done[i] else (*known, "left out")) + "\n"
            digest.update(line.encode(errors="surrogateescape"))
        return "sha256:" + digest.hexdigest()


def read_files(files: Sequence[File], size: int, crop: str, cache: Path) -> Found:
    """The images of the files, as `predict.read_image` decodes them, or from the cache.

    InputError if a file cannot be read, or more than `MOST_BROKEN` of them cannot be decoded.
    """
    table = _Table(files, size)
    table.load(cache)
    left, broken = np.flatnonzero(~table.done).tolist(), []
    before = table.done.sum()
    if left:
        try:
            broken = _read(table, files, left, crop)
        finally:
            if table.done.sum() > before:
                table.save(cache)
    if len(broken) > MOST_BROKEN * len(files):
        raise InputError(in_words(broken, len(files)))
    note = f"Left out: {in_words(broken, len(files))}." if broken else ""
    pixels = table.pixels[table.done] if broken else table.pixels
    return Found(pixels, table.done, table.fingerprint(), note)


def _read(
    table: _Table, files: Sequence[File], rows: Sequence[int], crop: str
) -> list[tuple[Path, str]]:
    """Fills these rows; returns (path, reason) of the files that cannot be decoded."""
    size, broken, unread = table.pixels.shape[1], [], []

    def one(row: int) -> str:
        path = files[row][2]
        try:
            table.digests[row] = hashlib.sha256(path.read_bytes()).hexdigest()
            table.pixels[row] = read_image(path, size, crop)
        except OSError as error:
            unread.append((path, f"cannot be read ({error.strerror})"))
        except Mistake as error:
            return str(error).removeprefix(f"{path} ")
        else:
            table.done[row] = True
        return ""

    log.info("images to read: %d", len(rows))
    told = time.monotonic()
    with ThreadPoolExecutor(len(os.sched_getaffinity(0))) as pool:
        for start in range(0, len(rows), CHUNK):
            chunk = rows[start : start + CHUNK]
            reasons = zip(chunk, pool.map(one, chunk), strict=True)
            broken += [(files[row][2], reason) for row, reason in reasons if reason]
            refuse(sorted(unread), len(files))
            if time.monotonic() > told + LOG_SECONDS:
                log.info("read: %d of %d images", table.done.sum(), len(files))
                told = time.monotonic()
    return broken


def _stamps(files: Sequence[File]) -> np.ndarray:
    """See `_Table`. InputError if a file cannot be read."""
    stamps, unread = np.zeros((len(files), 3), np.int64), []
    for i, (_, _, path) in enumerate(files):
        try:
            facts = path.stat()
            stamps[i] = facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns  # `mv` keeps mtime
        except OSError as error:
            unread.append((path, f"cannot be read ({error.strerror})"))
    refuse(unread, len(files))
    return stamps
