"""Uploads: streamed to a file under a random name, counted, hashed and looked at before anything else is done."""

from __future__ import annotations

import asyncio
import hashlib
import os
import re
import secrets
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from fastapi import Request
from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header
from starlette.requests import ClientDisconnect

from unmask.app.serve.errors import RefusedError
from unmask.media.sniff import HEAD, PICTURES, VIDEOS, describe, sniff
from unmask.scanning.words import visible

if TYPE_CHECKING:
    from python_multipart.multipart import MultipartCallbacks

STALL = 20.0  # seconds without a byte
SLOWEST = 16 << 10  # bytes in a second, after the first STALL seconds
FIELD = 16 << 10  # bytes of a form field that is no file, and of a JSON body
PARTS = 12
SUFFIXES = frozenset(suffix for kind in (*PICTURES.values(), *VIDEOS.values()) for suffix in kind.suffixes)


@dataclass
class Upload:
    """What came with a request. `path`: the file, if there was one; whoever takes the upload on owns it."""

    fields: dict[str, str] = field(default_factory=dict)
    path: Path | None = None
    name: str = ""
    format: str = ""
    still: bool = False
    size: int = 0
    sha256: str = ""

    def discard(self) -> None:
        if self.path:
            self.path.unlink(missing_ok=True)


def shown_name(claimed: str) -> str:
    """The last part of a name in any system's writing, with nothing hidden in it. Never used as a path."""
    last = re.split(r"[/\\]", claimed.replace("\0", ""))[-1].strip()
    return visible(last, 200) if last.strip(".") else "upload"


async def receive(request: Request, folder: Path, most: int) -> Upload:
    """Reads a multipart/form-data body of at most `most` bytes in its file.

    Raises: RefusedError 400 for what is no such body, 408 for a slow one, 413 for a large one, 415 for content that is
        no image or video. Nothing is left on disk then.
    """
    kind, options = parse_options_header(request.headers.get("content-type", ""))
    if kind != b"multipart/form-data" or not options.get(b"boundary"):
        raise RefusedError(415, "send multipart/form-data with a part named file, or JSON with a url", close=True)
    upload = Upload()
    form = _Form(upload, folder, most)
    try:
        parser = MultipartParser(options[b"boundary"], form.callbacks(), max_size=most + FIELD * PARTS)
        async for chunk in body(request, most + FIELD * PARTS):
            parser.write(chunk)
            if form.refused:
                raise form.refused
        parser.finalize()
        form.complete()
    except (FormParserError, UnicodeDecodeError, ValueError) as error:
        upload.discard()
        raise RefusedError(400, f"the form cannot be read: {visible(str(error), 200)}", close=True) from error
    except BaseException:
        upload.discard()
        raise
    finally:
        form.close()
    return upload


async def body(request: Request, most: int) -> AsyncIterator[bytes]:
    """A request's body in chunks. Raises: RefusedError 400, 408 or 413 as soon as it is cut off, slow or too large."""
    claimed = request.headers.get("content-length", "0")
    if claimed.isdecimal() and int(claimed) > most:
        raise RefusedError(413, f"more than {most:,} bytes", close=True)
    start, received, chunks = time.monotonic(), 0, request.stream()
    while True:
        try:
            async with asyncio.timeout(STALL):
                chunk = await anext(chunks, None)
        except TimeoutError:
            raise RefusedError(408, f"nothing was received for {STALL:g} s", close=True) from None
        except ClientDisconnect:
            raise RefusedError(400, "the connection ended before the body did", close=True) from None
        if chunk is None:
            return
        received += len(chunk)
        if received > most:
            raise RefusedError(413, f"more than {most:,} bytes", close=True)
        if time.monotonic() - start > STALL + received / SLOWEST:
            raise RefusedError(408, f"slower than {SLOWEST:,} bytes in a second", close=True)
        yield chunk


