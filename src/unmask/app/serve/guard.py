"""What stands before every request: which names the service answers to, who may ask, how often, and what browsers may
do with the answers."""

from __future__ import annotations

import hashlib
import hmac
import re
import threading
import time
from http import HTTPStatus
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from unmask.app.serve.errors import LOG, RefusedError, answer, trouble
from unmask.app.serve.metrics import Metrics
from unmask.app.serve.settings import Settings, loopback

HEADERS = {
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(self), microphone=(), geolocation=()",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cache-Control": "no-store",
}
HEAD = 16 << 10  # bytes of headers
LINE = 8 << 10  # bytes of a path with its query
SLOWEST = 2.0  # seconds that a wrong token waits for its answer, after many from one address
FORGIVEN = 60.0  # seconds after which a wrong token no longer counts
SAFE = {"GET", "HEAD", "OPTIONS"}
_HOST = re.compile(r"(?:\[([0-9a-fA-F:.]+)\]|([\w.-]+))(?::\d{1,5})?", re.ASCII)
LOCAL = frozenset({"localhost", "127.0.0.1", "::1"})


def owner_of(settings: Settings, authorization: str | None) -> str:
    """Whose token this is; "" where no tokens are asked for. Raises: RefusedError 401."""
    if not settings.tokens:
        return ""
    scheme, _, token = (authorization or "").partition(" ")
    digest = hashlib.sha256(token.strip().encode("utf-8", "surrogateescape")).hexdigest()
    # All are compared, each in constant time: how long it takes tells nothing of them.
    found = [name for known, name in settings.tokens.items() if hmac.compare_digest(known, digest)]
    if scheme.lower() != "bearer" or not found:
        problem = RefusedError(401, "send a token that this service knows: Authorization: Bearer TOKEN")
        problem.headers["WWW-Authenticate"] = "Bearer"
        raise problem
    return found[0]


class Pace:
    """How many scans each owner may begin: a bucket that holds `rate` and is filled within a minute."""

    def __init__(self, rate: float) -> None:
        self._rate, self._lock = rate, threading.Lock()
        self._buckets: dict[str, tuple[float, float]] = {}  # owner -> what is left, and when that was so

    def take(self, owner: str) -> None:
        """Raises: RefusedError 429."""
        with self._lock:
            now = time.monotonic()
            left, then = self._buckets.get(owner, (self._rate, now))
            left = min(self._rate, left + (now - then) * self._rate / 60)
            self._buckets[owner] = (max(0.0, left - 1) if left >= 1 else left, now)
        if left < 1:
            raise RefusedError(429, f"more than {self._rate:g} scans in a minute", retry=(1 - left) * 60 / self._rate)


class Wrong:
    """Wrong tokens by address: each makes the answer to the next one slower. The right token never waits."""

    def __init__(self) -> None:
        self._counts: dict[str, tuple[float, float]] = {}  # address -> how many count, and when that was so

    def wait(self, address: str) -> float:
        """Counts one more, and returns the seconds to wait with the answer."""
        now = time.monotonic()
        count, then = self._counts.get(address, (0.0, now))
        count = max(0.0, count - (now - then) * 10 / FORGIVEN) + 1
        if len(self._counts) > 10_000:  # addresses are cheap
            self._counts.clear()
        self._counts[address] = (count, now)
        return min(SLOWEST, max(0.0, count - 5) * 0.1)


class Guard:
    """ASGI middleware: refuses what is crooked before anything reads it, and dresses every answer."""

    def __init__(self, app: ASGIApp, settings: Settings, metrics: Metrics) -> None:
        self._app, self._metrics = app, metrics
        self._hosts = settings.hosts
        if not self._hosts and not settings.tokens:
            self._hosts = LOCAL | {settings.host.strip("[]").lower()}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        start, status, begun = time.perf_counter(), 500, False
        plain = ""  # an error of a library, as text: it becomes a problem document like all others

        async def dressed(message: Message) -> None:
            nonlocal status, begun, plain
            if plain:
                detail = message.get("body", b"").decode("utf-8", "replace").strip() or HTTPStatus(status).phrase
                again, plain = answer(status, detail, {"Content-Range": span} if (span := plain.strip()) else {}), ""
                await again(scope, receive, dressed)
                return
            if message["type"] == "http.response.start" and message["status"] >= 400 and not begun:
                told = MutableHeaders(scope=message)
                if told.get("content-type", "").startswith("text/plain"):
                    status, plain = message["status"], told.get("content-range", " ")
                    return
            if message["type"] == "http.response.start":
                status, begun = message["status"], True
                headers = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    headers.setdefault(name, value)
            await send(message)

        try:
            self._check(scope)
            # The server sends the head alone; a stream of events has no end that could be waited for.
            asked = scope["method"] == "HEAD" and not scope["path"].endswith("/events")
            await self._app({**scope, "method": "GET"} if asked else scope, receive, dressed)
        except RefusedError as problem:
            await answer(problem.status, problem.detail, problem.headers)(scope, receive, dressed)
        except Exception as error:
            passing = trouble(error)
            if passing and not begun:
                LOG.warning("%s %s: %s", passing.status, scope["method"], error)
                await answer(passing.status, passing.detail, passing.headers)(scope, receive, dressed)
                return
            LOG.error("unforeseen error", exc_info=error)
            if begun:
                raise
            await answer(500, "the service met an error that nobody foresaw; its log says which")(
                scope, receive, dressed
            )
        finally:
            route = getattr(scope.get("route"), "path", "none")  # the pattern, not what was asked for
            method = scope["method"] if scope["method"] in SAFE | {"POST", "DELETE"} else "other"
            self._metrics.requests.labels(method, route, str(status)).inc()
            self._metrics.latency.labels(route).observe(time.perf_counter() - start)
            if status >= 400:
                self._metrics.refused.labels(str(status)).inc()

    def _check(self, scope: Scope) -> None:
        headers = Headers(scope=scope)
        if len(scope.get("raw_path") or scope["path"]) + len(scope["query_string"]) > LINE:
            raise RefusedError(414, f"more than {LINE:,} bytes of path and query", close=True)
        if sum(len(name) + len(value) for name, value in scope["headers"]) > HEAD:
            raise RefusedError(431, f"more than {HEAD:,} bytes of headers", close=True)
        if headers.getlist("transfer-encoding") and headers.getlist("content-length"):
            raise RefusedError(400, "a request has Content-Length or Transfer-Encoding, never both", close=True)
        for name in ("host", "content-length", "content-type", "authorization", "idempotency-key", "origin"):
            if len(headers.getlist(name)) > 1:
                raise RefusedError(400, f"the header {name} is there more than once", close=True)
        host = headers.get("host", "")
        if self._hosts and _name(host) not in self._hosts:
            raise RefusedError(
                421, "this service does not answer to that host name; allow it with --allow-host", close=True
            )
        origin = headers.get("origin")
        if origin and scope["method"] not in SAFE and urlsplit(origin).netloc.lower() != host.lower():
            raise RefusedError(403, "requests from pages of other sites are not answered", close=True)


def _name(host: str) -> str:
    """The name in a Host header, without its port; "" for what is no name or address."""
    found = _HOST.fullmatch(host)
    return (found[1] or found[2]).lower() if found else ""


def refuse_open_door(settings: Settings, *, public: bool, without_token: bool) -> str | None:
    """Why a service must not be bound as asked, or None."""
    if loopback(settings.host) or settings.tokens or (public and without_token):
        return None
    return (
        f"{settings.host} can be reached from other machines, and nobody is asked for a token. "
        "Give --token-file FILE, or, if everybody may scan, read and delete everything, --public and --without-token"
    )
