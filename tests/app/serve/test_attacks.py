"""What strangers try: each is refused with a clear error, and the server goes on answering.

`held` counts; the end of a test run says how many were tried, and how many got in.
"""

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
from typing import Any, ClassVar

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
from unmask.types import UnmaskError

from .conftest import Media, held
from .process import Server, children, free_port, serving, until

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
        held(f"name {name[:20]!r}", not set(shown) & set("/\\\0\u202e") and 0 < len(shown) < 300)
        server.at.delete(f"/v1/scans/{json.loads(text)['id']}")
    else:
        held(f"name {name[:20]!r}", 400 <= status < 500)


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
    held(f"content: {looks}", status == 415)
    assert looks in json.loads(text)["detail"]


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png(width: int, height: int, *more: bytes) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    rows = zlib.compress(b"\0" * min(1_000_000, height * (1 + 3 * width)), 9)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + b"".join(more) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def wide_jpeg(content: bytes) -> bytes:
    """The same, but it says that it has 65,500 x 65,500 pixels."""
    at = content.index(b"\xff\xc0") + 5
    return content[:at] + struct.pack(">HH", 65_500, 65_500) + content[at + 4 :]


def jpeg() -> bytes:
    made = io.BytesIO()
    Image.new("RGB", (64, 64)).save(made, "JPEG")
    return made.getvalue()


def gif(frames: int) -> bytes:
    made = io.BytesIO()
    Image.new("P", (1, 1)).save(made, "GIF")
    once = made.getvalue()
    image = once[once.index(b",") : -1]
    return once[: once.index(b",")] + image * frames + b";"


BOMBS = {
    "50,000 x 50,000 pixels in a small PNG": png(50_000, 50_000),
    "65,500 x 65,500 pixels in a JPEG's head": wide_jpeg(jpeg()),
    "200 MB of text in a PNG": png(8, 8, *[chunk(b"zTXt", b"a\0\0" + zlib.compress(b"x" * 50_000_000, 9))] * 4),
    "100,000 frames in a GIF": gif(100_000),
}


@pytest.mark.parametrize("what", BOMBS)
def test_bombs_do_no_harm(server: Server, what: str) -> None:
    answer = server.at.post("/v1/scans", files={"file": ("bomb", BOMBS[what])}, headers={"Prefer": "respond-async"})
    assert answer.status_code == 202, answer.text
    ended = server.ended(answer.json()["id"])
    file = ended["report"]["files"][0]
    held(what, ended["state"] == "done" and file["state"] in ("failed", "not_applicable"))
    if "pixels" in what:
        assert "pixels" in file["reasons"][0]
    assert max(map(memory, children(server.process.pid, "unmask.app.serve.worker"))) < 1 << 30


def memory(pid: int) -> int:
    """The most that a process ever held, in bytes."""
    status = Path(f"/proc/{pid}/status").read_text()
    return 1024 * int(next(line for line in status.splitlines() if line.startswith("VmHWM")).split()[1])


def test_what_is_cut_off_tells_nothing_of_the_inside(server: Server) -> None:
    noise = io.BytesIO()
    Image.effect_noise((700, 700), 90).save(noise, "PNG")
    cut = server.at.post("/v1/scans", files={"file": ("cut.png", noise.getvalue()[:5000])})
    assert cut.json()["files"][0]["state"] == "failed"
    held("a path in an error", str(server.folder) not in cut.text)


