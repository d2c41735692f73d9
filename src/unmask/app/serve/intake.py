"""From a request to a queued scan: what was sent, whether it may be, and whether it was sent before."""

from __future__ import annotations

import hashlib
import ipaddress
import time
from collections.abc import Callable
from urllib.parse import urlsplit

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool

from unmask.app.serve.errors import RefusedError
from unmask.app.serve.guard import Pace
from unmask.app.serve.metrics import Metrics
from unmask.app.serve.models import QUEUED, Scan
from unmask.app.serve.settings import Settings
from unmask.app.serve.store import OtherRequestError, QueueFullError, StorageFullError, Store, fresh_id
from unmask.app.serve.uploads import FIELD, Upload, body, receive
from unmask.app.serve.worker import Wishes
from unmask.media.addresses import public
from unmask.scanning.words import visible


class Asked(BaseModel):
    """What can be asked for beside a file: the JSON body, or fields of the form."""

    model_config = ConfigDict(extra="forbid")

    url: str | None = Field(None, max_length=2000, description="http(s) address, if the service fetches such")
    webhook: str | None = Field(None, max_length=2000, description="http(s) address that is told when it is done")
    frames: int | None = Field(None, ge=1, le=256)
    error_rate: float | None = Field(None, ge=0.001, le=0.499)
    pictures: bool = True

    @property
    def wishes(self) -> Wishes:
        return Wishes(frames=self.frames, error_rate=self.error_rate, pictures=self.pictures)


class Intake:
    """Accepts requests for `settings`' service."""

    def __init__(self, store: Store, settings: Settings, metrics: Metrics) -> None:
        self._store, self._settings, self._metrics = store, settings, metrics
        self._pace = Pace(settings.rate)

    async def accept(self, request: Request, owner: str) -> tuple[Scan, bool, bool]:
        """The scan, whether it is new, and whether it is a still that will be done in a moment.

        Raises: RefusedError for everything that is not as it must be. Nothing is left on disk then.
        """
        key = request.headers.get("idempotency-key")
        if key is not None and not (1 <= len(key) <= 200 and key.isprintable()):
            raise RefusedError(422, "an Idempotency-Key has 1 to 200 visible characters", close=True)
        repeated = key is not None and await run_in_threadpool(self._store.has_key, owner, key)
        if not repeated:  # what was accepted before takes no space, however full it is now
            self._pace.take(owner)
            await run_in_threadpool(self._check_room, owner, request.headers.get("content-length", "0"))
        upload, asked = await self._read(request)
        try:
            scan = self._scan(owner, key, upload, asked)
            found, new = await run_in_threadpool(self._store.accept, scan)
        except QueueFullError:
            upload.discard()
            raise self._full() from None
        except StorageFullError as error:
            upload.discard()
            raise self._stored(error.stored) from None
        except OtherRequestError:
            upload.discard()
            raise RefusedError(422, "this Idempotency-Key was used for another request; choose a fresh one") from None
        except BaseException:
            upload.discard()
            raise
        if not new:
            upload.discard()
        else:
            self._metrics.bytes.inc(upload.size)
        return found, new, upload.still

    def _check_room(self, owner: str, length: str) -> None:
        """Before the upload is read: who is refused should not have to send it. `accept` counts again."""
        if self._store.full(owner):
            raise self._full()
        size = int(length) if length.isdecimal() and len(length) < 20 else 0
        stored = self._store.stored(owner)
        if stored >= self._settings.storage:
            raise self._stored(stored)
        if size <= self._settings.options.limits.bytes and not self._settings.has_space(size):
            raise RefusedError(
                507, "the service's disk is nearly full: delete scans that are no longer needed", close=True
            )

    def _stored(self, stored: int) -> RefusedError:
        return RefusedError(
            413,
            f"your uploads here take {stored:,} of {self._settings.storage:,} bytes, too many for this one "
            "beside them; delete some",
            close=True,
        )

    async def _read(self, request: Request) -> tuple[Upload, Asked]:
        if request.headers.get("content-type", "").partition(";")[0].strip().lower() == "application/json":
            data = b"".join([chunk async for chunk in body(request, FIELD)])
            upload, asked = Upload(), _checked(lambda: Asked.model_validate_json(data))
        else:
            most = min(self._settings.options.limits.bytes, self._settings.storage)
            upload = await receive(request, self._settings.media, most)
            try:
                asked = _checked(lambda: Asked.model_validate(upload.fields))
            except BaseException:
                upload.discard()
                raise
        try:
            self._check(upload, asked)
        except BaseException:
            upload.discard()
            raise
        return upload, asked

    def _check(self, upload: Upload, asked: Asked) -> None:
        if (upload.path is None) == (asked.url is None):
            raise RefusedError(422, "send either a file or a url")
        if asked.url and not self._settings.options.allow_url:
            raise RefusedError(422, "this service fetches no addresses; send the file, or start it with --url")
        if asked.webhook and not self._settings.secret:
            raise RefusedError(422, "this service sends no webhooks; start it with --webhook-secret-file")
        for address in filter(None, (asked.url, asked.webhook)):
            try:
                parts = urlsplit(address)
            except ValueError:
                parts = urlsplit("")
            if parts.scheme not in ("http", "https") or not parts.hostname or not address.isprintable():
                raise RefusedError(422, "an address begins with http:// or https:// and names a host")
            if _inside(parts.hostname):
                raise RefusedError(422, f"{parts.hostname} is not on the open internet; this service does not call it")

    def _scan(self, owner: str, key: str | None, upload: Upload, asked: Asked) -> Scan:
        what = "\n".join((upload.sha256, upload.name, asked.model_dump_json()))
        return Scan(
            id=fresh_id(),
            owner=owner,
            state=QUEUED,
            name=upload.name or visible(str(asked.url), 300),
            url=asked.url,
            media=upload.path.name if upload.path else None,
            format=upload.format or None,
            bytes=upload.size,
            wishes=asked.wishes.model_dump_json(),
            created=time.time(),
            progress=0.0,
            attempts=0,
            idempotency_key=key,
            fingerprint=hashlib.sha256(what.encode("utf-8", "surrogatepass")).hexdigest(),
            webhook=asked.webhook,
            webhook_tries=0,
        )

    def _full(self) -> RefusedError:
        soon = min(300.0, self._metrics.mean * self._settings.queue / self._settings.workers / 2)
        return RefusedError(429, "as many scans are waiting already as may; try again later", retry=soon, close=True)


def _inside(host: str) -> bool:
    """Whether this is an address inside. Names are looked up when they are called, and told of then."""
    try:
        return not public(ipaddress.ip_address(host))
    except ValueError:
        return host.lower().rstrip(".") == "localhost"


def _checked(read: Callable[[], Asked]) -> Asked:
    try:
        return read()
    except ValidationError as error:
        wrong = (".".join(map(str, e["loc"])) + ": " + e["msg"] for e in error.errors(include_input=False))
        raise RefusedError(422, visible("; ".join(wrong), 500)) from error
