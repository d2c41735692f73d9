"""Pulling from a real local server: the right file, a wrong one, none, and no server."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from unmask.downloads import Source, cache, download
from unmask.faces.detector import FaceDetector
from unmask.faces.pull import SOURCES, pull, pulled
from unmask.types import UnmaskError

CONTENT = b"weights" * 1000


class Quiet(SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "good.onnx").write_bytes(CONTENT)
    http = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(tmp_path / "served")))
    thread = threading.Thread(target=http.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{http.server_port}"
    http.shutdown()
    thread.join()
    http.server_close()


def source(url: str, content: bytes = CONTENT) -> Source:
    return Source(url, hashlib.sha256(content).hexdigest(), len(content), "none")


def test_the_right_file_arrives(server: str, tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "x.onnx"
    download(source(f"{server}/good.onnx"), path)
    assert path.read_bytes() == CONTENT
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("expected", [b"something else", CONTENT[:-1]])
def test_a_wrong_file_is_not_kept(server: str, tmp_path: Path, expected: bytes) -> None:
    path = tmp_path / "x.onnx"
    with pytest.raises(UnmaskError, match="not kept"):
        download(source(f"{server}/good.onnx", expected), path)
    assert not path.exists()


def test_absent_and_offline_say_what_to_do(server: str, tmp_path: Path) -> None:
    with pytest.raises(UnmaskError, match=r"404.*put the file with sha256"):
        download(source(f"{server}/none.onnx"), tmp_path / "x.onnx")
    with pytest.raises(UnmaskError, match=r"cannot fetch.*put the file with sha256"):
        download(source("http://127.0.0.1:1/x"), tmp_path / "x.onnx")


def test_unknown_names() -> None:
    with pytest.raises(UnmaskError, match="there is yunet"):
        pull("retinaface")


def test_without_the_file_yunet_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UnmaskError, match="unmask pull yunet"):
        FaceDetector.load("yunet")
    cache().mkdir()
    (cache() / "yunet.onnx").write_bytes(CONTENT)
    with pytest.raises(UnmaskError, match="damaged"):
        pulled("yunet")


def test_the_pinned_file_is_yunet(shared_weights: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    content = (shared_weights / "yunet_n_dynamic.onnx").read_bytes()
    assert len(content) == SOURCES["yunet"].size
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    cache().mkdir()
    (cache() / "yunet.onnx").write_bytes(content)
    assert pull("yunet") == cache() / "yunet.onnx"  # it is there already: no network is needed
    face_detector = FaceDetector.load("yunet")
    assert (face_detector.name, face_detector.sha256) == ("yunet", SOURCES["yunet"].sha256)