def test_sizes_are_bounded(server: Server, media: Media) -> None:
    big = media.red + b"\0" * 3_000_001
    answer = server.at.post("/v1/scans", files={"file": ("a.png", big)})
    held("a large file", answer.status_code == 413)
    assert "more than" in answer.json()["detail"]
    held("a large field", post(server, form('name="webhook"', b"x" * 20_000))[0] == 413)
    many = b"".join(f'--{EDGE}\r\nContent-Disposition: form-data; name="f{n}"\r\n\r\nx\r\n'.encode() for n in range(50))
    held("many parts", post(server, many + f"--{EDGE}--\r\n".encode())[0] == 400)
    claimed = f"POST /v1/scans HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: 99999999999\r\n".encode()
    claimed += f"Content-Type: multipart/form-data; boundary={EDGE}\r\n\r\n".encode()
    held("a large length", b" 413 " in raw(server, claimed))
    kind = {"Content-Type": "application/json"}
    held("large JSON", server.at.post("/v1/scans", content=b"[" * 200_000, headers=kind).status_code == 413)
    held("deep JSON", server.at.post("/v1/scans", content=b"[" * 16_000, headers=kind).status_code == 422)
    held("large headers", server.at.get("/v1/scans", headers={"X-Long": "x" * 40_000}).status_code in (400, 431))


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
    held(f"form {body[-60:]!r}", 400 <= status < 500)
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
    refused = answer[:12] in (b"HTTP/1.1 400", b"HTTP/1.1 501", b"HTTP/1.1 415")
    alone = answer.count(b"HTTP/1.1") == 1 and b"unmask_requests" not in answer  # the smuggled request was not answered
    held(f"header {head!r}", refused and alone)


def test_pages_of_other_sites_and_names_that_lead_here(server: Server, media: Media) -> None:
    files = {"file": ("a.png", media.pale)}
    for origin in (
        "https://evil.example",
        "null",
        f"https://127.0.0.1:{server.port + 1}",
        "http://127.0.0.1.evil.example",
    ):
        answer = server.at.post("/v1/scans", files=files, headers={"Origin": origin})
        held(f"sent by the page {origin}", answer.status_code == 403)
        held(
            f"deleted by the page {origin}",
            server.at.delete("/v1/scans/a", headers={"Origin": origin}).status_code == 403,
        )
    for host in (
        "evil.example",
        "127.0.0.1.evil.example",
        f"evil.example:{server.port}",
        "[::1].evil.example",
        "evil@localhost",
    ):
        held(f"host {host!r}", server.at.get("/v1/scans", headers={"Host": host}).status_code in (400, 421))
    read = server.at.get("/v1/scans", headers={"Origin": "https://a.example"})
    held("read by a page", "access-control-allow-origin" not in read.headers)
    asked = {"Origin": "https://a.example", "Access-Control-Request-Method": "POST"}
    held("CORS asked for", "access-control-allow-origin" not in server.at.options("/v1/scans", headers=asked).headers)
    own = {"Origin": f"http://127.0.0.1:{server.port}", "Prefer": "respond-async"}
    assert server.at.post("/v1/scans", files=files, headers=own).status_code == 202


@pytest.mark.parametrize(
    "path", ["/../../etc/passwd", "/v1/scans/..%2f..%2fetc", "/assets/..%2fapi.py", "//etc/passwd"]
)
def test_paths_lead_nowhere(server: Server, path: str) -> None:
    answer = raw(server, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())
    held(f"path {path}", b" 404 " in answer.split(b"\r\n")[0])


def test_every_answer_is_dressed(server: Server) -> None:
    for path in ("/v1/scans", "/nowhere", "/healthz"):
        headers = server.at.get(path).headers
        assert headers["x-content-type-options"] == "nosniff"
        assert "default-src 'none'" in headers["content-security-policy"]
        assert headers["cache-control"] == "no-store"
        assert "server" not in headers


def test_errors_of_libraries_are_problem_documents_too(server: Server, media: Media) -> None:
    key = server.at.post("/v1/scans", files={"file": ("red.png", media.red)}).headers["location"]
    size = len(media.red)
    for asked, status in (("bytes=abc", 400), ("bytes=5-2", 400), (f"bytes={size}-", 416), ("apples=1-2", 400)):
        answer = server.at.get(f"{key}/media", headers={"Range": asked})
        assert answer.status_code == status
        assert answer.headers["content-type"] == "application/problem+json"
        assert answer.json()["detail"]
        if status == 416:
            assert str(size) in answer.headers["content-range"]
    assert server.at.get(f"{key}/media", headers={"Range": "bytes=0-3"}).content == media.red[:4]
    for path in ("/nowhere", "/v1/nowhere", f"{key}/nothing"):
        assert server.at.get(path).headers["content-type"] == "application/problem+json"


