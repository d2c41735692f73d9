"""Bundles from a hub: a real local server of the hub's layout, the cache without a network, and what goes wrong.

The hub's client reads its settings once, when it is imported: each step runs in a process of its own.
"""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from unmask.bundles.hub import fetch
from unmask.types import UnmaskError

pytest.importorskip("huggingface_hub", reason="the hub is an extra")

COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOAD = """
import sys
from unmask.bundles import load
from unmask.types import UnmaskError
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
                there = (owner, name) == ("owner", "small") and revision in ("main", "v1", COMMIT)
                known = there and path.is_file()
                content = path.read_bytes() if known else b"Entry not found"
                hub.asked.append(f"{self.command} {file}@{revision}")
                self.send_response(200 if known else 404)
                self.send_header("Content-Length", str(len(content)))
                if known:
                    self.send_header("ETag", f'"{hashlib.sha256(content).hexdigest()}"')
                    self.send_header("X-Repo-Commit", COMMIT)
                else:
                    self.send_header("X-Error-Code", "EntryNotFound" if there else "RepoNotFound")
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
    with serving(folder) as hub:
        yield hub


@contextmanager
def serving(folder: Path) -> Iterator[Hub]:
    hub = Hub(folder)
    thread = threading.Thread(target=hub.server.serve_forever)
    thread.start()
    try:
        yield hub
    finally:
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


def published(folder: Path) -> Path:
    """A repository with a small GenD of random weights, in its authors' layout and without a card."""
    torch = pytest.importorskip("torch", reason="importing a checkpoint needs the extra train")
    from safetensors.torch import save_file
    from transformers import DINOv3ViTConfig, DINOv3ViTModel

    sizes = {"hidden_size": 64, "intermediate_size": 256, "num_hidden_layers": 2, "num_attention_heads": 2}
    encoder = DINOv3ViTModel(DINOv3ViTConfig(num_register_tokens=4, image_size=64, **sizes)).state_dict()
    state = {f"feature_extractor.backbone.{k.replace('model.layer.', 'layer.')}": v for k, v in encoder.items()}
    state |= {"model.linear.weight": torch.randn(2, 64), "model.linear.bias": torch.randn(2)}
    folder.mkdir()
    save_file(state, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps({"model_type": "GenD", "head": "LinearNorm"}))
    return folder


@pytest.mark.slow
def test_a_published_checkpoint_is_imported_once_and_then_works_without_a_network(tmp_path: Path) -> None:
    with serving(published(tmp_path / "gend")) as hub:
        settings = {"HF_ENDPOINT": hub.url, "XDG_CACHE_HOME": str(tmp_path / "cache")}
        first = load_in_a_process("hub:owner/small", home=tmp_path / "hf", **settings)
        made = tmp_path / "cache" / "unmask" / "imported" / f"owner--small@{COMMIT}"
        model = (made / "model.onnx").read_bytes()
        assert first == ["weights " + hashlib.sha256(model).hexdigest()]
        assert {line.split()[1] for line in hub.asked if line.startswith("GET")} == {
            "config.json@main",
            f"model.safetensors@{COMMIT}",
        }
        written = (made / "model.onnx").stat().st_mtime_ns
        offline = load_in_a_process("hub:owner/small", home=tmp_path / "hf", HF_HUB_OFFLINE="1", **settings)
        assert offline == first
        assert (made / "model.onnx").stat().st_mtime_ns == written


def test_without_the_extra_a_published_checkpoint_names_the_command_that_imports_it(tmp_path: Path) -> None:
    (tmp_path / "gend").mkdir()
    (tmp_path / "hidden").mkdir()
    (tmp_path / "hidden" / "torch.py").write_text("raise ImportError('hidden by the test')")
    with serving(tmp_path / "gend") as hub:
        said = load_in_a_process(
            "hub:owner/small", home=tmp_path, HF_ENDPOINT=hub.url, PYTHONPATH=str(tmp_path / "hidden")
        )
    assert len(said) == 1
    assert 'pip install "unmask[train]"): unmask import gend hub:owner/small -o DIR' in said[0]


def test_weights_of_another_model_are_not_fetched(tmp_path: Path) -> None:
    folder = published(tmp_path / "other")
    (folder / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with serving(folder) as hub:
        said = load_in_a_process("hub:owner/small", home=tmp_path, HF_ENDPOINT=hub.url)
    assert "is of a 'bert', not of a GenD" in said[0]
    assert not [line for line in hub.asked if "model.safetensors" in line]
