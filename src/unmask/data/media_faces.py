"""Faces cut once: from one media file of a manifest to its aligned crops and their rows.

`extract` is a function of a file and the options alone: the same rows and the same files wherever and however often
it runs, so that a run can be killed, repeated or spread over machines. Each frame that was asked for answers with the
crop of a face or with the reason why there is none; nothing else is put in its place.

Who is cut out: of each media file one person, whose faces cover the most image over all frames; where a manipulation
mask is used, whose faces it covers. `people="all"` keeps everybody.
"""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Literal

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from pydantic import Field

from unmask.data.footage import Footage, Masks, Unreadable, footage
from unmask.data.manifest import FaceRow, Row
from unmask.errors import InputError, OutputError, UnmaskError
from unmask.faces import TEMPLATES, FaceDetector, align, crop, matrix, track
from unmask.faces.track import THUMB
from unmask.media import MediaError
from unmask.types import Face, Floats, Frame, InputSpec, Pixels, Plain, Unread

FACES_PER_FRAME = 20  # the largest, where one person is cut out: bounds time in a crowd
TOUCHED = 0.05  # share of a face box under the mask from which on the face counts as manipulated: a mouth is 0.1
SPOOL = 64 << 20  # bytes of one media file's crops that wait in memory; what is more waits in a file
WORK = ".work"  # below the crops' folder: where files are written before they get their names
NO_FACE, LOST, UNTOUCHED = "no face", "lost track: faces, but none surely the same person", "no face under the mask"


class Options(Plain):
    """What shapes the crops: equal options over equal media write equal files."""

    size: int = Field(256, ge=16, le=2048, description="side of the crop, pixels")
    margin: float = Field(1.3, gt=0, le=4, description="side of the crop over the template's side")
    template: str = Field("gend5", description="name in unmask.faces.TEMPLATES")
    frames: int = Field(32, ge=1, le=10_000, description="of a video or folder, evenly spread over its time")
    faces: str = Field("embedded", description='the face detector: "embedded", "yunet", or the path of an ONNX file')
    people: Literal["one", "all"] = "one"
    mask: bool = Field(False, description="use the manipulation masks that rows name")
    format: Literal["png", "webp"] = Field("png", description="of the crops; both lossless")

    @property
    def spec(self) -> InputSpec:
        return InputSpec(size=self.size, margin=self.margin, template=self.template)


@dataclass(frozen=True)
class Seen:
    """A face in a frame; its crop, and mask crop, wait at `place` of the spool."""

    face: Face
    matrix: Floats
    place: int
    thumb: Pixels
    overlap: float | None


@dataclass(frozen=True)
class Look:
    """One frame that was asked for: the faces in it, or why there are none."""

    frame: int
    t: float
    why: str = ""
    seen: tuple[Seen, ...] = ()


@lru_cache(maxsize=2)
def face_detector(options: Options) -> FaceDetector:
    """The face detector of this process. Raises: UnmaskError as `FaceDetector.load`, and for an unknown template."""
    if options.template not in TEMPLATES:
        raise InputError(f"unknown face template {options.template!r}; known are {', '.join(sorted(TEMPLATES))}")
    return FaceDetector.load(options.faces, threads=1)


def extract(row: Row, root: Path, out: Path, options: Options) -> list[FaceRow]:
    """Cuts the faces out of one media file; each crop below `out` is written whole or not at all.

    Args:
        row: a media file whose paths are relative to `root`.
        out: the folder that the crops' `relpath` is relative to.
    Returns: rows in order of time; for a media file that cannot be read, one row with the reason.
    Raises: UnmaskError for a face detector or template that does not exist, or when `out` cannot be written.
    """
    search = face_detector(options)
    sheet = Sheet(row, out, options, search.sha256)
    try:
        film, masks = _opened(row, root, options)
        sheet.sha256 = film.sha256
        with Spool(out, options) as spool:
            looks = list(_looks(film, masks, spool, search, options))
            return list(_cut(sheet, looks, spool))
    except Unreadable as why:
        return [sheet.failed(str(why))]


