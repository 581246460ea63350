"""The download of Flowers-17 from a fake server: once, and atomic."""

import hashlib
import http.server
import io
import os
import re
import shutil
import tarfile
import threading

import pytest

from tests.flower_folders import make_published, make_train_test
from utils import InputError
from vision import download
from vision.data import open_data, open_train
from vision.download import ARCHIVE

pytestmark = pytest.mark.usefixtures("no_flowers")


@pytest.fixture
def home(tmp_path, monkeypatch):
    """A local server in place of the home of Flowers-17, and the requested paths."""
    www = tmp_path / "www"
    published = make_published(tmp_path / "made")
    www.mkdir()
    shutil.copy(published / "datasplits.mat", www)
    with tarfile.open(www / ARCHIVE, "w:gz") as archive:
        archive.add(published / "jpg", "jpg")
    files = {name: (www / name).read_bytes() for name in download.MD5}
    asked, broken = [], {}

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            name = self.path.strip("/")
            asked.append(name)
            if broken.get(name) == "404":
                return self.send_error(404)
            content = files[name]
            self.send_response(200)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            if broken.get(name) == "truncated":
                content = content[: len(content) // 2]
            self.wfile.write(content)

        def log_message(self, *args):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    md5 = {name: hashlib.md5(files[name]).hexdigest() for name in download.MD5}
    monkeypatch.setattr(download, "MD5", md5)
    monkeypatch.setattr(download, "BASE_URL", f"http://127.0.0.1:{server.server_port}/")
    yield {"asked": asked, "broken": broken, "md5": md5, "files": files}
    server.shutdown()
    server.server_close()
    thread.join()


def test_download_once(tmp_path, cache, home, capsys):
    source = open_data(cache_dir=cache)
    assert (source.kind, source.layout, source.note) == ("flowers17", "published", "")
    assert source.root == str(tmp_path / "data" / "flowers17")
    assert len(open_train(source)[0].names) == 17 * 3
    assert re.search(r"17flowers.tgz ━+ ([\d.]+)/\1 kB", capsys.readouterr().err), "it is complete"
    assert open_data("flowers17", cache_dir=cache) == source
    assert home["asked"] == ["datasplits.mat", ARCHIVE]
    assert sorted(os.listdir(source.root)) == ["datasplits.mat", "jpg"]
    assert sorted(os.listdir(tmp_path / "data")) == ["cache", "flowers17"]


def archive_of(name):
    """An archive with one empty file."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        archive.addfile(tarfile.TarInfo(name))
    return content.getvalue()


def test_failed_download_leaves_nothing_behind_and_can_be_repeated(tmp_path, cache, home):
    whole = home["files"][ARCHIVE]
    for failure, content, sentence in (
        ("404", whole, "404"),
        ("truncated", whole, "broke off after"),
        ("md5", whole, "not 0000 as published"),
        ("", b"not an archive", "cannot be unpacked"),
        ("", archive_of("../outside"), "cannot be unpacked"),
        ("", archive_of("file"), "no folder"),
    ):
        home["broken"][ARCHIVE], home["files"][ARCHIVE] = failure, content
        home["md5"][ARCHIVE] = "0000" if failure == "md5" else hashlib.md5(content).hexdigest()
        with pytest.raises(InputError, match=sentence) as error:
            open_data("flowers17", cache_dir=cache)
        for way in ("--data_dir", "FLOWERS17_DIR", "--dataset synthetic"):
            assert way in str(error.value)
        assert os.listdir(tmp_path / "data") == []
    home["files"][ARCHIVE], home["md5"][ARCHIVE] = whole, hashlib.md5(whole).hexdigest()
    assert open_data("flowers17", cache_dir=cache).kind == "flowers17"


def test_folders_named_by_the_user_come_before_the_download(tmp_path, cache, monkeypatch):
    """No server answers: `no_flowers`."""
    own = make_train_test(tmp_path / "own")
    other = make_train_test(tmp_path / "other")
    monkeypatch.setenv("FLOWERS17_DIR", str(other))
    assert open_data(cache_dir=cache).root == str(other)
    assert open_data(data_dir=own, cache_dir=cache).root == str(own)
