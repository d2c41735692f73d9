"""Downloads against a real server: what is refused, followed, counted and timed out."""

from __future__ import annotations

import hashlib
import http.server
import ipaddress
import socket
import ssl
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from unmask.media import Limits, MediaError, open_media
from unmask.media.addresses import Address, public
from unmask.media.fetch import fetch

from . import make

PICTURE = make.still("PNG")


class Handler(http.server.BaseHTTPRequestHandler):
    seen: list[tuple[str, str]]

    def do_GET(self) -> None:
        self.server.seen.append((self.path, self.headers["Host"]))  # type: ignore[attr-defined]
        name, _, rest = self.path[1:].partition("/")
        getattr(self, f"serve_{name.partition('.')[0]}")(rest)

    def _head(self, status: int, **headers: str) -> None:
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.end_headers()

    def serve_picture(self, rest: str) -> None:
        self._head(200, Content_Length=str(len(PICTURE)))
        self.wfile.write(PICTURE)

    def serve_redirect(self, rest: str) -> None:
        self._head(302, Location=rest)

    def serve_hops(self, rest: str) -> None:
        self._head(307, Location=f"/hops/{int(rest) - 1}" if int(rest) > 1 else "/picture.png")

    def serve_endless(self, rest: str) -> None:
        self._head(200)
        try:
            while True:
                self.wfile.write(bytes(1 << 16))
        except OSError:
            return

    def serve_boast(self, rest: str) -> None:
        self._head(200, Content_Length=str(1 << 40))

    def serve_modest(self, rest: str) -> None:
        """Claims less than it sends: what was claimed is what counts."""
        self._head(200, Content_Length=str(len(PICTURE)))
        self.wfile.write(PICTURE + bytes(1000))

    def serve_short(self, rest: str) -> None:
        """Claims more than it sends."""
        self._head(200, Content_Length=str(len(PICTURE) + 1000))
        self.wfile.write(PICTURE)

    def serve_drip(self, rest: str) -> None:
        self._head(200)
        try:
            for byte in PICTURE:
                self.wfile.write(bytes([byte]))
                time.sleep(0.1)
        except OSError:
            return

    def serve_missing(self, rest: str) -> None:
        self._head(404)

    def log_message(self, format: str, *args: object) -> None:
        """Quiet."""


@pytest.fixture
def server() -> Iterator[Any]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        found.seen = []  # type: ignore[attr-defined]
        found.url = f"http://127.0.0.1:{found.server_address[1]}"  # type: ignore[attr-defined]
        thread = threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True)
        thread.start()
        yield found
        found.shutdown()


def this_machine(address: Address) -> bool:
    """For tests: what `public` refuses, and nothing else."""
    return address == ipaddress.ip_address("127.0.0.1")


def test_a_file_arrives_whole(server: Any) -> None:
    source = fetch(f"{server.url}/picture.png?a=b c", Limits(), allowed=this_machine)
    assert source.sha256 == hashlib.sha256(PICTURE).hexdigest()
    assert source.suffix == ".png"
    assert source.open().read() == PICTURE
    assert source.open().read() == PICTURE
    assert server.seen == [("/picture.png?a=b%20c", f"127.0.0.1:{server.server_address[1]}")]


def test_the_temporary_file_goes_with_its_source(server: Any) -> None:
    source = fetch(f"{server.url}/picture.png", Limits(), allowed=this_machine)
    with source.open() as file:
        path = Path(f"/proc/self/fd/{file.fileno()}").resolve()
        assert path.exists()
    del source
    assert not path.exists()


def test_redirects_are_followed_five_times(server: Any) -> None:
    assert fetch(f"{server.url}/hops/5", Limits(), allowed=this_machine).size == len(PICTURE)
    with pytest.raises(MediaError, match="more than 5 redirects"):
        fetch(f"{server.url}/hops/6", Limits(), allowed=this_machine)


@pytest.mark.parametrize(
    "target",
    [
        "http://127.0.0.2/x",
        "http://[::1]/x",
        "http://169.254.169.254/latest",
        "http://10.0.0.1/x",
        "http://localhost.:1/x",
    ],
)
def test_a_redirect_into_private_ground_is_refused(server: Any, target: str) -> None:
    def only_the_first(address: Address) -> bool:
        return (len(server.seen) == 0 and this_machine(address)) or public(address)

    with pytest.raises(MediaError, match=r"not on the open internet|cannot fetch http://localhost"):
        fetch(f"{server.url}/redirect/{target}", Limits(), allowed=only_the_first)