def _opened(row: Row, root: Path, options: Options) -> tuple[Footage, Masks | None]:
    film = footage(root, row.relpath, row.sha256)
    if not (options.mask and row.mask_relpath):
        return film, None
    try:
        return film, Masks(footage(root, row.mask_relpath), film, options.frames)
    except Unreadable as why:
        raise Unreadable(str(why) if str(why).startswith("mask: ") else f"mask: {why}") from None


def _looks(film: Footage, masks: Masks | None, spool: Spool, search: FaceDetector, options: Options) -> Iterator[Look]:
    """One look for each frame asked for. Raises: Unreadable for a media file without frames."""
    last: Frame | Unread | None = None
    try:
        for last in film.frames(options.frames):
            yield _look(last, masks, spool, search, options, thorough=film.kind == "image")
    except MediaError as error:
        if last is None:
            raise Unreadable(f"unreadable: {error}") from None
        yield Look(last.index + 1, last.t, f"not decoded: {error}")
    if last is None:
        raise Unreadable("unreadable: it holds no frames")


def _look(
    item: Frame | Unread, masks: Masks | None, spool: Spool, search: FaceDetector, options: Options, *, thorough: bool
) -> Look:
    if isinstance(item, Unread):
        return Look(item.index, item.t, f"not decoded: {item.why}")
    try:
        mask = masks.at(item) if masks else None
    except Unreadable as why:
        return Look(item.index, item.t, str(why))
    faces = sorted(search.find(item.image, item.index, item.t, thorough=thorough), key=lambda face: -face.side)
    most = FACES_PER_FRAME if options.people == "one" and mask is None else len(faces)
    seen = []
    for face in faces[:most]:
        try:
            cut = crop(item.image, face, options.spec)
        except UnmaskError:  # five points that span no face: a false detection
            continue
        place = spool.put(cut.image, _mask_crop(mask, cut.matrix, options.size))
        overlap = None if mask is None else covered(face.box, mask)
        seen.append(Seen(face, cut.matrix, place, _thumb(cut.image), overlap))
    return Look(item.index, item.t, "" if seen else NO_FACE, tuple(seen))


def covered(box: Sequence[float], mask: NDArray[np.bool_]) -> float:
    """Share of a face box (x0, y0, x1, y1; what of it lies in the image) that a mask (H, W) marks, 0..1."""
    height, width = mask.shape
    x0, x1 = (int(np.clip(round(x), 0, width)) for x in (box[0], box[2]))
    y0, y1 = (int(np.clip(round(y), 0, height)) for y in (box[1], box[3]))
    inside = mask[y0:y1, x0:x1]
    return float(inside.mean()) if inside.size else 0.0


def _cut(sheet: Sheet, looks: list[Look], spool: Spool) -> Iterator[FaceRow]:
    """The rows of all looks, the crops of the chosen people written."""
    tracks = track([[s.face for s in look.seen] for look in looks], [[s.thumb for s in look.seen] for look in looks])
    number = {id(face): n for n, one in enumerate(tracks) for face in one}
    people: list[list[Seen]] = [[] for _ in tracks]
    for s in (s for look in looks for s in look.seen):
        people[number[id(s.face)]].append(s)
    wanted = set(range(len(people))) if sheet.options.people == "all" else chosen(people)
    for look in looks:
        kept = [s for s in look.seen if number[id(s.face)] in wanted]
        if not kept and wanted:  # a track was lost, but the mask says who it is
            kept = sorted((s for s in look.seen if (s.overlap or 0) >= TOUCHED), key=weight)[-1:]
        if not kept:
            yield sheet.failed(look.why or (LOST if wanted else UNTOUCHED), look.frame, look.t)
        for s in kept:
            picture, mask = spool.get(s.place, masked=s.overlap is not None)
            yield sheet.face(s.face, number[id(s.face)], s.matrix, picture, mask, s.overlap)


def chosen(people: Sequence[Sequence[Seen]]) -> set[int]:
    """The person who is cut out, of the largest sum of weights; nobody where there is a mask and it touches none."""
    touched = {n for n, seen in enumerate(people) if any(s.overlap is None or s.overlap >= TOUCHED for s in seen)}
    return set(sorted(touched, key=lambda n: (-sum(map(weight, people[n])), n))[:1])


