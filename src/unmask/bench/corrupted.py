"""Corrupted files and their faces: what a suite of `measure.robustness` is scored on.

The corruption is done to the frame as it was decoded, at its own size, before any face is cut out of it: a web site
knows nothing of faces. Then the crop is cut with the clean frame's alignment ("reuse"), or the face has to be found
again ("redetect"): a face that it does not find where it was is a row without a score.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np

from unmask.data.extraction import Task
from unmask.data.footage import Footage, Unreadable, footage
from unmask.data.manifest import FaceRow
from unmask.faces import FaceDetector, align, crop
from unmask.faces.detector import overlaps
from unmask.imageops.corruption import KINDS, degraded, moved
from unmask.measure.robustness import Boxes
from unmask.measure.scores import COLUMNS
from unmask.types import Face, Floats, Frame, InputSpec, Pixels, UnmaskError

OVERLAP = 0.3  # of the found box with the clean one (intersection over union) from which on it is the same face
LOST, CUT_AWAY = "no face where it was", "cut away by the corruption"


def damaged(
    media: Iterable[Task], kind: str, level: int, boxes: Boxes, face_detector: FaceDetector, seed: int = 0
) -> Iterator[tuple[dict[str, Any], Pixels | None]]:
    """Rows of a face manifest with the crops of the corrupted media, for `score_crops`.

    Rows that have no crop in the manifest stay without one: what the clean search lost is lost at every level. A pair
    (forgery and original) gets one seed.

    Raises: UnmaskError for a media file that can no longer be read.
    """
    for task in media:
        try:
            film = footage(task.root, task.row.relpath, task.row.sha256)
        except Unreadable as why:
            raise UnmaskError(f"{task.root / task.row.relpath}: {why}; cut the faces again") from None
        own = zlib.crc32("\0".join((str(seed), task.row.dataset, task.row.pair_key or task.row.item_id)).encode())
        frames = dict(_frames(film, task.known, kind, level, own))
        for row in task.known:
            values = row.model_dump(include={*COLUMNS.names, "size", "margin", "template", "reason"})
            if not row.reason and row.frame not in frames:
                raise UnmaskError(f"{row.item_id}: its frame {row.frame} can no longer be read; cut the faces again")
            cut = (
                None if row.reason else _cut(row, *frames[row.frame], boxes, face_detector, still=film.kind == "image")
            )
            yield values | ({"reason": cut} if isinstance(cut, str) else {}), None if isinstance(cut, str) else cut


def _frames(
    film: Footage, known: Iterable[FaceRow], kind: str, level: int, seed: int
) -> Iterator[tuple[int, tuple[Pixels, Floats]]]:
    """Index -> corrupted frame, and where its pixels went, of the frames that rows name."""
    wanted = {r.frame for r in known}
    whole = bool(KINDS[kind].clip and level and film.kind == "video")
    order: list[tuple[int, tuple[int, ...]]] = []

    def pictures() -> Iterator[Pixels]:
        for item in film.frames(film.total or len(wanted) if whole else len(wanted)):
            if isinstance(item, Frame):
                order.append((item.index, item.image.shape))
                yield item.image

    for at, picture in enumerate(degraded(pictures(), kind, level, seed)):
        index, (height, width, _) = order[at]
        if index in wanted:
            yield index, (picture, moved(kind, level, seed, height, width))


def _cut(
    row: FaceRow, picture: Pixels, where: Floats, boxes: Boxes, detector: FaceDetector, *, still: bool
) -> Pixels | str:
    """The crop, or why there is none."""
    assert row.box is not None
    assert row.matrix is not None
    assert row.size is not None
    assert row.margin is not None
    x0, y0, x1, y1 = row.box
    corners = np.array([(x0, y0, 1), (x1, y1, 1)]) @ where.T
    box = corners.ravel().astype(np.float32)
    middle = corners.mean(0)
    if not (0 <= middle[0] < picture.shape[1] and 0 <= middle[1] < picture.shape[0]):
        return CUT_AWAY
    if boxes == "reuse":
        back = np.linalg.inv(np.vstack([where, (0, 0, 1)]))
        matrix = np.asarray(row.matrix, np.float64).reshape(2, 3) @ back
        return align(picture, matrix.astype(np.float32), row.size)
    found = detector.find(picture, thorough=still)
    face = _same(box, found)
    spec = InputSpec(size=row.size, margin=round(row.margin, 6), template=row.template)
    try:
        return LOST if face is None else crop(picture, face, spec).image
    except UnmaskError:  # five points that span no face
        return LOST


def _same(box: Floats, found: list[Face]) -> Face | None:
    if not found:
        return None
    shared = overlaps(box, np.array([f.box for f in found], np.float32))
    return found[int(shared.argmax())] if shared.max() >= OVERLAP else None
