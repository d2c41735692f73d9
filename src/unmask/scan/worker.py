"""A process that scans one file after another for `pool`: a codec that crashes takes only its own file along.

Lines of JSON on standard input and output: first the options, answered by {} or {"error": text}; then paths, each
answered by {"report": ..., "pictures": [[thumbnail, heat], ...]}. When the input ends, because the parent is done or
was killed, the process ends at once, even in the middle of a file.
"""

from __future__ import annotations

import base64
import json
import os
import queue
import signal
import sys
import threading
from typing import Any, BinaryIO

from unmask.nouns import FileReport, UnmaskError
from unmask.scan.options import Options
from unmask.scan.pipeline import Scanner


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's business
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # a library that prints must not garble the answers
    lines: queue.SimpleQueue[bytes] = queue.SimpleQueue()
    threading.Thread(target=_listen, args=(lines,), daemon=True).start()
    try:
        scanner = Options.model_validate_json(lines.get()).ready()
    except UnmaskError as error:
        _answer(answers, {"error": str(error)})
        return
    _answer(answers, {})
    while True:
        path = json.loads(lines.get())
        report = scan_safely(scanner, path)
        pictures = [[_text(face.thumbnail), _text(face.heat)] for face in report.faces]
        _answer(answers, {"report": report.model_dump(mode="json"), "pictures": pictures})


def scan_safely(scanner: Scanner, path: str) -> FileReport:
    """The report on a file, whatever happens: what nobody foresaw is `failed`, with its name."""
    try:
        return scanner.scan(path)
    except Exception as error:  # noqa: BLE001 - one file among thousands must not end the scan; the report names the error
        return scanner.failed(path, f"unexpected {type(error).__name__}: {error}")


def read_answer(line: bytes) -> FileReport:
    """An answer of a worker, pictures and all. Raises: UnmaskError when the worker could not load its parts."""
    answer = json.loads(line)
    if "error" in answer:
        raise UnmaskError(answer["error"])
    report = FileReport.model_validate_json(json.dumps(answer["report"]))
    faces = (
        face.model_copy(update={"thumbnail": _bytes(thumbnail), "heat": _bytes(heat)})
        for face, (thumbnail, heat) in zip(report.faces, answer["pictures"], strict=True)
    )
    return report.model_copy(update={"faces": tuple(faces)})


def _listen(lines: queue.SimpleQueue[bytes]) -> None:
    while line := sys.stdin.buffer.readline():
        lines.put(line)
    os._exit(0)  # the main thread may be deep in a codec: nothing is left to wait for


def _answer(answers: BinaryIO, answer: dict[str, Any]) -> None:
    answers.write(json.dumps(answer).encode() + b"\n")
    answers.flush()


def _text(picture: bytes | None) -> str | None:
    return None if picture is None else base64.b64encode(picture).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
