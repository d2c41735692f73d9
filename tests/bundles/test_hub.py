"""Bundles from a hub: a real local server of the hub's layout, the cache without a network, and what goes wrong.

The hub's client reads its settings once, when it is imported: each step runs in a process of its own.
"""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from unmask.bundles.hub import fetch
from unmask.nouns import UnmaskError

pytest.importorskip("huggingface_hub", reason="the hub is an extra")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOAD = """
import sys
from unmask.bundles import load
from unmask.nouns import UnmaskError
try:
    print("weights", load(sys.argv[1]).weights_sha256)
except UnmaskError as error:
    print("error", error)
"""


class Hub:
    """Serves one folder as owner/small, revision main = v1 = COMMIT; remembers what was asked for."""

    def __init__(self, folder: Path) -> None:
        self.asked: list[str] = []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            def log_message(self, format: str, *args: object) -> None:
                pass

            def do_HEAD(self) -> None:
                self._answer(with_body=False)

            def do_GET(self) -> None:
                self._answer(with_body=True)

            def _answer(self, with_body: bool) -> None:
                owner, name, _, revision, file = [*self.path.strip("/").split("/"), "", "", ""][:5]
                path = folder / file
                known = (owner, name) == ("owner", "small") and revision in ("main", "v1", COMMIT) and path.is_file()
                content = path.read_bytes() if known else b"Entry not found"
                hub.asked.append(f"{self.command} {file}@{revision}")
                self.send_response(200 if known else 404)
                self.send_header("Content-Length", str(len(content)))
                if known:
                    self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                    self.send_header("X-Repo-Commit", COMMIT)
                else:
                    self.send_header("X-Error-Code", "RepoNotFound")
                self.end_headers()
                if with_body:
                    self.wfile.write(content)

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@pytest.fixture
def hub(make: Callable[..., Path]) -> Iterator[Hub]:
    folder = make()
    (folder / "README.md").write_text("not listed in the card")
    (folder / "pickle.bin").write_bytes(b"not listed in the card")
    hub = Hub(folder)
    thread = threading.Thread(target=hub.server.serve_forever)
    thread.start()
    yield hub
    hub.server.shutdown()
    thread.join()
    hub.server.server_close()


def load_in_a_process(name: str, home: Path, **settings: str) -> str:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and "proxy" not in k.lower()}
    environment |= {"HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"} | settings
    done = subprocess.run(
        [sys.executable, "-c", LOAD, name], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_from_the_network_then_from_the_cache(hub: Hub, make: Callable[..., Path], tmp_path: Path) -> None:
    sha256 = hashlib.sha256((make() / "model.onnx").read_bytes()).hexdigest()
    assert load_in_a_process("hub:owner/small@v1", tmp_path / "hf", HF_ENDPOINT=hub.url) == f"weights {sha256}"
    files = {line.split()[1].split("@")[0] for line in hub.asked}
    assert files == {"card.json", "model.onnx"}
    assert f"GET model.onnx@{COMMIT}" in hub.asked  # the tag was resolved once, by the card
    asked = len(hub.asked)
    offline = load_in_a_process("hub:owner/small@v1", tmp_path / "hf", HF_ENDPOINT=hub.url, HF_HUB_OFFLINE="1")
    assert offline == f"weights {sha256}"
    assert len(hub.asked) == asked


def test_what_cannot_be_had_is_said(hub: Hub, tmp_path: Path) -> None:
    for name, settings in (
        ("hub:owner/none", {"HF_ENDPOINT": hub.url}),
        ("hub:owner/small@v2", {"HF_ENDPOINT": hub.url}),
        ("hub:owner/small", {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "1"}),
        ("hub:owner/small", {"HF_ENDPOINT": "http://127.0.0.1:1"}),
    ):
        said = load_in_a_process(name, tmp_path / "hf", **settings)
        assert said.startswith(f"error cannot get card.json of {name}, from the network or from the cache: ")


@pytest.mark.parametrize("name", ["", "owner", "owner/name/more", "owner/na me", "../x/y", "owner/name@", "http://h/x"])
def test_addresses_that_are_none(name: str) -> None:
    with pytest.raises(UnmaskError, match="hub:owner/name"):
        fetch(name)
