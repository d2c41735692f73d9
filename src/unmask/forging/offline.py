"""Labelled forgeries of a face manifest's real crops: a folder that can be killed at any moment and goes on.

    DIR/job.json       what was asked, of which rows; another wish for the same folder is refused
    DIR/images/...     the forged crops, lossless PNG, each saying in its metadata that it is synthetic, and beside each
                       a sidecar that says what it is and what was made from what (`unmask.forging.sidecars`)
    DIR/masks/...      how much of each pixel is forged, 0 to 255
    DIR/journal.jsonl  while it works: a line for each real crop that is done, its forgeries on disk before it
    DIR/faces.parquet  at the end: a row for each forgery, in the manifest's order; then the journal goes
    DIR/sheet.png      some of them beside what they were made from

A forgery is a function of the manifest, the seed, its source and its number: the number of processes changes no byte.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from array import array
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, BinaryIO, Literal

import cv2
import numpy as np
from pydantic import Field, ValidationError

from unmask._version import __version__
from unmask.base.generator import Basis, Generator, Unforgeable
from unmask.data.donors import Reals
from unmask.data.manifest import FaceRow, Manifest, Split, Writer
from unmask.errors import InputError, ManifestError, OutputError, UnmaskError
from unmask.forging.contact_sheet import sheet
from unmask.forging.landmarkers import landmarker
from unmask.forging.saving import WORK, png, put, saved
from unmask.forging.sidecars import Key, pixels_sha256
from unmask.journal import appended, lock
from unmask.registry import FAMILIES, create, named
from unmask.types import Plain
from unmask.workers import Worker, WorkerError, ask_all, serve

TABLE, JOB, JOURNAL, SHEET = "faces.parquet", "job.json", "journal.jsonl", "sheet.png"
BUSY = "another run is forging into {}; wait for it"
SECONDS = 300.0  # for all forgeries of one crop, after which its process is ended


class Options(Plain):
    """What is forged: equal options over equal manifests write equal files."""

    generators: dict[str, dict[str, Any]] = Field(min_length=1, description="name -> options of its constructor")
    per_image: int = Field(1, ge=1, le=1000, description="forgeries of each real crop by each generator")
    seed: int = Field(0, ge=0)
    name: str = Field("forged", pattern=r"^[a-z0-9][a-z0-9._-]*$", description="data set of the new rows")
    splits: tuple[Split, ...] = Field((), description="forge rows of these only; none = of all")
    landmarks: str = Field("embedded", description="what finds dense points, see `unmask.forging.landmarkers`")
    basis: Basis = Field("not stated", description="on which the people of the manifest may be forged")
    reference: str = Field("", description="where the basis is written down")


class Job(Plain):
    """What a folder of forgeries was asked for. `source`: digest of the manifest; `key`: what signs."""

    format: Literal["unmask.forge/1"] = "unmask.forge/1"
    options: Options
    version: str
    source: str
    key: str = ""


def forge(
    manifest: Manifest,
    out: Path,
    options: Options,
    jobs: int = 1,
    *,
    key: Path | None = None,
    progress: Callable[[int, int], None] = lambda crops, failed: None,
) -> Manifest:
    """Forges the real crops of a face manifest into the folder `out`.

    Args:
        key: a file of 32 bytes or more that signs the sidecars.
        progress: called for each real crop with 1, and 1 if a forgery of it failed.
    Returns: the manifest of the forgeries, which `unmask data join` puts beside the real ones.
    Raises: UnmaskError for unknown generators, a folder of other forgeries, a manifest without real crops, and where
        a generator needs a basis and none is stated.
    """
    _based(options)
    reals = sources(manifest, options)
    if options.name in manifest.roots:
        raise ManifestError(f"{manifest.path} has a data set {options.name!r} already: choose another --name")
    if not len(reals):
        raise ManifestError(f"{manifest.path} has no real crops to forge{' in these splits' if options.splits else ''}")
    job = Job(options=options, version=__version__, source=manifest.digest, key=Key.read(key).name if key else "")
    with _claimed(out, job):
        if not (out / TABLE).exists():
            with appended(out / JOURNAL, BUSY.format(out)) as journal:
                done = _done(journal, len(reals))
                _work(manifest, out, options, jobs, key, journal, done, progress)
                _merge(manifest, out, options, reals, journal, done)
        made = Manifest(out / TABLE)
        if not (out / SHEET).exists():
            put(out, SHEET, png(sheet(manifest, made), "a contact sheet of forgeries"))
        (out / JOURNAL).unlink(missing_ok=True)
        shutil.rmtree(out / WORK, ignore_errors=True)
    return made


def _based(options: Options) -> None:
    """Raises: InputError for a generator that needs a basis where none is stated."""
    needy = [n for n in options.generators if FAMILIES["generator"].kind(n).needs_basis]  # type: ignore[attr-defined]
    if needy and options.basis == "not stated":
        raise InputError(
            f"{needy[0]} can show people in ways that they never were: say on what basis the people of this manifest "
            "may be forged, with --basis consent, synthetic, 'public domain' or licence"
        )


def sources(manifest: Manifest, options: Options) -> Reals:
    """The real crops that are forged, donors to each other."""
    where = None
    if options.splits:
        split = manifest.table(["split"])["split"].fill_null("").to_pylist()
        where = np.array([s in options.splits for s in split], bool)
    return Reals(manifest, where=where, landmarker=landmarker(options.landmarks))


def chosen(names: Sequence[str], changes: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Generators and their options, from names and "name.option=value" (values are YAML).

    Raises: UnmaskError for unknown names and options, with the nearest known one.
    """
    return named("generator", names, changes)