class _Form:
    """What the parser tells, put where it belongs. Errors are kept in `refused`: the parser is not ours to unwind."""

    def __init__(self, upload: Upload, folder: Path, most: int) -> None:
        self.refused: RefusedError | None = None
        self._upload, self._folder, self._most = upload, folder, most
        self._file: BinaryIO | None = None
        self._hash, self._head = hashlib.sha256(), b""
        self._parts, self._ended = 0, False
        self._header, self._value, self._disposition = b"", b"", b""
        self._name: str | None = None
        self._text = b""

    def callbacks(self) -> MultipartCallbacks:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_field,
            "on_header_value": self._header_value,
            "on_header_end": self._header_end,
            "on_headers_finished": self._headers,
            "on_part_data": self._data,
            "on_part_end": self._part_end,
            "on_end": self._end,
        }

    def complete(self) -> None:
        """Raises: RefusedError when something is missing at the end."""
        if self.refused:
            raise self.refused
        if not self._ended:
            raise RefusedError(400, "the form ends in the middle of a part", close=True)
        if self._upload.path:
            self._look()
            if self.refused:
                raise self.refused
            self._upload.sha256 = self._hash.hexdigest()

    def close(self) -> None:
        if self._file:
            self._file.close()

    def _begin(self) -> None:
        self._parts += 1
        self._disposition, self._text, self._name = b"", b"", None
        if self._parts > PARTS:
            self._refuse(400, f"more than {PARTS} parts in the form")

    def _header_field(self, data: bytes, start: int, end: int) -> None:
        self._header += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._value += data[start:end]

    def _header_end(self) -> None:
        if self._header.lower() == b"content-disposition":
            self._disposition = self._value
        self._header, self._value = b"", b""

    def _headers(self) -> None:
        _, options = parse_options_header(self._disposition)
        self._name = options.get(b"name", b"").decode("utf-8", "replace")
        if self._name != "file":
            if b"filename" in options:
                called = visible(self._name, 50) or "nothing"
                self._refuse(422, f"the part that holds the file must be called file; this one is called {called}")
            elif self._name in self._upload.fields:
                self._refuse(400, f"the field {visible(self._name, 50)} is there twice")
            return
        if self._upload.path:
            self._refuse(400, "one file a request; send the others in requests of their own")
            return
        self._upload.name = shown_name(options.get(b"filename", b"").decode("utf-8", "replace"))
        suffix = PurePosixPath(self._upload.name).suffix.lower()
        name = secrets.token_hex(16) + (suffix if suffix in SUFFIXES else "")
        self._upload.path = self._folder / name
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
        self._file = os.fdopen(os.open(self._upload.path, flags, 0o600), "wb")

    def _data(self, data: bytes, start: int, end: int) -> None:
        if self.refused:
            return
        if self._name != "file" or self._file is None:
            self._text += data[start:end]
            if len(self._text) > FIELD:
                self._refuse(413, f"a form field has more than {FIELD:,} bytes")
            return
        chunk = data[start:end]
        looked = len(self._head) >= HEAD
        self._head += chunk[: HEAD - len(self._head)]
        self._upload.size += len(chunk)
        if self._upload.size > self._most:
            self._refuse(413, f"the file has more than {self._most:,} bytes")
        elif not looked and len(self._head) >= HEAD:
            self._look()
        self._file.write(chunk)  # short writes into the page cache: quicker than handing them to another thread
        self._hash.update(chunk)

    def _part_end(self) -> None:
        if self._name == "file" and self._file:
            self._file.close()
            self._file = None
        elif self._name is not None and not self.refused:
            self._upload.fields[self._name] = self._text.decode("utf-8")

    def _end(self) -> None:
        self._ended = True

    def _look(self) -> None:
        kind = sniff(self._head)
        if kind is None:
            self._refuse(415, f"not an image or a video: this looks like {describe(self._head)}")
        else:
            self._upload.format, self._upload.still = kind.format, kind.reader == "picture"

    def _refuse(self, status: int, detail: str) -> None:
        self.refused = self.refused or RefusedError(status, detail, close=True)
