"""Faces cut once: from one media file of a manifest to its aligned crops and their rows.

`extract` is a function of a file and the options alone: the same rows and the same files wherever and however often
it runs, so that a run can be killed, repeated or spread over machines. Each frame that was asked for answers with the
crop of a face or with the reason why there is none; nothing else is put in its place.

Who is cut out: of each media file one person, whose faces cover the most image over all frames; where a manipulation
mask is used, whose faces it covers. `people="all"` keeps everybody.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.data.crop_files import WORK, Options, Sheet, Spool, writing
from unmask.data.footage import Footage, Masks, Unreadable, footage
from unmask.data.manifest import FaceRow, Row
from unmask.errors import InputError, UnmaskError
from unmask.faces import TEMPLATES, FaceDetector, align, crop, track
from unmask.faces.track import thumb
from unmask.faces.window import mean_matrix, windows
from unmask.media import MediaError
from unmask.types import Face, Floats, Frame, Pixels, Unread

FACES_PER_FRAME = 20  # the largest, where one person is cut out: bounds time in a crowd
TOUCHED = 0.05  # share of a face box under the mask from which on the face counts as manipulated: a mouth is 0.1
NO_FACE, LOST, UNTOUCHED = "no face", "lost track: faces, but none surely the same person", "no face under the mask"
LOST_IN_WINDOW = "lost track: faces, but nobody in sight through the whole window"


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
        return film, Masks(footage(root, row.mask_relpath), film, options.frames, options.window)
    except Unreadable as why:
        raise Unreadable(str(why) if str(why).startswith("mask: ") else f"mask: {why}") from None


def _looks(film: Footage, masks: Masks | None, spool: Spool, search: FaceDetector, options: Options) -> Iterator[Look]:
    """One look for each frame asked for. Raises: Unreadable for a media file without frames."""
    last: Frame | Unread | None = None
    part: list[Frame | Unread] = []
    try:
        for last in film.shown(options.frames, options.window):
            if options.window == 1:
                yield _look(last, masks, spool, search, options, thorough=film.kind == "image")
                continue
            part.append(last)
            if len(part) == options.window:
                yield from window_looks(part, masks, spool, search, options)
                part = []
    except MediaError as error:
        if last is None:
            raise Unreadable(f"unreadable: {error}") from None
        yield Look(last.index + 1, last.t, f"not decoded: {error}")
    if last is None and options.window > 1:
        raise Unreadable(f"window: it holds no {options.window} frames in a row")
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
        seen.append(_seen(face, cut.matrix, cut.image, mask, spool))
    return Look(item.index, item.t, "" if seen else NO_FACE, tuple(seen))


def window_looks(
    items: Sequence[Frame | Unread], masks: Masks | None, spool: Spool, search: FaceDetector, options: Options
) -> list[Look]:
    """One look for each frame of a window: who is in sight in all of them, cut by one matrix; or why nobody is."""
    unread = [item for item in items if isinstance(item, Unread)]
    if unread:
        beside = f"window: frame {unread[0].index} of it was not decoded"
        whys = [f"not decoded: {item.why}" if isinstance(item, Unread) else beside for item in items]
        return [Look(item.index, item.t, why) for item, why in zip(items, whys, strict=True)]
    frames = [item for item in items if isinstance(item, Frame)]
    try:
        shown = [masks.at(frame) if masks else None for frame in frames]
    except Unreadable as error:
        return [Look(frame.index, frame.t, str(error)) for frame in frames]
    found = [sorted(search.find(f.image, f.index, f.t), key=lambda face: -face.side) for f in frames]
    if options.people == "one" and not masks:
        found = [faces[:FACES_PER_FRAME] for faces in found]
    people = windows(frames, found, options.spec)
    why = "" if people else LOST_IN_WINDOW if any(found) else NO_FACE
    return [
        Look(frame.index, frame.t, why, tuple(
            _seen(one.faces[i], one.crop.matrix, one.crop.image[i], shown[i], spool) for one in people
        ))
        for i, frame in enumerate(frames)
    ]  # fmt: skip


def _seen(face: Face, m: Floats, picture: Pixels, mask: NDArray[np.bool_] | None, spool: Spool) -> Seen:
    place = spool.put(picture, _mask_crop(mask, m, picture.shape[0]))
    return Seen(face, m, place, thumb(picture), None if mask is None else covered(face.box, mask))


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
    for n, look in enumerate(looks):
        at = divmod(n, sheet.options.window) if sheet.options.window > 1 else None
        kept = [s for s in look.seen if number[id(s.face)] in wanted]
        if not kept and wanted:  # a track was lost, but the mask says who it is
            kept = sorted((s for s in look.seen if (s.overlap or 0) >= TOUCHED), key=weight)[-1:]
        if not kept:
            yield sheet.failed(look.why or (LOST if wanted else UNTOUCHED), look.frame, look.t)
        for s in kept:
            picture, mask = spool.get(s.place, masked=s.overlap is not None)
            yield sheet.face(s.face, number[id(s.face)], s.matrix, picture, mask, s.overlap, at)


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
        steady = _steady(rows, options)
        for item in film.shown(options.frames, options.window):
            here = [r for r in rows if r.frame == item.index and r.points]
            mask = masks.at(item) if masks and isinstance(item, Frame) else None
            fresh |= {r.item_id: _warped(r, item, mask, sheet, steady.get((r.track, r.window))) for r in here}
    except (Unreadable, MediaError) as error:
        why = str(error)
    return [fresh.get(r.item_id) or (r if r.reason else _lost(r, sheet, why)) for r in rows]


def _steady(rows: Sequence[FaceRow], options: Options) -> dict[tuple[int | None, int | None], list[Face]]:
    """(track, window) -> its faces, which one matrix cuts; nothing where frames stand alone."""
    found: dict[tuple[int | None, int | None], list[Face]] = {}
    for r in (r for r in rows if r.window is not None and r.points and options.window > 1):
        found.setdefault((r.track, r.window), []).append(_face(r))
    return found


def _face(r: FaceRow) -> Face:
    assert r.points is not None
    assert r.box is not None
    return Face(r.frame, r.t, r.box, np.array(r.points, np.float32).reshape(5, 2), r.score or 0.0)


def _warped(
    r: FaceRow, item: Frame | Unread, mask: NDArray[np.bool_] | None, sheet: Sheet, window: Sequence[Face] | None
) -> FaceRow:
    """`window`: the faces of all frames that are cut by one matrix; None = this one alone."""
    if isinstance(item, Unread):
        return _lost(r, sheet, f"not decoded: {item.why}")
    face = _face(r)
    try:
        m = mean_matrix(window or [face], sheet.options.spec)
        picture = align(item.image, m, sheet.options.size)
    except UnmaskError as error:  # a template that these points do not fit
        return _lost(r, sheet, f"{NO_FACE}: {error}")
    at = None if r.window is None or r.window_index is None else (r.window, r.window_index)
    return sheet.face(face, r.track or 0, m, picture, _mask_crop(mask, m, sheet.options.size), r.overlap, at)


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