def seeded(seed: int, generator: str, source: str, number: int) -> np.random.Generator:
    """The random numbers of one forgery: of its own, whatever else is forged, where and in which order."""
    text = f"{seed}\0{generator}\0{source}\0{number}"
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest()[:16], "big"))


# --- the folder ------------------------------------------------------------------------------------------------------


def _claimed(out: Path, job: Job) -> BinaryIO:
    """Takes the folder for this job; closing what it returns gives it back."""
    out.mkdir(parents=True, exist_ok=True)
    strangers = [p.name for p in out.iterdir() if p.name != JOB] if not (out / JOB).exists() else []
    if strangers:
        raise OutputError(f"{out} holds other files ({strangers[0]}); give a new folder for the forgeries")
    file = (out / JOB).open("a+b")
    lock(file, BUSY.format(out))
    file.seek(0)
    said = file.read()
    if said:
        try:
            earlier = Job.model_validate_json(said)
        except ValidationError:
            raise OutputError(f"{out / JOB} is damaged; delete {out} and forge again") from None
        if earlier != job:
            names = [k for k in Options.model_fields if getattr(earlier.options, k) != getattr(job.options, k)]
            names += ["the manifest"] * (earlier.source != job.source) + ["the key"] * (earlier.key != job.key)
            names += ["the version"] * (earlier.version != __version__)
            raise OutputError(f"{out} holds forgeries of another wish ({', '.join(names)} differ): give a new folder")
    else:
        file.write(job.model_dump_json(indent=1).encode())
        file.flush()
    shutil.rmtree(out / WORK, ignore_errors=True)
    (out / WORK).mkdir()
    return file


def _done(journal: BinaryIO, count: int) -> array[int]:
    """Where the line of each real crop begins; -1 where there is none."""
    done, place = array("q", [-1]) * count, 0
    journal.seek(0)
    for line in journal:
        done[json.loads(line)["at"]] = place
        place += len(line)
    return done