def test_heads_are_asked_for(server: Server) -> None:
    for path in ("/", "/healthz", "/readyz", "/v1/scans", "/assets/app.js"):
        whole, head = server.at.get(path), server.at.head(path)
        assert (head.status_code, head.content) == (200, b"")
        assert head.headers["content-type"] == whole.headers["content-type"]
    assert server.at.head("/v1/scans/0").status_code == 404


def test_long_request_lines_are_refused(server: Server) -> None:
    for path in ("/v1/scans?" + "a" * 10_000, "/" + "a" * 10_000):
        answer = raw(server, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode())
        held("a long request line", answer.startswith((b"HTTP/1.1 414", b"HTTP/1.1 400")))


def test_tokens_keep_owners_apart(media: Media, tmp_path: Path) -> None:
    tokens = tmp_path / "tokens"
    tokens.write_text("# people\n" + "\n".join(f"{name}: {token}" for name, token in TOKENS.items()))
    arguments = ("--token-file", str(tokens), "--rate", "2", "--storage", str(len(media.red) + 10))
    with serving(tmp_path / "data", media.bundle, *arguments, token=TOKENS["alice"]) as server:
        key = server.at.post("/v1/scans", files={"file": ("red.png", media.red)}).headers["location"]
        bob = {"Authorization": f"Bearer {TOKENS['bob']}"}
        for wrong in ("", "Bearer", "Bearer x", f"Basic {TOKENS['alice']}", f"Bearer {TOKENS['alice']}x", "Bearer é"):
            answer = server.at.get(key, headers={"Authorization": wrong.encode()})
            held(f"authorization {wrong[:12]!r}", answer.status_code == 401)
        assert server.at.get(key).status_code == 200
        for path in ("", "/media", "/report.html", "/events", "/faces/1/face.jpg"):
            held(f"another's scan, {path!r}", server.at.get(key + path, headers=bob).status_code == 404)
        held("another's scan, deleted", server.at.delete(key, headers=bob).status_code == 404)
        held("another's list", server.at.get("/v1/scans", headers=bob).json()["items"] == [])
        full = server.at.post("/v1/scans", files={"file": ("red.png", media.red)})
        held("more storage than one may have", full.status_code == 413)
        quick = server.at.post("/v1/scans", files={"file": ("red.png", media.red)})
        held("more scans than one may begin", quick.status_code == 429)
        assert 1 <= int(quick.headers["retry-after"]) <= 60
        for path in ("/metrics", "/v1/detectors", "/v1/scans"):
            held(f"{path} without a token", server.at.get(path, headers={"Authorization": ""}).status_code == 401)
        held("a token in the log", TOKENS["alice"] not in server.log.read_text())


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
    held("a body that stalls", True)
    monkeypatch.setattr(uploads, "SLOWEST", 1000)
    with pytest.raises(RefusedError, match="slower than"):
        asyncio.run(read(0.05))
    held("a body that drips", True)


