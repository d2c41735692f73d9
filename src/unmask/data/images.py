"""Whole images of a manifest of media files, where no face has to be cut out: photographs, rendered scenes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unmask.data.fitting import pixels
from unmask.data.loader import FaceSet, Item, codes, flat
from unmask.data.manifest import Manifest
from unmask.errors import ManifestError
from unmask.types import Floats, InputSpec, Pixels

_COLUMNS = ("relpath", "media_type", "label", "group_id", "method", "dataset")


class ImageSet(FaceSet):
    """The images of a manifest; videos and other rows are left out. An item is the largest square in the middle.

    `media`, `pair` and `margin`, which crops of faces have, say nothing here.
    """

    def __init__(self, manifest: Path, spec: InputSpec, *, where: NDArray[np.bool_] | None = None) -> None:
        """
        Args:
            where: a mask over all rows of the manifest; None = all.
        Raises: UnmaskError for a manifest of faces or sentences, and a mask of another length.
        """
        self.manifest, self.spec, self.transform, self.views, self.masks = Manifest(manifest), spec, None, (), False
        if self.manifest.kind != "media":
            raise ManifestError(f"{manifest} lists {self.manifest.kind}, not images")
        if where is not None and where.shape != (len(self.manifest),):
            raise ManifestError(f"a mask of shape {where.shape} does not fit {len(self.manifest)} rows of {manifest}")
        table = self.manifest.table(_COLUMNS)
        wanted = np.ones(len(table), np.bool_) if where is None else where
        image = pc.equal(table["media_type"], "image").to_numpy(zero_copy_only=False)
        self.row = np.flatnonzero(wanted & image).astype(np.int32)
        self.left_out = int(wanted.sum()) - len(self.row)
        table = table.take(self.row)
        self._paths, self._starts = flat(table["relpath"])
        self.label = table["label"].fill_null(-1).to_numpy().astype(np.int8)
        self.group, _ = codes(table["group_id"])
        self.method, self.methods = codes(table["method"])
        self.dataset, self.datasets = codes(table["dataset"])
        self.media = np.arange(len(self.row), dtype=np.int32)
        self.pair = np.full(len(self.row), -1, np.int32)
        self.margin = np.ones(len(self.row), np.float32)
        self.identity = np.full(len(self.row), -1, np.int32)
        self.frames = np.arange(len(self.row), dtype=np.int64)[:, None]

    def _rows(self, columns: Sequence[str]) -> pa.Table:
        return self.manifest.table(list(columns))

    def stored(self, i: int, frame: int = 0) -> Pixels:
        """(H, W, 3). Raises: UnmaskError that names the file, if it cannot be read."""
        path = self.path(i)
        try:
            data = path.read_bytes()
        except OSError as error:
            raise ManifestError(f"{path} cannot be read ({error.strerror}): index the folder again") from None
        found = pixels(data)
        if found is None:
            raise ManifestError(f"{path} is damaged or no image: fetch it again, or filter its row")
        return found

    def cut(self, i: int, stored: Pixels, size: int) -> tuple[Pixels, Floats]:
        height, width = stored.shape[:2]
        side = min(height, width)
        x, y = (width - side) // 2, (height - side) // 2
        kind = cv2.INTER_AREA if side > size else cv2.INTER_CUBIC
        cut = cv2.resize(stored[y : y + side, x : x + side], (size, size), interpolation=kind)
        box = np.array([x / width, y / height, (x + side) / width, (y + side) / height], np.float32)
        return np.asarray(cut, np.uint8), box

    def item(self, i: int, image: Pixels, seed: Sequence[int], mask: Pixels | None = None, frame: int = 0) -> Item:
        found, _ = self.cut(i, image, self.spec.size)
        return Item(found, int(self.label[i]), i, int(self.group[i]), -1, int(self.method[i]))