def _work(
    manifest: Manifest,
    out: Path,
    options: Options,
    jobs: int,
    key: Path | None,
    journal: BinaryIO,
    done: array[int],
    progress: Callable[[int, int], None],
) -> None:
    order: dict[str, Any] = {
        "manifest": str(manifest.path.absolute()),
        "out": str(out.absolute()),
        "options": options.model_dump(),
    }
    order["key"] = str(key.absolute()) if key else None

    def left() -> Iterator[tuple[int, int]]:
        for i, place in enumerate(done):
            if place < 0:
                yield i, i
            else:
                progress(1, 0)

    answers = ask_all(
        left(), lambda: Worker(__name__, json.dumps(order), SECONDS), lambda w, i: w().ask(str(i)), jobs, tries=2
    )
    died: dict[int, WorkerError] = {}
    for i, answer in answers:
        if isinstance(answer, WorkerError):
            died[i] = answer
            continue
        said = json.loads(answer)
        if "error" in said:
            raise UnmaskError(said["error"])
        done[i] = journal.seek(0, 2)
        journal.write(json.dumps({"at": i, "rows": said["rows"]}, separators=(",", ":")).encode() + b"\n")
        journal.flush()
        progress(1, int(any(row["reason"] for row in said["rows"])))
    if died:  # no row says so, or the same command would not come to the same folder
        first = min(died)
        raise UnmaskError(
            f"{len(died)} crops of {manifest.path} ended their process, number {first} of the real ones the first: "
            f"{died[first]}; run the same command again to try them again"
        )


def _merge(manifest: Manifest, out: Path, options: Options, reals: Reals, journal: BinaryIO, done: array[int]) -> None:
    place = {int(row): i for i, row in enumerate(reals.row)}
    same: dict[str, Any] = {
        "dataset": options.name, "label": 1, "label_native": "forged", "family": "SBI", "overlap": None,
        "generator_version": f"unmask {__version__}",
    }  # fmt: skip
    with Writer(out / TABLE, out, FaceRow) as table:
        for at, source in enumerate(manifest):
            if at not in place:
                continue
            journal.seek(done[place[at]])
            base = source.model_dump() | same | {"target_id": source.identity}
            for own in json.loads(journal.readline())["rows"]:
                extra = source.extra | {"source": source.item_id} | own["extra"]
                table.add(FaceRow.model_validate(base | own | {"extra": extra}))


# --- one crop --------------------------------------------------------------------------------------------------------


def main() -> None:
    """A worker: the number of a real crop in, the rows of its forgeries out, or {"error"}."""
    serve(_ready)


def _ready(order: bytes) -> Callable[[bytes], bytes]:
    cv2.setNumThreads(1)
    asked = json.loads(order)
    options, out = Options.model_validate(asked["options"]), Path(asked["out"])
    reals = sources(Manifest(Path(asked["manifest"])), options)
    makers = {name: create("generator", name, given) for name, given in options.generators.items()}
    key = Key.read(Path(asked["key"])) if asked["key"] else None

    def handle(line: bytes) -> bytes:
        try:
            rows = list(_forged(reals, int(line), makers, options, out, key))
        except (UnmaskError, OSError) as error:
            return json.dumps({"error": str(error)}).encode()
        return json.dumps({"rows": rows}, separators=(",", ":")).encode()

    return handle


def _forged(
    reals: Reals, i: int, makers: dict[str, Generator], options: Options, out: Path, key: Key | None
) -> Iterator[dict[str, Any]]:
    """What the rows of one crop's forgeries say beyond the row of the crop."""
    image, face = reals.read(i)
    source, donors = reals.name(i), reals.donors(i)
    same = {"source": source, "source_pixels": pixels_sha256(image), "seed": options.seed}
    same |= {"basis": options.basis, "reference": options.reference}
    for name, maker in makers.items():
        for number in range(options.per_image):
            item = f"{options.name}/{name}/{number}/{source}"
            facts = {"generator": name, "seed": str(options.seed), "number": str(number)}
            if options.generators[name]:
                facts["options"] = json.dumps(options.generators[name], sort_keys=True)
            row: dict[str, Any] = {"item_id": item, "method": name, "source_id": "", "reason": ""}
            try:
                made = maker(image, face, seeded(options.seed, name, source, number), donors)
            except Unforgeable as why:
                row |= {"reason": f"not forged: {why}", "relpath": "", "mask_relpath": "", "sha256": "", "bytes": None}
                yield row | {"extra": facts}
                continue
            row["source_id"] = made.details.get("donor", "")
            known = {"generator": name, "options": options.generators[name], "number": number}
            files = saved(out, item, made, same | known | asdict(maker.origin()), key)
            yield row | files | {"extra": facts | made.details | files["extra"]}