@pytest.mark.parametrize("target", ["file:///etc/hostname", "ftp://example.org/x", "gopher://x/"])
def test_a_redirect_to_another_scheme_is_refused(server: Any, target: str) -> None:
    with pytest.raises(MediaError, match="only http and https"):
        fetch(f"{server.url}/redirect/{target}", Limits(), allowed=this_machine)


def test_this_machine_is_refused_by_default(server: Any) -> None:
    with pytest.raises(MediaError, match="not on the open internet"):
        open_media(f"{server.url}/picture.png", allow_url=True)
    port = server.server_address[1]
    for url in (f"http://localhost:{port}/picture.png", f"http://2130706433:{port}/", f"http://0x7f.1:{port}/"):
        with pytest.raises(MediaError):
            open_media(url, allow_url=True)
    assert server.seen == []


def test_more_bytes_than_allowed(server: Any) -> None:
    for page in ("endless", "boast"):
        with pytest.raises(MediaError, match=r"raise Limits\.bytes"):
            fetch(f"{server.url}/{page}", Limits(bytes=1 << 20), allowed=this_machine)


def test_lengths_that_lie(server: Any) -> None:
    assert fetch(f"{server.url}/modest", Limits(), allowed=this_machine).size == len(PICTURE)
    assert fetch(f"{server.url}/short", Limits(), allowed=this_machine).size == len(PICTURE)


def test_a_slow_server_is_given_up(server: Any) -> None:
    with pytest.raises(MediaError, match="took too long"):
        fetch(f"{server.url}/drip", Limits(), allowed=this_machine, seconds=1.0)


def test_other_answers(server: Any) -> None:
    with pytest.raises(MediaError, match="answers 404"):
        fetch(f"{server.url}/missing", Limits(), allowed=this_machine)
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = unused.getsockname()[1]
    with pytest.raises(MediaError, match="cannot fetch"):
        fetch(f"http://127.0.0.1:{port}/x", Limits(), allowed=this_machine)


@pytest.mark.parametrize(
    "url", ["http://a:b@127.0.0.1/x", "http://127.0.0.1:99999/x", "http://127.0.0.1:0/x", "https://", "http:///x"]
)
def test_addresses_that_are_not_opened(url: str) -> None:
    with pytest.raises(MediaError):
        fetch(url, Limits(), allowed=this_machine)


def test_a_certificate_is_checked(tmp_path: Path) -> None:
    """A server whose certificate nobody vouches for is refused."""
    pytest.importorskip("cryptography", reason="makes the certificate")
    from .certificates import self_signed

    certificate, key = self_signed("127.0.0.1")
    (tmp_path / "c.pem").write_bytes(certificate)
    (tmp_path / "k.pem").write_bytes(key)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "c.pem", tmp_path / "k.pem")
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as found:
        found.seen = []  # type: ignore[attr-defined]
        found.socket = context.wrap_socket(found.socket, server_side=True)
        threading.Thread(target=found.serve_forever, args=(0.05,), daemon=True).start()
        with pytest.raises(MediaError, match="certificate verify failed"):
            fetch(f"https://127.0.0.1:{found.server_address[1]}/picture.png", Limits(), allowed=this_machine)
        found.shutdown()


@pytest.mark.parametrize(
    "text",
    [
        "127.0.0.1",
        "10.1.2.3",
        "172.16.0.1",
        "192.168.1.1",
        "169.254.169.254",
        "100.64.0.1",
        "0.0.0.0",
        "224.0.0.1",
        "240.0.0.1",
        "255.255.255.255",
        "192.0.2.1",
        "198.18.0.1",
        "::1",
        "::",
        "fe80::1",
        "fc00::1",
        "ff02::1",
        "fec0::1",
        "2001:db8::1",
        "::ffff:127.0.0.1",
        "::ffff:10.0.0.1",
        "::127.0.0.1",
        "64:ff9b::7f00:1",
        "64:ff9b::a00:1",
        "64:ff9b:1::a00:1",
        "2002:7f00:1::",
        "2002:a00:1::1",
        "2001:0:4136:e378:8000:63bf:80ff:fffe",
    ],
)
def test_private_addresses_in_every_dress(text: str) -> None:
    assert not public(ipaddress.ip_address(text))


@pytest.mark.parametrize("text", ["93.184.216.34", "1.1.1.1", "2606:4700::1111", "64:ff9b::101:101"])
def test_public_addresses(text: str) -> None:
    assert public(ipaddress.ip_address(text))
