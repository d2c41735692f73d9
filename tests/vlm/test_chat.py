"""The protocol, and its adapter for servers against a real one on this machine."""

from __future__ import annotations

import base64
import io
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from PIL import Image

from unmask.types import UnmaskError
from unmask.vlm import connect
from unmask.vlm.chat import ChatError, Message, Reply
from unmask.vlm.openai_http import OpenAIHTTP, is_loopback
from unmask.vlm.scripted import Scripted

ASK = [Message("user", "What is this?")]
IMAGE = np.random.default_rng(0).integers(0, 256, (9, 7, 3)).astype(np.uint8)


class Server(BaseHTTPRequestHandler):
    """Strict as told: which fields it takes, whether it gives log-probabilities, answers late or sends elsewhere."""

    takes: ClassVar[set[str]] = set()
    flat: ClassVar[bool] = False
    logprobs: ClassVar[bool] = True
    mode: ClassVar[str] = ""
    seen: ClassVar[list[dict[str, Any]]] = []
    heads: ClassVar[list[dict[str, str]]] = []

    def log_message(self, *args: Any) -> None: ...

    def _send(self, status: int, body: Any) -> None:
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        self.send_response(status)
        if status == 302:
            self.send_header("Location", "http://example.invalid/v1/chat/completions")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def do_GET(self) -> None:
        self._send(200, {"data": [{"id": "tiny-vlm"}]})

    def do_POST(self) -> None:
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        type(self).seen.append(body)
        type(self).heads.append(dict(self.headers))
        if self.mode == "redirect":
            return self._send(302, b"")
        if self.mode == "nonsense":
            return self._send(200, b"<html>")
        if self.mode == "broken":
            return self._send(200, {"choices": []})
        if self.mode == "late":
            threading.Event().wait(0.8)  # longer than the test's patience
            return None
        unknown = set(body) - {"model", "messages", "max_tokens", "temperature"} - self.takes
        if unknown:
            return self._send(400, {"error": f"unknown fields {sorted(unknown)}"})
        for message in body["messages"]:
            for part in message["content"] if isinstance(message["content"], list) else []:
                if part["type"] == "image_url" and isinstance(part["image_url"], str) != self.flat:
                    return self._send(422, {"error": "image_url has another form"})
        choice: dict[str, Any] = {"message": {"role": "assistant", "content": "a face"}, "finish_reason": "stop"}
        if body.get("logprobs") and self.logprobs:
            top = [{"token": "a", "logprob": -0.1}, {"token": "b", "logprob": -2.5}]
            choice["logprobs"] = {"content": [{"token": "a", "logprob": -0.1, "top_logprobs": top}]}
        self._send(200, {"model": "tiny-vlm-7", "system_fingerprint": "fp1", "choices": [choice]})


@pytest.fixture
def server() -> Iterator[str]:
    Server.takes, Server.flat, Server.logprobs, Server.mode = {"seed", "logprobs", "top_logprobs"}, False, True, ""
    Server.seen, Server.heads = [], []
    running = ThreadingHTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{running.server_port}/v1"
    running.shutdown()
    running.server_close()


def test_a_picture_arrives_pixel_by_pixel_before_the_question(server: str) -> None:
    model = OpenAIHTTP(server)
    assert model.name == "tiny-vlm"  # the server's first
    reply = model.chat([Message("system", "Be brief."), *ASK], [IMAGE], seed=7)
    assert reply == Reply("a face", "stop", "tiny-vlm-7 (fp1)")
    body = Server.seen[-1]
    assert body["seed"] == 7
    assert [m["role"] for m in body["messages"]] == ["system", "user"]
    first, second = body["messages"][1]["content"]
    assert second == {"type": "text", "text": "What is this?"}
    data = base64.b64decode(first["image_url"]["url"].removeprefix("data:image/png;base64,"))
    np.testing.assert_array_equal(np.asarray(Image.open(io.BytesIO(data))), IMAGE)


