"""The real faces of a manifest as what forging starts from, and as donors to each other.

Who may give a face to whom: a donor is real, of the same split as the face that is forged, of another leakage group
and, where identities are known, of another identity; a row that training leaves out by its flags gives nothing. So a
forgery holds nobody from another split, and it stays in its source's leakage group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from PIL import Image

from unmask.data.fitting import read
from unmask.data.landmarks import Landmarker, Landmarks, standard
from unmask.data.manifest import Manifest
from unmask.errors import ManifestError
from unmask.types import Floats, Pixels

LEFT_OUT = ("duplicate", "resembles-held-out", "straddles-source", "straddles-identity")
MOST = 20_000  # faces among which donors are looked for
_COLUMNS = ("dataset", "relpath", "label", "reason", "item_id", "group_id", "identity", "split", "flags", "points",
            "matrix", "template", "margin")  # fmt: skip


@dataclass(frozen=True)
class Donor:
    """Another person's face. `image`: as large as the image that it is wanted for; `name`: its item_id."""

    image: Pixels
    face: Landmarks
    name: str


class Donors(Protocol):
    """Faces that may be put into one image."""

    def draw(self, rng: np.random.Generator, side: int, count: int = 1, *, among: int | None = None) -> list[Donor]:
        """Different people's faces.

        Args:
            side: of the images wanted.
            among: draw from so many whose five points lie nearest to the image's own; None = from all.
        Returns: `count` of them, fewer where there are not so many.
        """


class Reals:
    """The real crops of a face manifest; a hundred bytes each.

    Attributes: one entry for each real crop, N in all.
        row: int64, the row of the manifest.
        five: float32 (N, 5, 2), its five points in a crop whose side is 1.
    """

    def __init__(
        self, manifest: Manifest, *, where: NDArray[np.bool_] | None = None, landmarker: Landmarker = standard
    ) -> None:
        """
        Args:
            where: a mask over all rows of the manifest; None = all.
            landmarker: finds dense points on a crop.
        Raises: UnmaskError for a manifest of media, and for real crops of different templates or margins.
        """
        if manifest.kind != "faces":
            raise ManifestError(f"{manifest.path} lists media, not faces: run `unmask data extract` first")
        self.manifest, self.landmarker = manifest, landmarker
        table = manifest.table([*_COLUMNS, "size"])
        usable = pc.and_(pc.equal(table["reason"], ""), pc.fill_null(pc.equal(table["label"], 0), False))
        usable = pc.and_(usable, pc.and_(pc.is_valid(table["points"]), pc.is_valid(table["matrix"])))
        mask = usable.to_numpy(zero_copy_only=False)
        self.row = np.flatnonzero(mask if where is None else mask & where)
        table = table.take(pa.array(self.row))
        if len({*zip(table["template"].to_pylist(), table["margin"].to_pylist(), strict=True)}) > 1:
            raise ManifestError(f"{manifest.path} joins crops of different templates or margins: forge each by itself")
        self.five = five_points(table)
        self.group, self.identity, self.split = (_codes(table[c]) for c in ("group_id", "identity", "split"))
        self.identity[np.asarray(pc.equal(table["identity"], ""))] = -1
        self._places = table.select(["dataset", "relpath", "item_id"])
        left_out = [not set(LEFT_OUT).isdisjoint(f or ()) for f in table["flags"].to_pylist()]
        self.gives = ~np.array(left_out, bool)

    def __len__(self) -> int:
        return len(self.row)

    def name(self, i: int) -> str:
        """Its item_id."""
        return str(self._places["item_id"][i].as_py())

    def path(self, i: int) -> Path:
        """Raises: UnmaskError for a path that leaves the root of its data set."""
        return self.manifest.file(self._places["dataset"][i].as_py(), self._places["relpath"][i].as_py())

    def read(self, i: int, side: int | None = None) -> tuple[Pixels, Landmarks]:
        """A crop, of another side if one is given, and the landmarks in it.

        Raises: UnmaskError that names the file, if it cannot be read.
        """
        image = read(self.path(i), self.name(i))
        if side is not None and side != image.shape[0]:
            image = resized(image, side)
        return image, self.landmarks(i, image)

    def landmarks(self, i: int, image: Pixels) -> Landmarks:
        """The landmarks in the crop `image` of `i`."""
        return Landmarks(self.landmarker(image, self.five[i] * np.float32(image.shape[0])))

    def donors(self, i: int) -> Others:
        """Those who may give `i` a face."""
        return Others(self, i)


class Others:
    """All real faces but those of one person: `Donors` for it."""

    def __init__(self, reals: Reals, i: int) -> None:
        self.reals, self.i = reals, i

    def draw(self, rng: np.random.Generator, side: int, count: int = 1, *, among: int | None = None) -> list[Donor]:
        """See `Donors`. Each comes from another leakage group. Raises: UnmaskError for a crop that cannot be read."""
        reals, i = self.reals, self.i
        may = reals.gives & (reals.split == reals.split[i]) & (reals.group != reals.group[i])
        if reals.identity[i] >= 0:
            may &= reals.identity != reals.identity[i]
        pool = np.flatnonzero(may)
        if len(pool) > MOST:  # a sample holds look-alikes enough, and a forgery must not cost a million distances
            pool = pool[np.unique(rng.integers(len(pool), size=MOST))]
        if among is not None and len(pool) > among:
            gap = np.square(reals.five[pool] - reals.five[i]).sum((1, 2))
            pool = pool[np.argsort(gap, kind="stable")[:among]]
        chosen: list[int] = []
        for j in rng.permutation(len(pool)):
            if reals.group[pool[j]] not in {reals.group[c] for c in chosen}:
                chosen.append(int(pool[j]))
            if len(chosen) == count:
                break
        return [Donor(*reals.read(j, side), reals.name(j)) for j in chosen]


def nearest(face: Landmarks, donors: Sequence[Donor]) -> Donor | None:
    """The donor whose landmarks lie nearest to a face's, however placed: without shift, turn and scale."""
    if not donors:
        return None
    if any(len(d.face.points) != len(face.points) for d in donors):
        raise ManifestError("donor and face have different landmarks: find both with one landmarker")
    want = face.points @ np.array([1, 1j])
    want = (want - want.mean()) / np.linalg.norm(want - want.mean())

    def alike(donor: Donor) -> float:
        have = donor.face.points @ np.array([1, 1j])
        return float(np.abs(np.vdot(have - have.mean(), want)) / np.linalg.norm(have - have.mean()))

    return max(donors, key=alike)


def resized(image: Pixels, side: int) -> Pixels:
    """A square crop at another size, by Pillow's bicubic filter as everywhere in loading."""
    return np.array(Image.fromarray(image).resize((side, side), Image.Resampling.BICUBIC))


def five_points(table: pa.Table) -> Floats:
    """(N, 5, 2): five points of the frame through the crop's matrix, over the crop's side."""
    if not len(table):
        return np.empty((0, 5, 2), np.float32)
    points = pc.list_flatten(table["points"]).to_numpy().reshape(-1, 5, 2).astype(np.float64)
    matrix = pc.list_flatten(table["matrix"]).to_numpy().reshape(-1, 2, 3)
    size = table["size"].to_numpy().astype(np.float64)
    placed = np.einsum("nij,npj->npi", matrix[:, :, :2], points) + matrix[:, None, :, 2]
    return np.asarray(placed / size[:, None, None], np.float32)


def _codes(text: pa.ChunkedArray) -> NDArray[np.int32]:
    text = text.fill_null("")
    return np.array(pc.index_in(text, value_set=pc.unique(text)).to_numpy(), np.int32)
