"""A process that scans one file after another for `pool`: a codec that crashes takes only its own file along.

The order is the options; each line then a path, answered by {"report": ..., "images": [[thumbnail, heat], ...]}.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable

from unmask.scanning.options import Options
from unmask.scanning.pipeline import Scanner
from unmask.types import FaceReport, FileReport, UnmaskError, WholeReport
from unmask.workers import serve


def main() -> None:
    serve(_ready)


def _ready(order: bytes) -> Callable[[bytes], bytes]:
    scanner = Options.model_validate_json(order).ready()

    return lambda line: write_answer(scan_safely(scanner, json.loads(line)))


def scan_safely(scanner: Scanner, path: str) -> FileReport:
    """The report on a file, whatever happens: what nobody foresaw is `failed`, with its name."""
    try:
        return scanner.scan(path)
    except Exception as error:  # noqa: BLE001 - one file among thousands must not end the scan; the report names the error
        return scanner.failed(path, f"unexpected {type(error).__name__}: {error}")


def write_answer(report: FileReport) -> bytes:
    """A report as a worker's answer, with its images: one line."""
    shown: list[FaceReport | WholeReport] = [*report.faces, *([report.whole] if report.whole else [])]
    pictures = [[_text(one.thumbnail), _text(one.heat)] for one in shown]
    told = {"report": report.model_dump(mode="json"), "pictures": pictures, "sheet": _text(report.sheet)}
    return json.dumps(told).encode()


def read_answer(line: bytes) -> FileReport:
    """An answer of a worker, images and all. Raises: UnmaskError when the worker could not load its parts."""
    answer = json.loads(line)
    if "error" in answer:
        raise UnmaskError(answer["error"])
    report = FileReport.model_validate_json(json.dumps(answer["report"]))
    drawn = [{"thumbnail": _bytes(thumbnail), "heat": _bytes(heat)} for thumbnail, heat in answer["pictures"]]
    count = len(report.faces)
    faces = tuple(face.model_copy(update=own) for face, own in zip(report.faces, drawn[:count], strict=True))
    whole = report.whole.model_copy(update=drawn[count]) if report.whole else None
    return report.model_copy(update={"faces": faces, "whole": whole, "sheet": _bytes(answer["sheet"])})


def _text(picture: bytes | None) -> str | None:
    return None if picture is None else base64.b64encode(picture).decode()


def _bytes(text: str | None) -> bytes | None:
    return None if text is None else base64.b64decode(text)
