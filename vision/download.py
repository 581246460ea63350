"""Download of Flowers-17.

It is complete and has the right checksums, or nothing is left behind.
"""

import hashlib
import http.client
import os
import shutil
import tarfile
import tempfile
import urllib.request
from pathlib import Path

from utils import InputError

BASE_URL = "https://www.robots.ox.ac.uk/~vgg/data/flowers/17/"
ARCHIVE = "17flowers.tgz"
SPLITS = "datasplits.mat"
MD5 = {  # as published; the small file first, so that a missing network shows at once
    SPLITS: "4828cddfd0d803c5abbdebcb1e148a1e",
    ARCHIVE: "b59a65d8d1a99cd66944d474e1289eab",
}
TIMEOUT = 10.0  # seconds without an answer, for the connection and for each read


def flowers17(home: Path) -> Path:
    """`home`/flowers17 with jpg/ and datasplits.mat, downloaded if it does not exist.

    Everything happens in a temporary folder of `home`, which is renamed as the last step and
    removed if anything fails. Raises InputError.
    """
    target = home / "flowers17"
    if target.is_dir():
        return target
    try:
        home.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".flowers17-", dir=home) as temporary:
            partial = Path(temporary) / "flowers17"
            partial.mkdir()
            for name, md5 in MD5.items():
                _fetch(name, md5, partial / name)
            with tarfile.open(partial / ARCHIVE) as archive:
                archive.extractall(partial, filter="data")  # refuses paths outside the folder
            (partial / ARCHIVE).unlink()
            if not (partial / "jpg").is_dir():
                raise InputError(f"{ARCHIVE} holds no folder jpg/")
            try:
                os.rename(partial, target)
            except OSError:
                if not target.is_dir():  # else another process was faster, with the same files
                    raise
    except (tarfile.TarError, EOFError) as error:
        raise InputError(f"{ARCHIVE} cannot be unpacked: {error}") from error
    except OSError as error:
        raise InputError(f"{home} cannot be written: {error}") from error
    return target


def _fetch(name: str, md5: str, path: Path) -> None:
    """Write BASE_URL + name to `path`, with a progress bar on standard error."""
    from rich.console import Console  # only this function needs the package
    from rich.progress import wrap_file

    url, console = BASE_URL + name, Console(stderr=True)
    try:
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response, open(path, "wb") as file:
            expected = int(response.headers.get("Content-Length") or 0)  # bytes; 0: unknown
            with wrap_file(response, expected, description=name, console=console) as source:
                shutil.copyfileobj(source, file)
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise InputError(f"{url} cannot be fetched: {error}") from error
    content = path.read_bytes()
    if len(content) < expected:
        raise InputError(f"{url} broke off after {len(content)} of {expected} bytes")
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise InputError(f"{url} has md5 {found}, not {md5} as published")
