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
for name in sys.argv[1:]:
    try:
        print("weights", load(name).weights_sha256)
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


def load_in_a_process(*names: str, home: Path, **settings: str) -> list[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_") and "proxy" not in k.lower()}
    environment |= {"HF_HOME": str(home), "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_XET": "1"} | settings
    done = subprocess.run(
        [sys.executable, "-c", LOAD, *names], env=environment, capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_from_the_network_then_from_the_cache(hub: Hub, make: Callable[..., Path], tmp_path: Path) -> None:
    expected = "weights " + hashlib.sha256((make() / "model.onnx").read_bytes()).hexdigest()
    lines = load_in_a_process(
        "hub:owner/small@v1", "hub:owner/none", "hub:owner/small@v2", home=tmp_path, HF_ENDPOINT=hub.url
    )
    assert lines[0] == expected
    asked = {line.split()[1].split("@")[0] for line in hub.asked}
    assert asked == {"card.json", "model.onnx"}
    assert f"GET model.onnx@{COMMIT}" in hub.asked  # the tag was resolved once, by the card
    for line, name in zip(lines[1:], ("owner/none", "owner/small@v2"), strict=True):
        assert line.startswith(f"error cannot get card.json of hub:{name}, from the network or from the cache: ")

    hub.asked.clear()
    offline = {"HF_ENDPOINT": hub.url, "HF_HUB_OFFLINE": "1"}
    lines = load_in_a_process("hub:owner/small@v1", "hub:owner/small@main", home=tmp_path, **offline)
    assert lines[0] == expected
    assert lines[1].startswith("error cannot get card.json of hub:owner/small@main")
    assert hub.asked == []


@pytest.mark.parametrize("name", ["", "owner", "owner/name/more", "owner/na me", "../x/y", "owner/name@", "http://h/x"])
def test_addresses_that_are_none(name: str) -> None:
    with pytest.raises(UnmaskError, match="hub:owner/name"):
        fetch(name)
