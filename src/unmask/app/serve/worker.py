"""The process in which uploads are read and judged: it may crash, hang or be killed without harm to the others."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from pydantic import Field

from unmask import workers
from unmask.app.serve.batching import Elsewhere
from unmask.media import MediaError, open_media
from unmask.scanning.evidence import piece
from unmask.scanning.options import Options
from unmask.scanning.pipeline import Scanner
from unmask.scanning.worker import read_answer, write_answer
from unmask.types import Evidence, FileReport, Frame, Media, Plain, Unread


class Wishes(Plain):
    """What a request may ask for; what it leaves out is as the service was started."""

    frames: int | None = Field(None, ge=1, le=256, description="frames of a video to look at, evenly spaced in time")
    error_rate: float | None = Field(None, ge=0.001, le=0.499, description="share of wrong calls to accept, per side")
    pictures: bool = Field(
        True, description="also make face images and, where a detector's maps point at forgeries, heat maps"
    )

    def applied(self, scanner: Scanner) -> Scanner:
        asked = self.model_dump(include={"frames", "error_rate"}, exclude_none=True)
        return replace(scanner, settings=scanner.settings.model_copy(update=asked), pictures=self.pictures)


class Order(Plain):
    """What a worker needs to know before its first task."""

    options: Options
    memory: int = Field(description="bytes that the process may allocate")
    scores: str | None = Field(None, description="where crops are scored: a socket of batching, or here")


class Task(Plain):
    """One scan. `source`: a path, or with `options.allow_url` an address. `shown`: what the report calls it."""

    source: str
    shown: str
    wishes: Wishes
    progress: str = Field(description="file that tells how far it is, as text between 0 and 1")


class Worker(workers.Worker):
    """Such a process, seen from the service. `seconds`: the longest that one scan may take."""

    def __init__(self, order: Order, seconds: float) -> None:
        super().__init__("unmask.app.serve.worker", order.model_dump_json(), seconds)

    def scan(self, task: Task) -> FileReport:
        """Raises: WorkerError."""
        return read_answer(self.ask(task.model_dump_json()))


def main() -> None:
    workers.serve(_ready)


def _ready(line: bytes) -> Callable[[bytes], bytes]:
    order = Order.model_validate_json(line)
    workers.bound_memory(order.memory)
    elsewhere = Elsewhere(order.scores) if order.scores else None
    scanner = order.options.ready(elsewhere)
    done = elsewhere.close if elsewhere else lambda: None
    done()

    def handle(task: bytes) -> bytes:
        try:
            return write_answer(_scan(scanner, Task.model_validate_json(task)))
        finally:
            done()

    return handle


def _scan(scanner: Scanner, task: Task) -> FileReport:
    scanner, progress = task.wishes.applied(scanner), Path(task.progress)
    try:
        media = open_media(task.source, limits=scanner.limits, allow_url=scanner.allow_url)
        report = scanner.scan_media(_told(media, progress))
    except MediaError as error:
        report = scanner.failed(task.shown, str(error))
    except MemoryError:
        report = scanner.failed(task.shown, "it needs more memory than there may be for one file")
    except Exception as error:  # noqa: BLE001 - a stranger's file must not end the worker; the report names the error
        report = scanner.failed(task.shown, f"unexpected {type(error).__name__}: {error}")
    finally:
        progress.unlink(missing_ok=True)

    return report.model_copy(update={"path": task.shown, **_shown(report, task)})


def _shown(report: FileReport, task: Task) -> dict[str, Any]:
    """Reasons and evidence without where files lie here, which nobody outside needs to know."""

    def outside(text: str) -> str:
        return _outside(text).replace(task.source, task.shown)

    def told(one: Evidence) -> Evidence:
        facts = {name: outside(fact) if isinstance(fact, str) else fact for name, fact in one.facts.items()}
        return piece(one.kind, one.about, facts)

    reasons, whole = tuple(map(outside, report.reasons)), report.whole
    if whole is not None:
        whole = whole.model_copy(update={"reasons": tuple(map(outside, whole.reasons))})
    return {"reasons": reasons, "whole": whole, "evidence": tuple(map(told, report.evidence))}


def _outside(reason: str) -> str:
    """A reason without the advice to raise a limit: only who runs the service can."""
    told, advice, _ = reason.partition("; raise ")
    return f"{told}; this service reads no more" if advice else reason


def _told(media: Media, progress: Path) -> Media:
    """The same media file, which writes down how many of its frames are read."""

    fresh = progress.with_suffix(".next")

    def frames(count: int) -> Iterator[Frame | Unread]:
        expected = max(1, min(count, media.total_frames or count))
        for number, frame in enumerate(media.frames(count)):
            fresh.write_text(f"{min(1.0, number / expected):.3f}", "ascii")
            fresh.replace(progress)  # who reads it never finds half of it
            yield frame

    return replace(media, frames=frames)