def weight(seen: Seen) -> float:
    """side^2, times overlap^2 where there is a mask.

    The square of the overlap sets a small face that is covered above a large one that a mask merely touches, and the
    sum over frames sets both above a false detection inside the mask.
    """
    return seen.face.side**2 * (1.0 if seen.overlap is None else seen.overlap**2)


def _mask_crop(mask: NDArray[np.bool_] | None, m: Floats, size: int) -> Pixels | None:
    """The mask as the crop sees it, uint8 (size, size), 0 or 255."""
    if mask is None:
        return None
    grey = np.repeat((mask * np.uint8(255))[..., None], 3, axis=2)
    return np.where(align(grey, m, size)[..., 0] > 127, np.uint8(255), np.uint8(0))


def _thumb(picture: Pixels) -> Pixels:
    """All that tracking looks at."""
    return np.asarray(Image.fromarray(picture).resize((THUMB, THUMB), Image.Resampling.BOX))


class Spool:
    """Crops that wait until it is known whose they are."""

    def __init__(self, out: Path, options: Options) -> None:
        self._side, self._at = options.size, out / WORK
        with writing(self._at):
            self._at.mkdir(parents=True, exist_ok=True)
        self._file: IO[bytes] = SpooledTemporaryFile(SPOOL, dir=str(self._at))  # noqa: SIM115 - it lives as long as we

    def __enter__(self) -> Spool:
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def put(self, picture: Pixels, mask: Pixels | None) -> int:
        place = self._file.seek(0, os.SEEK_END)
        with writing(self._at):
            self._file.write(picture.tobytes() + (b"" if mask is None else mask.tobytes()))
        return place

    def get(self, place: int, *, masked: bool) -> tuple[Pixels, Pixels | None]:
        self._file.seek(place)
        shape, pixels = (self._side, self._side), self._side**2
        picture = np.frombuffer(self._file.read(3 * pixels), np.uint8).reshape(*shape, 3)
        return picture, np.frombuffer(self._file.read(pixels), np.uint8).reshape(shape) if masked else None


