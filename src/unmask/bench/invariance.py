"""Whether a verdict survives the way a file took: each image is scanned as it is and in twelve re-deliveries.

A *flip* is a verdict that goes from real to fake or back. A verdict that becomes `uncertain` (or a face that is no
longer found) is a loss of reach, not a wrong answer, and is counted apart.
"""

from __future__ import annotations

import hashlib
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from pydantic import ValidationError

from unmask.errors import InputError
from unmask.imageops.redelivery import REDELIVERIES
from unmask.measure.interval import Interval, clopper_pearson
from unmask.media import Limits, MediaError, open_media
from unmask.scanning.batch import cores, default_jobs, scan_many
from unmask.scanning.ledger import asked_of
from unmask.scanning.listing import listed
from unmask.scanning.options import Options
from unmask.scanning.pipeline import Scanner
from unmask.types import Frame, Pixels, Plain, State, printable

VERDICTS = ("fake", "real")
ORIGINAL = "original"
DELIVERIES = (ORIGINAL, *REDELIVERIES)
BATCH = 32  # originals whose copies are on disk at a time


class Answer(Plain):
    """The verdict on one delivery of one file; a line of `answers.jsonl`."""

    sha256: str
    path: str
    delivery: str
    state: State
    score: float | None
    asked: str


@dataclass(frozen=True)
class Row:
    """What one re-delivery did to the files that had a verdict.

    `flips`: share of these that went from real to fake or back; `lost`: of them have no verdict now; `gained`: of the
    others have one now.
    """

    delivery: str
    verdicts: int
    flips: Interval
    flipped: int
    lost: int
    gained: int


@dataclass(frozen=True)
class Found:
    """`passed_over`: files that are no images, cannot be read, or are copies of another; `data`: hash of all hashes."""

    rows: tuple[Row, ...]
    anywhere: Row
    files: int
    passed_over: int
    data: str
    detector: str
    weights: str
    rebuild: str


@dataclass(frozen=True)
class Wanted:
    """`items`: files at most, 0 = all; `jobs`: processes, None = one a core."""

    sources: tuple[str, ...]
    out: Path
    detector: str = "embedded"
    error_rate: float = 0.1
    items: int = 0
    jobs: int | None = None


