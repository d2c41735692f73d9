"""All faces of a manifest, cut once: a folder of crops that can be killed at any moment and goes on where it was.

    CROPS/job.json       what was asked, of which rows; another wish for the same folder is refused
    CROPS/crops/...      one file a face, under a name made of a hash
    CROPS/masks/...      the same of the masks
    CROPS/journal.jsonl  while it works: a line for each media file that is done, its crops on disk before it
    CROPS/faces.parquet  at the end: the rows of all media, in the manifest's order; then the journal goes

Media are cut in processes of their own: one that dies costs its media file a second try, then a row that says how.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from array import array
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any, BinaryIO, Literal

from pydantic import ValidationError

from unmask.data.crop_files import WORK, Options, writing
from unmask.data.manifest import FaceRow, Manifest, Row, Writer
from unmask.data.media_faces import again, extract, face_detector, media_row
from unmask.errors import ManifestError, OutputError, UnmaskError
from unmask.journal import appended, lock
from unmask.types import Plain
from unmask.workers import Worker, WorkerError, ask_all, serve

TABLE, JOB, JOURNAL = "faces.parquet", "job.json", "journal.jsonl"
BUSY = "another run is cutting into {}; wait for it"
SECONDS = 900.0  # for one media file, after which its process is ended
# Kinds of reasons that lie with the file or the machine, not with what the image shows.
FAULTS = ("missing file", "no path below the root of the data set", "unreadable", "changed", "mask", "not decoded",
          "worker", "unexpected")  # fmt: skip


class Job(Plain):
    """What a folder of crops was asked for. `source`: digest of the rows; `roots`: where their media lie."""

    format: Literal["unmask.faces/1"] = "unmask.faces/1"
    options: Options
    face_detector: str
    source: str
    roots: dict[str, str]

    @property
    def folders(self) -> dict[str, Path]:
        return {name: Path(root) for name, root in self.roots.items()}


@dataclass(frozen=True)
class Task:
    """One file: its row, or with `known` the faces that were found in it. `at`: of its first row in the manifest."""

    at: int
    row: Row
    root: Path
    known: tuple[FaceRow, ...] = ()

    @property
    def rows(self) -> int:
        return len(self.known) or 1

    def line(self) -> str:
        """What a worker is asked."""
        known = [face.model_dump(mode="json") for face in self.known]
        return json.dumps({"row": self.row.model_dump(mode="json"), "root": str(self.root), "known": known})


# Tasks and a worker's order -> each task and the worker's line, in any order; `main` here is what answers them.
Elsewhere = Callable[[Iterator[Task], str], Iterator[tuple[Task, bytes | WorkerError]]]


@dataclass(frozen=True)
class Summary:
    """`media`, of which `faulty` could not be read in whole or part; `reasons`: kind -> rows without a crop."""

    media: int
    crops: int
    faulty: int
    reasons: dict[str, int]


def cut(
    manifest: Manifest,
    out: Path,
    options: Options,
    jobs: int = 1,
    *,
    seconds: float = SECONDS,
    retry: bool = False,
    progress: Callable[[int, int], None] = lambda rows, failed: None,
    elsewhere: Elsewhere | None = None,
) -> Manifest:
    """Cuts the faces of `manifest` (of media, or of faces to be cropped anew) into the folder `out`.

    Args:
        options: for a manifest of faces as `inherited` gives them.
        retry: cut those media again that an earlier run could not read: a disk was away, a process was ended.
        progress: called for each file with the rows of `manifest` that are done by it, and 1 if a row of it failed.
        elsewhere: what asks processes on other machines, in place of `jobs` here.
    Raises: UnmaskError for a folder that holds other crops or that another run works on.
    """
    job = _job(manifest, options)
    with writing(out), _claimed(out, job):
        if retry and (out / TABLE).exists():
            _reopen(manifest, out, job)
        if not (out / TABLE).exists():
            with appended(out / JOURNAL, BUSY.format(out)) as journal:
                done = _done(journal, len(manifest), retry)
                _work(manifest, out, job, elsewhere or _here(jobs, seconds), journal, done, progress)
                _merge(manifest, out, job, journal, done)
        (out / JOURNAL).unlink(missing_ok=True)
        shutil.rmtree(out / WORK, ignore_errors=True)
    return Manifest(out / TABLE)


def inherited(manifest: Manifest) -> Options:
    """How the faces of a manifest were found, which a crop of another size or margin must keep.

    Raises: UnmaskError where the folders of its crops do not say so, or do not agree.
    """
    found = {_job_of(manifest, root).options for root in {*manifest.roots.values()}}
    if len(found) != 1:
        raise ManifestError(f"{manifest.path} joins crops of different options; cut each of their manifests by itself")
    return found.pop()


def media_of(manifest: Manifest) -> list[Task]:
    """The media behind a manifest of faces, each with its rows and where it lies.

    Raises: UnmaskError where the folders of its crops do not say so.
    """
    return list(tasks(manifest, _media_roots(manifest)))


def summary(manifest: Manifest) -> Summary:
    """Counts of a manifest of faces."""
    reasons, media, faulty, crops = Counter[str](), set[str](), set[str](), 0
    for batch in manifest.tables(["media_id", "reason"]):
        for medium, reason in zip(batch["media_id"].to_pylist(), batch["reason"].to_pylist(), strict=True):
            media.add(medium)
            crops += not reason
            if reason:
                reasons[kind(reason)] += 1
                faulty.update([medium] if kind(reason) in FAULTS else [])
    return Summary(len(media), crops, len(faulty), dict(reasons.most_common()))


def masked(manifest: Manifest) -> tuple[int, int]:
    """Of the forged media files of a manifest: how many name a mask, and how many there are."""
    have = forged = 0
    for batch in manifest.tables(["label", "mask_relpath"]):
        for label, mask in zip(batch["label"].to_pylist(), batch["mask_relpath"].to_pylist(), strict=True):
            forged += label == 1
            have += label == 1 and bool(mask)
    return have, forged


def kind(reason: str) -> str:
    """What sort of reason it is: "unreadable", "no face", "worker"."""
    return reason.partition(":")[0]


# --- the folder ------------------------------------------------------------------------------------------------------


def _job(manifest: Manifest, options: Options) -> Job:
    roots = manifest.roots if manifest.kind == "media" else _media_roots(manifest)
    named = {name: str(root) for name, root in sorted(roots.items())}
    return Job(options=options, face_detector=face_detector(options).sha256, source=digest(manifest), roots=named)


def _media_roots(manifest: Manifest) -> dict[str, Path]:
    return {name: Path(_job_of(manifest, root).roots[name]) for name, root in manifest.roots.items()}


def _job_of(manifest: Manifest, root: Path) -> Job:
    try:
        return Job.model_validate_json((root / JOB).read_bytes())
    except (OSError, ValidationError):
        raise ManifestError(
            f"{root / JOB} does not say where the files of {manifest.path} are; extract again"
        ) from None


def digest(manifest: Manifest) -> str:
    """sha256 over all rows in their order: a journal numbers them."""
    found = hashlib.sha256(manifest.kind.encode())
    for batch in manifest.tables():
        for values in batch.to_pylist():
            found.update(json.dumps(values, sort_keys=True).encode())
    return found.hexdigest()


def _claimed(out: Path, job: Job) -> BinaryIO:
    """Takes the folder for this job; closing what it returns gives it back."""
    out.mkdir(parents=True, exist_ok=True)
    strangers = [p.name for p in out.iterdir() if p.name != JOB] if not (out / JOB).exists() else []
    if strangers:
        raise OutputError(f"{out} holds other files ({strangers[0]}); give a new folder for the crops")
    file = (out / JOB).open("a+b")
    lock(file, BUSY.format(out))
    file.seek(0)
    said = file.read()
    try:
        earlier = Job.model_validate_json(said)
    except ValidationError:
        if (out / JOURNAL).exists() or (out / TABLE).exists():
            raise OutputError(f"{out / JOB} is damaged; delete {out} and cut again") from None
        earlier = None
    if earlier is not None and (why := _difference(earlier, job)):
        raise OutputError(f"{out} holds crops of {why}; give another folder, or delete this one to begin anew")
    if earlier != job:
        file.truncate(0)
        file.write(job.model_dump_json(indent=1).encode())
        file.flush()
    shutil.rmtree(out / WORK, ignore_errors=True)
    (out / WORK).mkdir()
    return file


def _difference(earlier: Job, job: Job) -> str:
    before, now = earlier.options.model_dump(), job.options.model_dump()
    for name, value in now.items():
        if before[name] != value and name != "faces":
            return f"{name} {before[name]}, not {value}"
    if earlier.face_detector != job.face_detector:
        return f"another face detector ({earlier.face_detector[:12]}, not {job.face_detector[:12]})"
    return "other rows: the manifest has changed since" if earlier.source != job.source else ""


# --- the work --------------------------------------------------------------------------------------------------------


def tasks(manifest: Manifest, roots: dict[str, Path]) -> Iterator[Task]:
    """The media of a manifest in its order."""
    if manifest.kind == "media":
        for at, row in enumerate(manifest):
            yield Task(at, row, roots[row.dataset])
        return
    at = 0
    for _, group in groupby(manifest, lambda r: (r.dataset, r.media_id) if isinstance(r, FaceRow) else None):
        known = tuple(r for r in group if isinstance(r, FaceRow))
        yield Task(at, media_row(known[0]), roots[known[0].dataset], known)
        at += len(known)


def _work(
    manifest: Manifest,
    out: Path,
    job: Job,
    ask: Elsewhere,
    journal: BinaryIO,
    done: array[int],
    progress: Callable[[int, int], None],
) -> None:
    def left() -> Iterator[Task]:
        for task in tasks(manifest, job.folders):
            if done[task.at] < 0:
                yield task
            else:
                progress(task.rows, 0)

    order = json.dumps({"options": job.options.model_dump(), "out": str(out)})
    for task, answer in ask(left(), order):
        faces = [_died(task, answer)] if isinstance(answer, WorkerError) else _read(answer)
        done[task.at] = journal.seek(0, 2)
        journal.write(_line(task.at, faces))
        journal.flush()
        progress(task.rows, int(any(face.get("reason") for face in faces)))


def _here(jobs: int, seconds: float) -> Elsewhere:
    """Asks `jobs` processes of this machine."""

    def ask(tasks: Iterator[Task], order: str) -> Iterator[tuple[Task, bytes | WorkerError]]:
        pairs = ((task, task) for task in tasks)
        return ask_all(
            pairs,
            lambda: Worker(__name__, order, seconds),
            lambda worker, task: worker().ask(task.line()),
            jobs,
            tries=2,
        )

    return ask


def _read(answer: bytes) -> list[dict[str, Any]]:
    said = json.loads(answer)
    if isinstance(said, dict):
        raise UnmaskError(said["error"])
    return list(said)


def _died(task: Task, why: WorkerError) -> dict[str, Any]:
    face = FaceRow(**task.row.model_dump() | _failed(task.row, f"worker: {why}"))
    return own(task.row, [face])[0]


def _failed(row: Row, reason: str) -> dict[str, Any]:
    extra = row.extra | {"media_relpath": row.relpath}
    return {"item_id": f"{row.item_id}#", "media_id": row.item_id, "frame": 0, "t": 0.0, "relpath": "", "sha256": "",
            "bytes": None, "mask_relpath": "", "reason": reason, "extra": extra}  # fmt: skip


def own(row: Row, faces: Sequence[FaceRow]) -> list[dict[str, Any]]:
    """What rows of faces say beyond the row of their media file."""
    base = row.model_dump(mode="json")
    dumped = (face.model_dump(mode="json") for face in faces)
    return [{k: v for k, v in values.items() if k not in base or base[k] != v} for values in dumped]


def main() -> None:
    """A worker: a line {"row", "root", "known"} in, the rows of its faces out, or {"error"} where none can be cut."""
    serve(_ready)


def _ready(order: bytes) -> Callable[[bytes], bytes]:
    asked = json.loads(order)
    options, out = Options.model_validate(asked["options"]), Path(asked["out"])
    face_detector(options)

    def handle(line: bytes) -> bytes:
        task = json.loads(line)
        row, root = Row.model_validate(task["row"]), Path(task["root"])
        known = [FaceRow.model_validate(face) for face in task["known"]]
        try:
            faces = again(known, root, out, options) if known else extract(row, root, out, options)
        except UnmaskError as error:
            return json.dumps({"error": str(error)}).encode()
        except Exception as error:  # noqa: BLE001 - one medium among thousands; its row names the error
            unforeseen = f"unexpected: {type(error).__name__}: {error}"
            faces = [FaceRow(**row.model_dump() | _failed(row, unforeseen))]
        return json.dumps(own(row, faces), separators=(",", ":")).encode()

    return handle


# --- the journal -----------------------------------------------------------------------------------------------------


def _done(journal: BinaryIO, rows: int, retry: bool) -> array[int]:
    """Where the line of each file begins, by its place in the manifest; -1 where there is none, or none to keep."""
    done = array("q", [-1]) * rows
    journal.seek(0)
    place = 0
    for line in journal:
        said = json.loads(line)
        if not (retry and any(kind(face.get("reason", "")) in FAULTS for face in said["faces"])):
            done[said["at"]] = place
        place += len(line)
    return done


def _line(at: int, faces: list[dict[str, Any]]) -> bytes:
    return json.dumps({"at": at, "faces": faces}, separators=(",", ":")).encode() + b"\n"


def _reopen(manifest: Manifest, out: Path, job: Job) -> None:
    """Back from a finished table to the journal that it came from."""
    rows = (row for row in Manifest(out / TABLE) if isinstance(row, FaceRow))
    media = ((key, list(group)) for key, group in groupby(rows, lambda r: (r.dataset, r.media_id)))
    with (out / WORK / JOURNAL).open("wb") as journal:
        for task in tasks(manifest, job.folders):
            key, faces = next(media, (None, []))
            if key != (task.row.dataset, task.row.item_id):
                raise ManifestError(f"{manifest.path} has ids that come twice; give {out} up and cut into a new folder")
            journal.write(_line(task.at, own(task.row, faces)))
    (out / WORK / JOURNAL).replace(out / JOURNAL)
    (out / TABLE).unlink()


def _merge(manifest: Manifest, out: Path, job: Job, journal: BinaryIO, done: array[int]) -> None:
    with Writer(out / TABLE, out, FaceRow) as table:
        for task in tasks(manifest, job.folders):
            journal.seek(done[task.at])
            base = task.row.model_dump()
            for face in json.loads(journal.readline())["faces"]:
                table.add(FaceRow.model_validate(base | face))