@dataclass
class Sheet:
    """Makes the rows of one file and writes the crops that they name. `sha256`: of the media file as it was read."""

    row: Row
    out: Path
    options: Options
    face_detector: str
    sha256: str = ""
    _base: dict[str, Any] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        self._base = self.row.model_dump() | {
            "media_id": self.row.item_id,
            "face_detector": self.face_detector,
            "mask_relpath": "",
        }
        self._key = hashlib.sha256("\0".join((self.row.dataset, self.row.item_id, self.row.relpath)).encode())

    def failed(self, reason: str, frame: int | None = None, t: float = 0.0) -> FaceRow:
        """The row of a frame without a crop, or of a media file without frames."""
        own = {"frame": frame or 0, "t": t, "reason": reason, "relpath": "", "sha256": "", "bytes": None}
        return self._row(f"{self.row.item_id}#{'' if frame is None else frame}", own)

    def face(
        self, face: Face, person: int, m: Floats, picture: Pixels, mask: Pixels | None, overlap: float | None
    ) -> FaceRow:
        """The row of a crop, which is on disk when this returns."""
        own: dict[str, Any] = {
            "frame": face.frame,
            "t": face.t,
            "track": person,
            "box": face.box,
            "points": tuple(face.points.ravel().tolist()),
            "matrix": tuple(m.ravel().tolist()),
            "score": face.score,
            "size": self.options.size,
            "margin": self.options.margin,
            "template": self.options.template,
            "overlap": overlap,
        }
        name = f"{face.frame}-{person}"
        own["relpath"], own["sha256"], own["bytes"] = self._write("crops", name, picture, self.options.format)
        if mask is not None:
            own["mask_relpath"] = self._write("masks", name, mask, "png")[0]
        return self._row(f"{self.row.item_id}#{face.frame}.{person}", own)

    def _row(self, item_id: str, own: dict[str, Any]) -> FaceRow:
        extra = {"media_relpath": self.row.relpath, "media_sha256": self.sha256}
        if self.row.mask_relpath:
            extra["media_mask"] = self.row.mask_relpath
        extra = {key: value for key, value in extra.items() if value}
        return FaceRow.model_validate(self._base | own | {"item_id": item_id, "extra": self.row.extra | extra})

    def _write(self, kind: str, name: str, picture: Pixels, form: str) -> tuple[str, str, int]:
        """(path relative to `out`, sha256, bytes). The name is a hash: no id of a manifest becomes a path."""
        key = self._key.hexdigest()[:20]
        relpath = f"{kind}/{key[:3]}/{key}-{name}.{form}"
        data = encoded(picture, form)
        path, fresh = self.out / relpath, self.out / WORK / f"{os.getpid()}-{key}-{name}.{form}"
        with writing(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            fresh.write_bytes(data)
            fresh.replace(path)
        return relpath, hashlib.sha256(data).hexdigest(), len(data)


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """A full disk is no property of the media file: the run ends, and goes on from here when it is started again."""
    try:
        yield
    except OSError as error:
        raise OutputError(
            f"cannot write {path}: {error.strerror or error}; mend that and run the same again"
        ) from error


def encoded(picture: Pixels, form: str) -> bytes:
    """An image as the bytes of a lossless file."""
    data = io.BytesIO()
    how = {"compress_level": 4} if form == "png" else {"lossless": True, "quality": 20, "method": 0}
    Image.fromarray(picture).save(data, form.upper(), **how)
    return data.getvalue()


def again(rows: Sequence[FaceRow], root: Path, out: Path, options: Options) -> list[FaceRow]:
    """Crops of faces that were found before, with another size, margin or template: decoded and warped, not searched.

    Args:
        rows: all rows of one media file out of a manifest of faces; `root` as in `extract`.
        options: `frames` and `mask` as in the run that found the faces.
    Returns: a row for each of `rows`, in their order; one without a crop keeps its reason.
    """
    if not any(r.points for r in rows):
        return list(rows)
    medium = media_row(rows[0])
    sheet, why, fresh = (
        Sheet(medium, out, options, rows[0].face_detector),
        "not decoded: no such frame",
        dict[str, FaceRow](),
    )
    try:
        film, masks = _opened(medium, root, options)
        sheet.sha256 = film.sha256
        with writing(out / WORK):
            (out / WORK).mkdir(parents=True, exist_ok=True)
        for item in film.frames(options.frames):
            here = [r for r in rows if r.frame == item.index and r.points]
            mask = masks.at(item) if masks and isinstance(item, Frame) else None
            fresh |= {r.item_id: _warped(r, item, mask, sheet) for r in here}
    except (Unreadable, MediaError) as error:
        why = str(error)
    return [fresh.get(r.item_id) or (r if r.reason else _lost(r, sheet, why)) for r in rows]


def _warped(r: FaceRow, item: Frame | Unread, mask: NDArray[np.bool_] | None, sheet: Sheet) -> FaceRow:
    assert r.points is not None
    assert r.box is not None
    if isinstance(item, Unread):
        return _lost(r, sheet, f"not decoded: {item.why}")
    face = Face(item.index, item.t, r.box, np.array(r.points, np.float32).reshape(5, 2), r.score or 0.0)
    try:
        m = matrix(face.points, sheet.options.spec)
        picture = align(item.image, m, sheet.options.size)
    except UnmaskError as error:  # a template that these points do not fit
        return _lost(r, sheet, f"{NO_FACE}: {error}")
    return sheet.face(face, r.track or 0, m, picture, _mask_crop(mask, m, sheet.options.size), r.overlap)


def _lost(r: FaceRow, sheet: Sheet, why: str) -> FaceRow:
    return sheet.failed(why, r.frame, r.t).model_copy(update={"item_id": r.item_id, "track": r.track})


def media_row(face: FaceRow) -> Row:
    """The row of the media file that a face was cut from."""
    values = {name: getattr(face, name) for name in Row.model_fields}
    extra = dict(face.extra)
    restored = {
        "item_id": face.media_id,
        "relpath": extra.pop("media_relpath", ""),
        "sha256": extra.pop("media_sha256", ""),
        "mask_relpath": extra.pop("media_mask", ""),
        "bytes": None,
    }
    return Row.model_validate(values | restored | {"extra": extra})
