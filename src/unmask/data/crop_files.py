"""What of one media file is written: crops and masks under hashed names, and the rows that name them."""

from __future__ import annotations

import hashlib
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import SpooledTemporaryFile
from typing import IO, Any, Literal

import numpy as np
from PIL import Image
from pydantic import Field

from unmask.data.manifest import FaceRow, Row
from unmask.errors import OutputError
from unmask.types import Face, Floats, InputSpec, Pixels, Plain

SPOOL = 64 << 20  # bytes of one media file's crops that wait in memory; what is more waits in a file
WORK = ".work"  # below the crops' folder: where files are written before they get their names


class Options(Plain):
    """What shapes the crops: equal options over equal media write equal files."""

    size: int = Field(256, ge=16, le=2048, description="side of the crop, pixels")
    margin: float = Field(1.3, gt=0, le=4, description="side of the crop over the template's side")
    template: str = Field("gend5", description="name in unmask.faces.TEMPLATES")
    frames: int = Field(32, ge=1, le=10_000, description="of a video or folder, evenly spread over its time")
    window: int = Field(1, ge=1, le=256, description="frames in a row at each of these places, cut by one matrix")
    faces: str = Field("embedded", description='the face detector: "embedded", "yunet", or the path of an ONNX file')
    people: Literal["one", "all"] = "one"
    mask: bool = Field(False, description="use the manipulation masks that rows name")
    format: Literal["png", "webp"] = Field("png", description="of the crops; both lossless")

    @property
    def spec(self) -> InputSpec:
        return InputSpec(size=self.size, margin=self.margin, template=self.template)


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
        self,
        face: Face,
        person: int,
        m: Floats,
        picture: Pixels,
        mask: Pixels | None,
        overlap: float | None,
        at: tuple[int, int] | None = None,
    ) -> FaceRow:
        """The row of a crop, which is on disk when this returns. `at`: its window, and its place in it."""
        own: dict[str, Any] = {
            "frame": face.frame,
            "t": face.t,
            "track": person,
            "window": at and at[0],
            "window_index": at and at[1],
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