def test_slow_heads_are_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    """The service's own protocol with a short deadline: who says nothing, or never ends a head, is not waited for."""
    import uvicorn

    from unmask.app.serve.server import Patient

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    monkeypatch.setattr("unmask.app.serve.server.HEADER_SECONDS", 0.4)
    port = free_port()
    running = uvicorn.Server(uvicorn.Config(app, port=port, http=Patient, ws="none", lifespan="off", log_level="error"))
    thread = threading.Thread(target=running.run)
    thread.start()
    try:
        until(lambda: running.started, "the server")
        for what, begun, drip in (("silence", b"", b""), ("a head that drips", b"GET / HTTP/1.1\r\n", b"X: y\r\n")):
            with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
                connection.sendall(begun)
                held(what, closed(connection, drip))
        with socket.create_connection(("127.0.0.1", port), timeout=20) as connection:
            connection.sendall(b"GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert connection.recv(1000).startswith(b"HTTP/1.1 204")  # who asks is answered
            connection.sendall(b"GET / HTTP/1.1\r\n")
            held("a second head that drips", closed(connection, b"X: y\r\n"))
    finally:
        running.should_exit = True
        thread.join(10)


def closed(connection: socket.socket, drip: bytes) -> bool:
    """Whether the other side ends the connection, although a little is sent again and again."""
    connection.settimeout(0.1)
    for _ in range(100):
        try:
            connection.sendall(drip)
            if not connection.recv(1000):
                return True
        except TimeoutError:
            continue
        except OSError:
            return True
    return False


def test_addresses_that_lead_inside_are_not_called(media: Media, tmp_path: Path) -> None:
    """Whatever way the address is written, also where addresses may be sent; a listener hears nothing."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.1)
        port = listener.getsockname()[1]
        inside = [
            f"http://127.0.0.1:{port}/", f"http://localhost:{port}/", f"http://[::1]:{port}/", f"http://0.0.0.0:{port}/",
            f"http://2130706433:{port}/", f"http://0x7f.1:{port}/", f"http://0177.0.0.1:{port}/", f"http://127.1:{port}/",
            f"http://[::ffff:127.0.0.1]:{port}/", f"http://a@127.0.0.1:{port}/", f"http://[64:ff9b::7f00:1]:{port}/",
            "http://169.254.169.254/latest/meta-data/", "http://10.0.0.1/", "http://192.168.0.1/", "http://[fd00::1]/",
            "http://[fe80::1]/", "http://100.64.0.1/", f"http://127.0.0.1%2f@example.invalid:{port}/",
        ]  # fmt: skip
        other = [
            "file:///etc/passwd",
            "gopher://127.0.0.1/",
            "ftp://127.0.0.1/a.png",
            "http://",
            "//127.0.0.1/",
            "data:,a",
        ]
        with serving(tmp_path, media.bundle, "--url") as server:
            for address in other:
                held(f"address {address}", server.at.post("/v1/scans", json={"url": address}).status_code == 422)
            for address in inside:
                answer = server.at.post("/v1/scans", json={"url": address})
                if answer.status_code == 422:
                    held(f"address {address}", True)
                    continue
                file = server.ended(answer.json()["id"])["report"]["files"][0]
                held(f"address {address}", file["state"] == "failed" and file["sha256"] in (None, ""))
        with pytest.raises(TimeoutError):
            listener.accept()


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
        held(f"webhook to {inside}", True)


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
    told = store.get(scan.id, "")
    assert told is not None
    assert (told.webhook_state, told.webhook_tries, told.webhook_said) == ("delivered", 2, "the answer was 204")
    assert told.webhook_due is None


def test_webhooks_that_cannot_be_sent_are_told(media: Media, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("s" * 30)
    with serving(tmp_path / "data", media.bundle, "--webhook-secret-file", str(tmp_path / "secret")) as server:
        post = lambda address: server.at.post(  # noqa: E731
            "/v1/scans",
            files={"file": ("a.png", media.red)},
            data={"webhook": address},
            headers={"Prefer": "respond-async"},
        )
        for inside in ("http://10.1.2.3/hook", "http://127.0.0.1/", "https://[fd00::1]/", "http://localhost:8000/"):
            answer = post(inside)
            held(f"webhook to {inside}", answer.status_code == 422)
            assert "open internet" in answer.json()["detail"]
        key = post("http://nobody.invalid/hook").headers["location"]
        until(lambda: server.at.get(key).json()["webhook"]["tries"] > 0, "the first try")
        until(lambda: server.at.get(key).json()["webhook"]["said"] is not None, "its end")
        told = server.at.get(key).json()["webhook"]
        assert told["state"] == "to be tried again"
        assert "cannot reach" in told["said"]
        assert told["next"] is not None
