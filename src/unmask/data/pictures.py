"""Whole images as a torch data set: the images of a manifest of media, and frames of its videos, read where they lie.

A row of media gives rows as those of faces are, one for each image to look at, so that filters, samplers and scores
need not know the difference. For training an image becomes a random tile of its own pixels; for measuring it becomes
the tiles of `unmask.tiling`, whose log-odds become one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from torch.utils.data import Dataset

from unmask.data.footage import Footage, Unreadable, footage
from unmask.data.loader import FaceSet, Item, Transform
from unmask.data.manifest import FaceRow, Manifest, arrow_schema
from unmask.errors import ManifestError
from unmask.tiling import STEP, inputs, mirrored, places, reduced, whole
from unmask.types import Frame, InputSpec, Pixels

FRAMES = 8  # of a video or a folder of frames: those on screen in the middles of so many equal parts
REGION = (
    2  # sides of a tile: what is cut out before the transform acts, so that a large image costs what a small one does
)


def rows_of(manifest: Manifest, columns: Sequence[str] = ()) -> pa.Table:
    """The rows of a manifest with the columns of `FaceRow`; rows of media become rows of whole images.

    An image becomes one row of its own id, a video FRAMES rows "ID#0", "ID#1", ..., whose `media_id` is ID and whose
    `frame` counts from 0. No file is opened.

    Args:
        columns: empty = all.
    """
    if manifest.kind == "faces":
        return manifest.table(list(columns or manifest.arrow_schema.names))
    table = manifest.table(list(manifest.arrow_schema.names))
    still = np.asarray(pc.equal(table["media_type"], "image").to_numpy(zero_copy_only=False), bool)
    count = np.where(still, 1, FRAMES)
    at = np.repeat(np.arange(len(table)), count)
    frame = np.arange(len(at)) - np.repeat(np.cumsum(count) - count, count)
    part = table.take(pa.array(at))
    numbered = pc.binary_join_element_wise(part["item_id"], pa.array(frame).cast(pa.string()), "#")
    made = {
        "item_id": pc.if_else(pa.array(still[at]), part["item_id"], numbered),
        "media_id": part["item_id"],
        "frame": pa.array(frame, pa.int32()),
        "reason": pc.if_else(pc.equal(part["relpath"], ""), "no file", ""),
        "template": pa.array([""] * len(at)),
    }
    kinds = {f.name: f.type for f in arrow_schema(FaceRow)}
    held = made | {n: part[n] for n in part.column_names if n not in made}
    wanted = columns or list(kinds)
    return pa.table({n: held[n] if n in held else pa.nulls(len(at), kinds[n]) for n in wanted})


def media_rows(manifest: Manifest, table: pa.Table, split: NDArray[Any], chosen: NDArray[np.bool_]) -> pa.Table:
    """Rows of the manifest that chosen rows of `rows_of` came from, each once, with the split (N,) of its first."""
    whole_rows = manifest.table(list(manifest.arrow_schema.names))
    at = pc.index_in(table["media_id"], value_set=whole_rows["item_id"]).to_numpy()
    row, first = np.unique(at[chosen], return_index=True)
    part = whole_rows.take(pa.array(row))
    return part.set_column(part.column_names.index("split"), "split", pa.array(split[chosen][first], pa.string()))


def read_picture(path: Path, relpath: str, sha256: str, frame: int, item: str) -> Pixels:
    """An image, or the `frame`-th of FRAMES frames of a video: uint8 (H, W, 3), upright.

    Args:
        path: root of the data set. sha256: what the file must contain; "" = anything.
    Raises: UnmaskError that names the file and what is wrong with it.
    """
    try:
        shown = _opened(path, relpath, sha256).at((frame + 0.5) / FRAMES)
    except Unreadable as why:
        raise ManifestError(f"{path / relpath}, {item!r}: {why}; index the folder again, or mend the file") from None
    if not isinstance(shown, Frame):
        raise ManifestError(f"{path / relpath}, {item!r}: unreadable: {shown.why}")
    return shown.image


@lru_cache(maxsize=4)
def _opened(root: Path, relpath: str, sha256: str) -> Footage:
    """Frames of one file are mostly asked for one after the other."""
    return footage(root, relpath, sha256)


def check(manifest: Manifest, spec: InputSpec) -> None:
    """Raises: UnmaskError where the rows cannot give what a detector looks at."""
    if spec.margin == 0 and manifest.kind == "faces":
        raise ManifestError(
            f"{manifest.path} lists crops of faces, and this detector looks at whole images (margin 0): give it the "
            "manifest of `unmask data index`"
        )
    if spec.margin and manifest.kind != "faces":
        raise ManifestError(f"{manifest.path} lists media, not faces: run `unmask data extract` first")


class PictureSet(FaceSet):
    """Images of a manifest of media; columns as in `FaceSet`, one entry an image or frame."""

    def __init__(
        self,
        manifest: Path,
        spec: InputSpec,
        *,
        where: NDArray[np.bool_] | None = None,
        transform: Transform | None = None,
        views: Sequence[Transform] = (),
        random: bool = False,
    ) -> None:
        """
        Args:
            where: a mask over all rows of `rows_of`; None = all.
            transform: changes a region of the image, REGION sides of a tile wide, before the tile is cut out of it.
            random: an item is a tile from anywhere; otherwise the one in the middle.
        Raises: UnmaskError for a manifest of faces, and for a detector of faces.
        """
        super().__init__(manifest, spec, where=where, transform=transform, views=views)
        self.random = random
        self._sha256 = self.table(["sha256"])["sha256"].fill_null("").to_pylist()
        self._frame = self.table(["frame"])["frame"].to_numpy()

    def untransformed(self) -> PictureSet:
        plain = super().untransformed()
        assert isinstance(plain, PictureSet)
        plain.random = False
        return plain

    def stored(self, i: int, frame: int = 0) -> Pixels:
        self.path(i)  # refuses a path that leaves the root
        name = self.datasets[self.dataset[i]]
        item = f"row {self.row[i]} of {self.manifest.path}"
        return read_picture(self.manifest.roots[name], self.relpath(i), self._sha256[i], int(self._frame[i]), item)

    def inputs(self, i: int) -> Pixels:
        """(N, S, S, 3): all tiles of the image as it is."""
        return inputs(self.stored(i), self.spec)

    def item(self, i: int, image: Pixels, seed: Sequence[int], mask: Pixels | None = None, frame: int = 0) -> Item:
        rng, side = np.random.default_rng([int(s) for s in seed]), self.spec.size
        if self.spec.tiles:
            image = reduced(image, self.spec.reduce)
            image = self._place(image, REGION * side, rng) if self.random else image
        if self.transform is not None:
            image = self.transform(image, rng)
        ways, draw = [image, *(view(image, rng) for view in self.views)], rng.integers(2**63)
        image, *views = (self._tile(way, np.random.default_rng(draw)) for way in ways)
        columns = (self.label, self.group, self.pair, self.method)
        label, group, pair, method = (int(column[i]) for column in columns)
        whose, of = int(self.identity[i]), int(self.dataset[i])
        item = Item(image, label, i, group, pair, method, identity=whose, domain=of)
        return item._replace(views=np.stack(views)) if views else item

    def _tile(self, image: Pixels, rng: np.random.Generator) -> Pixels:
        """The same place in images of one size by the same draw."""
        if not self.spec.tiles:
            return whole(image, self.spec)[0]
        side = self.spec.size
        image = mirrored(image, side)
        if self.random:
            return np.ascontiguousarray(self._place(image, side, rng))
        height, width = image.shape[:2]
        ((x, y),) = places(width, height, side, 1)
        return np.ascontiguousarray(image[y : y + side, x : x + side])

    @staticmethod
    def _place(image: Pixels, side: int, rng: np.random.Generator) -> Pixels:
        """A random part of at most `side`, at multiples of STEP as tiles are."""
        y, x = (STEP * int(rng.integers(max(0, length - side) // STEP + 1)) for length in image.shape[:2])
        return image[y : y + side, x : x + side]

    def _rows(self, columns: Sequence[str]) -> pa.Table:
        return rows_of(self.manifest, columns)

    def _check_input(self, templates: pa.ChunkedArray) -> None:
        """Nothing is cut out beforehand that could be too narrow."""


class TileSet(Dataset[tuple[Pixels, int]]):
    """All tiles of each image of a PictureSet, filled up to the same number: (T, S, S, 3), and how many are real."""

    def __init__(self, pictures: PictureSet) -> None:
        self.pictures = pictures

    def __len__(self) -> int:
        return len(self.pictures)

    def __getitem__(self, i: int) -> tuple[Pixels, int]:
        found = self.pictures.inputs(i)
        full = np.zeros((max(1, self.pictures.spec.tiles), *found.shape[1:]), np.uint8)
        full[: len(found)] = found
        return full, len(found)