def test_log_probabilities_are_there_or_refused(server: str) -> None:
    model = OpenAIHTTP(server)
    assert model.chat(ASK, logprobs=2).logprobs == ({"a": -0.1, "b": -2.5},)
    Server.logprobs = False
    with pytest.raises(ChatError, match="no log-probabilities"):
        model.chat(ASK, logprobs=2)
    Server.takes = set()  # as transformers serve: it refuses the fields
    with pytest.raises(ChatError, match="unknown fields"):
        model.chat(ASK, logprobs=2)


@pytest.mark.parametrize("flat", [False, True])
def test_a_server_without_seeds_and_with_plain_image_addresses_is_met_halfway(server: str, flat: bool) -> None:
    Server.takes, Server.flat = set(), flat
    reply = OpenAIHTTP(server).chat(ASK, [IMAGE])
    assert reply.text == "a face"
    assert "no seed" in reply.notes[0]
    assert "seed" not in Server.seen[-1]


@pytest.mark.parametrize(
    ("mode", "says"), [("redirect", "sends on to"), ("nonsense", "no JSON"), ("broken", "another form")]
)
def test_what_is_no_answer_is_said(server: str, mode: str, says: str) -> None:
    model = OpenAIHTTP(server)
    Server.mode = mode
    with pytest.raises(ChatError, match=says):
        model.chat(ASK, [IMAGE])


def test_silence_ends(server: str) -> None:
    model = OpenAIHTTP(server, timeout=0.3)
    Server.mode = "late"
    with pytest.raises(ChatError, match="no answer from"):
        model.chat(ASK)
    with pytest.raises(ChatError, match="is the server running there"):
        OpenAIHTTP("http://127.0.0.1:9/v1")


def test_a_key_comes_from_the_environment_and_goes_into_the_header(
    server: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(UnmaskError, match="is not set"):
        OpenAIHTTP(server, key_variable="UNMASK_TEST_KEY")
    monkeypatch.setenv("UNMASK_TEST_KEY", "secret")
    OpenAIHTTP(server, key_variable="UNMASK_TEST_KEY").chat(ASK)
    assert Server.heads[-1]["Authorization"] == "Bearer secret"


def test_an_environments_proxy_is_not_used_for_this_machine(server: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert OpenAIHTTP(server).chat(ASK, [IMAGE]).text == "a face"


def test_addresses() -> None:
    assert [is_loopback(h) for h in ("localhost", "127.0.0.1", "::1", "10.0.0.1", "example.org")] == [
        True, True, True, False, False,
    ]  # fmt: skip
    for wrong in ("ftp://127.0.0.1/v1", "http://user:key@host/v1", "http:///v1"):
        with pytest.raises(UnmaskError, match="not the address"):
            OpenAIHTTP(wrong)


def test_what_a_model_cannot_do_is_refused_and_not_left_out() -> None:
    model = Scripted([("", "hello")])
    assert model.chat(ASK, [IMAGE]).text == "hello"
    with pytest.raises(ChatError, match="cannot serve logprobs"):
        model.chat(ASK, logprobs=5)
    with pytest.raises(ChatError, match="cannot serve branches"):
        model.chat(ASK, decoder="ritual")
    for messages in ([], [Message("assistant", "x")], [Message("user", "x"), Message("system", "y")]):
        with pytest.raises(UnmaskError, match="message"):
            model.chat(messages)
    with pytest.raises(UnmaskError, match="uint8"):
        model.chat(ASK, [IMAGE.astype(np.float32)])


def test_a_name_leads_to_its_adapter(tmp_path: Path, server: str) -> None:
    (tmp_path / "script.json").write_text('[["", "hi"]]')
    assert connect(str(tmp_path / "script.json")).chat(ASK).text == "hi"
    assert connect(server, "mine").name == "mine"
    with pytest.raises(UnmaskError, match="no vision-language model"):
        connect(str(tmp_path / "nothing"))
    (tmp_path / "bad.json").write_text("{")
    with pytest.raises(UnmaskError, match="no script"):
        connect(str(tmp_path / "bad.json"))
