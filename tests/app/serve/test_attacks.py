"""What strangers try: each is refused with a clear error, and the server goes on answering."""

from __future__ import annotations

import io
import json
import socket
import struct
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import ClassVar

import pytest

pytest.importorskip("fastapi", reason="the extra serve is not installed")

from PIL import Image

from unmask.app.serve import hooks, uploads
from unmask.app.serve.db import Database
from unmask.app.serve.errors import RefusedError
from unmask.app.serve.guard import Pace, owner_of
from unmask.app.serve.metrics import Metrics
from unmask.app.serve.models import Scan
from unmask.app.serve.settings import Settings, loopback, read_tokens
from unmask.app.serve.store import Result, Store, fresh_id
from unmask.media.limits import MediaError
from unmask.nouns import UnmaskError

from .conftest import Media
from .process import Server, serving

TOKENS = {"alice": "alice-" + "a" * 30, "bob": "bob-" + "b" * 30}
EDGE = "edge"


def raw(server: Server, request: bytes, *, more: bool = True) -> bytes:
    """What the server answers to exactly these bytes."""
    with socket.create_connection(("127.0.0.1", server.port), timeout=20) as connection:
        connection.sendall(request)
        if not more:
            connection.shutdown(socket.SHUT_WR)
        answer = b""
        while chunk := connection.recv(65536):
            answer += chunk
            if b"\r\n\r\n" in answer and b"connection: close" not in answer.lower():
                break
        return answer


def form(disposition: str, content: bytes) -> bytes:
    head = f"--{EDGE}\r\nContent-Disposition: form-data; {disposition}\r\n\r\n".encode("utf-8", "surrogateescape")
    return head + content + f"\r\n--{EDGE}--\r\n".encode()


def post(server: Server, body: bytes) -> tuple[int, str]:
    headers = {"Content-Type": f"multipart/form-data; boundary={EDGE}", "Prefer": "respond-async"}
    answer = server.at.post("/v1/scans", content=body, headers=headers)
    return answer.status_code, answer.text


@pytest.fixture(autouse=True)
def unharmed(server: Server) -> Iterator[None]:
    """After each attack the server answers, and holds no file that belongs to no scan."""
    before = {path.name for path in (server.folder / "media").iterdir()}
    names = {path.name for path in server.folder.iterdir()}
    yield
    assert server.at.get("/healthz").status_code == 200
    assert server.process.poll() is None
    grown = {path.name for path in (server.folder / "media").iterdir()} - before
    assert all(len(name.partition(".")[0]) == 32 for name in grown), grown
    assert {path.name for path in server.folder.iterdir()} <= names | {"scans.sqlite-wal", "scans.sqlite-shm"}


@pytest.mark.parametrize(
    "name",
    [
        "../../../../etc/cron.d/x.png", "..\\..\\windows\\x.png", "/etc/passwd", "C:\\x.png", "....//x.png", "a\0.png",
        "\u202egnp.exe", "<img src=x onerror=alert(1)>.png", "con", ".", "..", "%2e%2e%2fx", "x" * 3000, "",
        "$(id).png", "a\udcff.png",
    ],
)  # fmt: skip
def test_names_are_only_shown(server: Server, media: Media, name: str) -> None:
    status, text = post(server, form(f'name="file"; filename="{name}"', media.pale))
    if status == 202:
        shown = json.loads(text)["name"]
        assert "/" not in shown
        assert "\\" not in shown
        assert "\0" not in shown
        assert "\u202e" not in shown
        assert 0 < len(shown) < 300
        server.at.delete(f"/v1/scans/{json.loads(text)['id']}")
    else:
        assert 400 <= status < 500


