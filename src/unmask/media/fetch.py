"""A file behind an http(s) address, into a temporary file. Standard library only: the address that was checked is the
address that is connected to, which no client that resolves names by itself can promise."""

from __future__ import annotations

import http.client
import ipaddress
import socket
import ssl
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO
from urllib.parse import SplitResult, unquote, urljoin, urlsplit

from unmask.media.addresses import Address, public
from unmask.media.limits import Limits, MediaError
from unmask.media.source import Source, from_path

REDIRECTS = 5
SECONDS = 300.0  # for the whole download, redirects included
STALL = 20.0  # without a byte
CHUNK = 1 << 16


@dataclass
class _Download:
    """A temporary file that is deleted with its last reader."""

    file: IO[bytes]


def fetch(url: str, limits: Limits, *, allowed: Callable[[Address], bool] = public, seconds: float = SECONDS) -> Source:
    """Download `url`.

    Args:
        allowed: which addresses may be connected to.
        seconds: for the whole download.

    Raises:
        MediaError: not http(s), an address that is not `allowed` (here or behind a redirect), a broken connection, an
            answer other than 200, more bytes than `limits.bytes`, or too slow.
    """
    deadline = time.monotonic() + seconds
    target = url
    for _ in range(REDIRECTS + 1):
        parts = _parse(target)
        try:
            with _connect(parts, allowed, deadline) as connection:
                connection.request("GET", _path(parts), headers=_HEADERS)
                answer = connection.getresponse()
                onward = answer.getheader("Location") if answer.status in (301, 302, 303, 307, 308) else None
                if onward is None:
                    return _save(answer, parts, url, limits, deadline)
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise MediaError(f"cannot fetch {target}: {str(error) or type(error).__name__}") from error
        target = urljoin(target, onward)
    raise MediaError(f"cannot fetch {url}: more than {REDIRECTS} redirects")


def send(
    url: str,
    body: bytes,
    headers: Mapping[str, str],
    *,
    allowed: Callable[[Address], bool] = public,
    seconds: float = SECONDS,
) -> int:
    """Posts `body` to `url` and returns the status of the answer, which is not read. Redirects are not followed.

    Raises: MediaError: not http(s), an address that is not `allowed`, or a connection that breaks.
    """
    parts = _parse(url)
    try:
        with _connect(parts, allowed, time.monotonic() + seconds) as connection:
            connection.request("POST", _path(parts), body, {"User-Agent": "unmask", **headers})
            return connection.getresponse().status
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise MediaError(f"cannot reach {url}: {str(error) or type(error).__name__}") from error


_HEADERS = {"User-Agent": "unmask", "Accept": "image/*, video/*, */*;q=0.1", "Accept-Encoding": "identity"}


def _parse(url: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise MediaError(f"{url!r} is not an address: {error}") from error
    if parts.scheme not in ("http", "https") or not parts.hostname or port == 0:
        raise MediaError(f"only http and https addresses are opened, not {url!r}")
    if parts.username is not None or parts.password is not None:
        raise MediaError("addresses with a user name or password in them are not opened")
    return parts


def _path(parts: SplitResult) -> str:
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    return "".join(c if 32 < ord(c) < 127 else "".join(f"%{byte:02X}" for byte in c.encode()) for c in path)


class _Connection:
    """An HTTP connection to one checked address under the name that was asked for."""

    def __init__(self, parts: SplitResult, found: socket.socket) -> None:
        host = parts.hostname or ""
        if parts.scheme == "https":
            found = ssl.create_default_context().wrap_socket(found, server_hostname=host)
        port = parts.port or (443 if parts.scheme == "https" else 80)
        # The class sets the Host header from host and port (without the port only if it is the scheme's own).
        kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
        self.http = kind(host, port)
        self.http.sock = found

    def __enter__(self) -> http.client.HTTPConnection:
        return self.http

    def __exit__(self, *_: object) -> None:
        self.http.close()


def _connect(parts: SplitResult, allowed: Callable[[Address], bool], deadline: float) -> _Connection:
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    addresses = [str(row[4][0]) for row in socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)]
    # Every address of the name must be fit: a name with one private address among public ones is a trap or a mistake.
    for text in addresses:
        if not allowed(ipaddress.ip_address(text.partition("%")[0])):
            raise MediaError(f"{host} leads to {text}, which is not on the open internet; it is not opened")
    problem: OSError = OSError("the name has no address")
    for text in dict.fromkeys(addresses):
        try:
            found = socket.create_connection((text, port), timeout=_patience(deadline))
        except OSError as error:
            problem = error
            continue
        try:
            return _Connection(parts, found)
        except BaseException:
            found.close()
            raise
    raise problem


def _patience(deadline: float) -> float:
    left = deadline - time.monotonic()
    if left <= 0:
        raise MediaError("the download took too long and was given up; download the file yourself and scan it")
    return min(left, STALL)


def _save(answer: http.client.HTTPResponse, parts: SplitResult, url: str, limits: Limits, deadline: float) -> Source:
    if answer.status != 200:
        raise MediaError(f"cannot fetch {url}: the server answers {answer.status} {answer.reason}")
    limits.check("bytes", answer.length or 0)
    download = _Download(tempfile.NamedTemporaryFile(prefix="unmask-"))  # noqa: SIM115  it lives as long as its Source
    received = 0
    # Chunks as they come, and never more than allowed: what the server says of the length is only a claim.
    while chunk := answer.read1(CHUNK):
        received += len(chunk)
        limits.check("bytes", received)
        _patience(deadline)
        download.file.write(chunk)
    download.file.flush()
    source = from_path(Path(download.file.name), limits, keep=download)
    suffix = PurePosixPath(unquote(parts.path)).suffix.lower()
    return Source(url, suffix if suffix[1:].isalnum() else "", source.size, source.sha256, source.open)