def run(wanted: Wanted, progress: Callable[[int, int], None] = lambda done, of: None) -> Found:
    """Scans what is not yet in `wanted.out`/answers.jsonl, then counts.

    Raises: UnmaskError for a source that does not exist, or when none of the files is an image.
    """
    paths = listed(wanted.sources).files[: wanted.items or None]
    jobs = wanted.jobs or default_jobs(len(paths) * (1 + len(REDELIVERIES)))
    options = Options(detector=wanted.detector, error_rate=wanted.error_rate, threads=max(1, cores() // jobs))
    scanner = options.ready()
    asked = asked_of(scanner)
    wanted.out.mkdir(parents=True, exist_ok=True)
    journal = wanted.out / "answers.jsonl"
    known = {(a.sha256, a.delivery): a for a in _read(journal) if a.asked == asked}
    files: dict[str, str] = {}  # sha256 -> path: one file under two names counts once
    with journal.open("a", encoding="utf-8") as file:
        for start in range(0, len(paths), BATCH):
            images = dict(_images(paths[start : start + BATCH], scanner.limits))
            files |= {sha256: path for sha256, (path, _) in images.items()}
            missing = {k: v for k, v in images.items() if any((k, d) not in known for d in DELIVERIES)}
            for answer in _answers(missing, scanner, options, jobs, asked):
                known[answer.sha256, answer.delivery] = answer
                file.write(answer.model_dump_json() + "\n")
            file.flush()
            progress(min(start + BATCH, len(paths)), len(paths))
    if not files:
        raise InputError("none of these files is an image that can be read")
    answers = [known[sha256, d] for sha256 in files for d in DELIVERIES]
    rows, anywhere = counted(answers)
    words = ["unmask", "eval", "invariance", *(printable(s) for s in wanted.sources), "--detector", wanted.detector]
    words += ["--error-rate", f"{wanted.error_rate:g}", *(["--items", str(wanted.items)] * bool(wanted.items))]
    return Found(
        rows=rows,
        anywhere=anywhere,
        files=len(files),
        passed_over=len(paths) - len(files),
        data=hashlib.sha256("\n".join(sorted(files)).encode()).hexdigest()[:16],
        detector=scanner.detector.name,
        weights=scanner.detector.weights_sha256,
        rebuild=shlex.join([*words, "-o", wanted.out.name]),
    )


def counted(answers: Sequence[Answer]) -> tuple[tuple[Row, ...], Row]:
    """Each re-delivery's row, and one in which a file has flipped if any re-delivery flipped it.

    Args:
        answers: of each file its original and all re-deliveries.
    """
    before = {a.sha256: a.state for a in answers if a.delivery == ORIGINAL}
    after = {(a.sha256, a.delivery): a.state for a in answers}
    pairs = {d: [(state, after[sha256, d]) for sha256, state in before.items()] for d in REDELIVERIES}
    flipped = [any(_flips(state, after[sha256, d]) for d in REDELIVERIES) for sha256, state in before.items()]
    lost = [_has(state) and any(not _has(after[key, d]) for d in REDELIVERIES) for key, state in before.items()]
    gained = [not _has(state) and any(_has(after[key, d]) for d in REDELIVERIES) for key, state in before.items()]
    verdicts = sum(map(_has, before.values()))
    rows = tuple(
        _row(
            d,
            sum(_has(a) for a, _ in of),
            sum(_flips(a, b) for a, b in of),
            sum(_has(a) and not _has(b) for a, b in of),
            sum(not _has(a) and _has(b) for a, b in of),
        )
        for d, of in pairs.items()
    )
    return rows, _row("any of them", verdicts, sum(flipped), sum(lost), sum(gained))


def _row(delivery: str, verdicts: int, flipped: int, lost: int, gained: int) -> Row:
    return Row(delivery, verdicts, clopper_pearson(flipped, verdicts), flipped, lost, gained)


def _has(state: State) -> bool:
    return state in VERDICTS


def _flips(before: State, after: State) -> bool:
    return _has(before) and _has(after) and before != after


def _images(paths: Sequence[str], limits: Limits) -> Iterator[tuple[str, tuple[str, Pixels]]]:
    """sha256 -> (path, upright pixels) of the files that are images and can be read."""
    for path in paths:
        try:
            media = open_media(path, limits=limits)
            frame = next(iter(media.frames(1))) if media.kind == "image" else None
        except MediaError:
            continue
        if isinstance(frame, Frame):
            yield media.sha256, (path, frame.image)


def _answers(
    images: dict[str, tuple[str, Pixels]], scanner: Scanner, options: Options, jobs: int, asked: str
) -> Iterator[Answer]:
    """The verdicts on the files as they are and in every re-delivery, which live in a temporary folder meanwhile."""
    with TemporaryDirectory() as folder:
        paths: list[str] = []
        of: list[tuple[str, str, str]] = []
        for sha256, (path, image) in images.items():
            for delivery in DELIVERIES:
                sent = path
                if delivery != ORIGINAL:
                    sent = str(Path(folder, f"{len(paths)}"))  # the content says what it is
                    Path(sent).write_bytes(REDELIVERIES[delivery](image))
                paths.append(sent)
                of.append((sha256, path, delivery))
        for i, report in scan_many(paths, scanner, options, jobs):
            sha256, path, delivery = of[i]
            yield Answer(
                sha256=sha256, path=path, delivery=delivery, state=report.state, score=report.score, asked=asked
            )


def _read(journal: Path) -> Iterator[Answer]:
    """The answers of earlier runs; a line that a kill cut short is left out."""
    if not journal.exists():
        return
    for line in journal.read_text("utf-8", "replace").splitlines():
        try:
            yield Answer.model_validate_json(line)
        except ValidationError:
            continue


def markdown(found: Found) -> str:
    """The table, its data and the command that makes it again."""
    lines = [
        "| re-delivery | verdicts before | real and fake flipped | 95 % interval | lost | gained |",
        "|---|---|---|---|---|---|",
    ]
    for r in (*found.rows, found.anywhere):
        share = f"{r.flips.value:.3f} ({r.flipped})" if r.verdicts else "–"
        interval = f"{r.flips.low:.3f} to {r.flips.high:.3f}"
        lines.append(f"| {r.delivery} | {r.verdicts} | {share} | {interval} | {r.lost} | {r.gained} |")
    return "\n".join(
        [
            *lines,
            "",
            f"{found.files:,} images ({found.passed_over:,} other files passed over), data {found.data}; "
            f"{found.detector} {found.weights[:16]}. Lost: had a verdict and has none now; gained: the reverse.",
            "",
            "```bash",
            found.rebuild,
            "```",
            "",
        ]
    )