@pytest.mark.parametrize(
    ("content", "looks"),
    [
        (b"%PDF-1.4", "PDF"),
        (b"PK\x03\x04" + b"x" * 100, "ZIP"),
        (b"<html><script>alert(1)</script>", "web page"),
        (b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>", "SVG"),
        (b"#EXTM3U\nhttp://169.254.169.254/", "HLS playlist"),
        (b"", "empty"),
        (b"\x7fELF", "program"),
    ],
)
def test_what_is_no_medium_is_refused(server: Server, content: bytes, looks: str) -> None:
    status, text = post(server, form('name="file"; filename="a.png"', content))
    assert status == 415
    assert looks in json.loads(text)["detail"]


def bomb() -> bytes:
    """A PNG of a few bytes that says it has 50,000 x 50,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    head = struct.pack(">IIBBBBB", 50_000, 50_000, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * 1_000_000, 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_bombs_of_pixels_are_not_decoded(server: Server) -> None:
    answer = server.at.post("/v1/scans", files={"file": ("bomb.png", bomb())})
    assert answer.status_code == 200
    file = answer.json()["files"][0]
    assert file["state"] == "failed"
    assert "pixels" in file["reasons"][0]
    noise = io.BytesIO()
    Image.effect_noise((700, 700), 90).save(noise, "PNG")
    cut = server.at.post("/v1/scans", files={"file": ("cut.png", noise.getvalue()[:5000])})
    assert cut.json()["files"][0]["state"] == "failed"
    assert str(server.folder) not in cut.text


def test_sizes_are_bounded(server: Server, media: Media) -> None:
    big = media.red + b"\0" * 3_000_001
    answer = server.at.post("/v1/scans", files={"file": ("a.png", big)})
    assert answer.status_code == 413
    assert answer.json()["detail"].startswith("the file has more than") or "more than" in answer.json()["detail"]
    assert post(server, form('name="webhook"', b"x" * 20_000))[0] == 413
    many = b"".join(f'--{EDGE}\r\nContent-Disposition: form-data; name="f{n}"\r\n\r\nx\r\n'.encode() for n in range(50))
    assert post(server, many + f"--{EDGE}--\r\n".encode())[0] == 400
    claimed = f"POST /v1/scans HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: 99999999999\r\n".encode()
    claimed += f"Content-Type: multipart/form-data; boundary={EDGE}\r\n\r\n".encode()
    assert b" 413 " in raw(server, claimed)
    answer = server.at.post("/v1/scans", content=b"[" * 200_000, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413
    answer = server.at.post("/v1/scans", content=b"[" * 16_000, headers={"Content-Type": "application/json"})
    assert answer.status_code == 422
    assert server.at.get("/v1/scans", headers={"X-Long": "x" * 40_000}).status_code in (400, 431)


@pytest.mark.parametrize(
    "body",
    [
        b"", b"--edge", b"--edge--\r\n", b"nonsense", b"--edge\r\n\r\nx\r\n--edge--\r\n",
        form('name="file"; filename="a.png"', b"\x89PNG\r\n\x1a\n")[:-12], form('name="file"', b"x") * 2,
        form('name="pictures"', b"\xff\xfe"), form('name="frames"', b"0"), form('name="frames"', b"1e9"),
        form('name="error_rate"', b"nan"), form('name="owner"', b"root"),
        form('name="url"', b"http://a/" + b"a" * 2000),
        form('name="webhook"', b"http://127.0.0.1/"), form('name="url"', b"file:///etc/passwd"),
    ],
)  # fmt: skip
def test_crooked_forms_are_refused(server: Server, body: bytes) -> None:
    status, text = post(server, body)
    assert 400 <= status < 500, text
    assert json.loads(text)["detail"]


@pytest.mark.parametrize(
    "head",
    [
        "Content-Length: 5\r\nTransfer-Encoding: chunked",
        "Content-Length: 5\r\nContent-Length: 6",
        "Content-Length: +5",
        "Content-Length: -1",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding : chunked",
        "Host: evil.example",
        "X-A: b\r\n folded: c",
        "X-A: b\nContent-Length: 3",
        "X\0A: b",
    ],
)
def test_smuggled_headers_are_refused(server: Server, head: str) -> None:
    request = f"POST /v1/scans HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n{head}\r\n\r\n0\r\n\r\n"
    answer = raw(server, request.encode() + b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", more=False)
    assert answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 501", b"HTTP/1.1 415"), answer
    assert answer.count(b"HTTP/1.1") == 1  # the smuggled request was never answered
    assert b"unmask_requests" not in answer


def test_pages_of_other_sites_and_names_that_lead_here(server: Server, media: Media) -> None:
    files = {"file": ("a.png", media.pale)}
    answer = server.at.post("/v1/scans", files=files, headers={"Origin": "https://evil.example"})
    assert answer.status_code == 403
    assert server.at.delete("/v1/scans/a", headers={"Origin": "null"}).status_code == 403
    assert server.at.get("/v1/scans", headers={"Host": "evil.example"}).status_code == 421
    assert server.at.get("/v1/scans", headers={"Host": "127.0.0.1.evil.example"}).status_code == 421
    assert (
        "access-control-allow-origin" not in server.at.get("/v1/scans", headers={"Origin": "https://a.example"}).headers
    )
    own = {"Origin": f"http://127.0.0.1:{server.port}", "Prefer": "respond-async"}
    assert server.at.post("/v1/scans", files=files, headers=own).status_code == 202


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "/v1/scans/..%2f..%2fetc", "/assets/..%2fapi.py", "//etc/passwd"]
)
def test_paths_lead_nowhere(server: Server, path: str) -> None:
    answer = raw(server, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    assert b" 404 " in answer.split(b"\r\n")[0]


def test_every_answer_is_dressed(server: Server) -> None:
    for path in ("/v1/scans", "/nowhere", "/healthz"):
        headers = server.at.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def test_tokens_keep_owners_apart(media: Media, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("# people\n" + "\n".join(f"{name}: {token}" for name, token in TOKENS.items()))
    arguments = ("--token-file", str(tokens), "--rate", "2", "--storage", str(len(media.red) + 10))
    with serving(tmp_path / "data", media.bundle, *arguments, token=TOKENS["alice"]) as server:
        key = server.at.post("/v1/scans", files={"file": ("red.png", media.red)}).headers["location"]
        bob = {"Authorization": f"Bearer {TOKENS['bob']}"}
        for wrong in ("", "Bearer", "Bearer x", f"Basic {TOKENS['alice']}", f"Bearer {TOKENS['alice']}x", "Bearer é"):
            answer = server.at.get(key, headers={"Authorization": wrong.encode()})
            assert answer.status_code == 401, wrong
        assert server.at.get(key).status_code == 200
        for path in ("", "/media", "/report.html", "/events", "/faces/1/face.jpg"):
            assert server.at.get(key + path, headers=bob).status_code == 404
        assert server.at.delete(key, headers=bob).status_code == 404
        assert server.at.get("/v1/scans", headers=bob).json()["items"] == []
        full = server.at.post("/v1/scans", files={"file": ("red.png", media.red)})
        assert full.status_code == 413
        quick = server.at.post("/v1/scans", files={"file": ("red.png", media.red)})
        assert quick.status_code == 429
        assert 1 <= int(quick.headers["retry-after"]) <= 60
        assert server.at.get("/metrics", headers={"Authorization": ""}).status_code == 401
        assert TOKENS["alice"] not in server.log.read_text()


def test_slow_uploads_are_given_up(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The deadlines themselves are too long for a test: a body that stalls is read with short ones."""
    import asyncio

    from starlette.requests import Request

    monkeypatch.setattr(uploads, "STALL", 0.2)

    async def read(pause: float) -> None:
        async def receive() -> dict[str, object]:
            await asyncio.sleep(pause)
            return {"type": "http.request", "body": b"x", "more_body": True}

        request = Request({"type": "http", "headers": [], "method": "POST"}, receive)
        async for _ in uploads.body(request, 1000):
            pass

    with pytest.raises(RefusedError, match="nothing was received"):
        asyncio.run(read(1.0))
    monkeypatch.setattr(uploads, "SLOWEST", 1000)
    with pytest.raises(RefusedError, match="slower than"):
        asyncio.run(read(0.05))


def test_who_may_ask(tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    for text, says in (("short", "20 visible"), ("", "no token"), (f"a: {'x' * 30}\nb: {'x' * 30}", "twice")):
        tokens.write_text(text)
        with pytest.raises(UnmaskError, match=says):
            read_tokens(tokens)
    tokens.write_text(f"alice: {TOKENS['alice']}")
    settings = Settings(folder=tmp_path, tokens=read_tokens(tokens))
    assert owner_of(settings, f"bearer {TOKENS['alice']}") == "alice"
    assert [loopback(h) for h in ("localhost", "127.0.0.9", "::1", "[::1]", "0.0.0.0", "::", "10.0.0.1", "a.b")] == [
        True, True, True, True, False, False, False, False,
    ]  # fmt: skip
    pace = Pace(2)
    pace.take("a")
    pace.take("a")
    with pytest.raises(RefusedError):
        pace.take("a")
    pace.take("b")


def test_webhooks_are_signed_and_stay_outside() -> None:
    # The example of the specification's reference library: secret "MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", base64-decoded.
    import base64

    secret = base64.b64decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
    signed = hooks.signature(secret, "msg_p5jXN8AQM9LWM0D4loKWxJek", 1614265330, b'{"test": 2432232314}')
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
    for inside in ("http://127.0.0.1:1/", "http://[::1]/", "http://169.254.169.254/", "http://localhost/"):
        with pytest.raises(MediaError, match="not on the open internet"):
            hooks.send(inside, b"{}", {})


class _Ear(BaseHTTPRequestHandler):
    """Refuses the first call and takes the second."""

    heard: ClassVar[list[tuple[dict[str, str], bytes]]] = []

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.heard.append(({key.lower(): value for key, value in self.headers.items()}, body))
        self.send_response(500 if len(self.heard) == 1 else 204)
        self.end_headers()

    def log_message(self, format: str, *args: object) -> None:
        pass


def test_webhooks_are_tried_until_they_are_heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hooks, "PAUSES", (0.0,))
    secret, store = b"s" * 30, Store(Database(f"sqlite:///{tmp_path / 'scans.sqlite'}"), 10)
    with HTTPServer(("127.0.0.1", 0), _Ear) as ear:
        threading.Thread(target=ear.serve_forever, daemon=True).start()
        scan = Scan(
            id=fresh_id(), owner="", state="queued", name="a.png", bytes=0, wishes="{}", created=1.0, progress=0.0,
            attempts=0, fingerprint="", webhook=f"http://127.0.0.1:{ear.server_port}/hook", webhook_tries=0,
        )  # fmt: skip
        store.accept(scan)
        store.claim("me")
        store.finish(scan.id, "me", Result("done", "{}", "fake", 0.9))
        sender = hooks.Hooks(store, secret, Metrics(), allowed=lambda _: True)
        assert sender.send_one()
        assert sender.send_one()
        assert not sender.send_one()  # it was heard
        ear.shutdown()
    assert len(_Ear.heard) == 2
    headers, body = _Ear.heard[1]
    assert json.loads(body)["data"] == {
        "id": scan.id, "state": "done", "name": "a.png", "verdict": "fake", "score": 0.9,
    }  # fmt: skip
    expected = hooks.signature(secret, scan.id, int(headers["webhook-timestamp"]), body)
    assert headers["webhook-signature"] == expected
    assert headers["webhook-id"] == scan.id
