"""The crops of a face manifest as a torch data set: a million rows cost a worker some flat arrays, and no object each.

For a detector of videos an item is a window: T frames in a row of one face, changed by one and the same draw.

An item is read, changed by the transform, and only then cut to the detector's input, so that a turned or shifted face
still stands in image. What cannot be read is an error that names the file; another sample never takes its place.
`unmask.data.samplers` says which rows make a batch, `unmask.tasks.loading` makes `bases.Batch` of them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from torch.utils.data import Dataset

from unmask.data.donors import five_points
from unmask.data.fitting import check, fit, fitted, read
from unmask.data.manifest import Manifest
from unmask.data.transforms import Chain
from unmask.data.windows import WINDOW, in_windows, remedy
from unmask.errors import ManifestError
from unmask.types import Floats, InputSpec, Pixels

Transform = Callable[[Pixels, np.random.Generator], Pixels]
Key = int | Sequence[int]
NO_VIEWS = np.empty((0, 0, 0, 3), np.uint8)
NO_MASK = np.empty((0, 0), np.uint8)
NO_POINTS = np.empty((0, 2), np.float32)
_COLUMNS = (
    "relpath", "reason", "label", "group_id", "method", "dataset", "media_id", "pair_key", "frame", "box", "margin",
    "template", "identity",
)  # fmt: skip


class Item(NamedTuple):
    """One crop or window; torch's own collation makes of many the same with a first axis B.

    Of a window, images, masks and points have an axis T more: (T, S, S, 3), (T, V, S, S, 3), (T, S, S) and (T, 5, 2).
    """

    image: Pixels  # uint8 (S, S, 3)
    label: int  # 1 = fake, 0 = real, -1 = not labelled
    at: int  # index in the FaceSet
    group: int  # code of the leakage group
    pair: int  # equal for a real crop and the forgeries made from it, -1 = of no pair
    method: int  # code of what made it
    views: Pixels = NO_VIEWS  # (V, S, S, 3) what `image` becomes by each of `FaceSet.views`
    mask: Pixels = NO_MASK  # (S, S) how much of each pixel was forged, 0..255; where nobody asked for masks, nothing
    masked: bool = False  # whether the mask is known
    points: Floats = NO_POINTS  # (5, 2) five points in pixels of `image`, NaN if not known; nothing if nobody asked
    identity: int = -1  # code of whose face it is, -1 = not known
    domain: int = 0  # code of the data set


class FaceSet(Dataset[Item]):
    """Crops of a face manifest, of which rows without a crop are left out; with `spec.frames` = T > 1 windows of T.

    Attributes: the columns, one entry a crop or window, N in all.
        row: int32, the row of the manifest; of a window that of its first frame.
        frames: (N, T) int64, places of an item's frames among the chosen crops.
        label: int8, 1 = fake, 0 = real, -1 = not labelled.
        group, method, dataset, media, identity: int32 codes, -1 for an identity that is not known; `methods` and
        `datasets` say what two of them stand for. The methods
            of forgeries come first: F of them are 0 .. F - 1, whatever real rows are called.
        pair: int32, `partners` of this set.
        left_out: chosen rows of the manifest that have no crop.
    """

    def __init__(
        self,
        manifest: Path,
        spec: InputSpec,
        *,
        where: NDArray[np.bool_] | None = None,
        transform: Transform | None = None,
        views: Sequence[Transform] = (),
        masks: bool = False,
        points: bool = False,
    ) -> None:
        """
        Args:
            masks: give the mask of each crop too: nothing of a real one, the stored one of a forgery where there is
                one of the crop's size.
            points: give the five points of each crop too, as `transform` moves them.
            where: a mask over all rows of the manifest; None = all.
            transform: changes the crop as it is stored, before it is cut to `spec`.
            views: each makes another image of what `transform` left, as stored too: the same draw of it in all of
                them, so that they differ by the view alone.
        Raises: UnmaskError for a manifest of media, a mask of another length, and crops that cannot give `spec`: of
            another margin or template, or single frames where windows are wanted.
        """
        self.manifest, self.spec, self.transform, self.views = Manifest(manifest), spec, transform, tuple(views)
        self.masks = masks
        more = [*(["mask_relpath"] if masks else []), *(["points", "matrix", "size"] if points else [])]
        more += WINDOW if spec.frames > 1 else ()
        if missing := [name for name in more if name not in self.manifest.arrow_schema.names]:
            raise ManifestError(f"{manifest} has no column {missing[0]!r}: {remedy(spec.frames)}")
        table = self._rows((*_COLUMNS, *more))
        if where is not None and where.shape != (len(table),):
            raise ManifestError(f"a mask of shape {where.shape} does not fit {len(table)} rows of {manifest}")
        wanted = np.ones(len(table), np.bool_) if where is None else where
        has_crop = pc.equal(table["reason"], "").to_numpy(zero_copy_only=False)
        self.row = np.flatnonzero(wanted & has_crop).astype(np.int32)
        table = table.take(pa.array(self.row))
        self._paths, self._starts = flat(table["relpath"])
        self._masks = flat(table["mask_relpath"]) if masks else None
        self._points = _points(table) if points else None
        self.frames = in_windows(table, spec.frames) if spec.frames > 1 else np.arange(len(table))[:, None]
        if spec.frames > 1:
            if len(table) and not len(self.frames):
                raise ManifestError(f"{manifest} holds no {spec.frames} frames in a row: {remedy(spec.frames)}")
            table, self.row = table.take(pa.array(self.frames[:, 0])), self.row[self.frames[:, 0]]
        self.left_out = int(wanted.sum()) - self.frames.size
        self.label = table["label"].fill_null(-1).to_numpy().astype(np.int8)
        self.group, _ = codes(table["group_id"])
        self.media, _ = codes(table["media_id"])
        self.method, self.methods = codes(table["method"], first=pa.array(self.label == 1))
        self.dataset, self.datasets = codes(table["dataset"])
        self.identity, _ = codes(table["identity"])
        self.identity[pc.equal(table["identity"], "").to_numpy(zero_copy_only=False)] = -1
        self.margin = table["margin"].fill_null(-1).to_numpy().astype(np.float32)
        self._check_input(table["template"])
        source, _ = codes(table["pair_key"])
        none = pc.equal(table["pair_key"], "").to_numpy(zero_copy_only=False)
        source[none] = -1
        self.pair = partners(self.label, source, table["frame"].to_numpy(), _centres(table["box"]))
        del table
        pa.default_memory_pool().release_unused()  # or each worker is forked with what the table took

    def __len__(self) -> int:
        return len(self.row)

    def __getitem__(self, key: Key) -> Item:
        """
        Args:
            key: the index, or the index and the numbers that seed the transform's draw (`samplers.Plan` gives those).
        Raises: UnmaskError that names the file, if it cannot be read.
        """
        i, *seed = (key, key) if isinstance(key, int | np.integer) else key
        at = int(i)
        shown = [self._shown(at, frame, seed) for frame in range(self.spec.frames)]
        if len(shown) == 1:
            return shown[0]
        of_all = ("image", "views", "mask", "points")
        image, views, mask, points = (np.stack([getattr(one, name) for one in shown]) for name in of_all)
        masked = all(one.masked for one in shown)
        return shown[0]._replace(image=image, views=views, mask=mask, points=points, masked=masked)

    def _shown(self, i: int, frame: int, seed: Sequence[int]) -> Item:
        """One frame of an item. All frames of a window begin with the same seed: one draw changes them alike."""
        image = self.stored(i, frame)
        mask = self.stored_mask(i, image.shape[0], frame) if self.masks else None
        return self.item(i, image, seed, mask, frame)

    @property
    def without_points(self) -> int:
        """Crops whose five points were asked for and are not known."""
        return 0 if self._points is None else int(np.isnan(self._points).any((1, 2)).sum())

    def untransformed(self) -> FaceSet:
        """The same crops as they are stored: no augmentation, no views."""
        plain = copy.copy(self)
        plain.transform, plain.views = None, ()
        return plain

    def stored(self, i: int, frame: int = 0) -> Pixels:
        """A crop as it lies on disk. Raises: UnmaskError that names the file, if it cannot be read."""
        return read(self.path(i, frame), f"row {self.row[i]} of {self.manifest.path}")

    def stored_mask(self, i: int, side: int, frame: int = 0) -> Pixels | None:
        """(side, side), 0..255: of a real crop nothing is forged; None where a forgery has no mask of this size."""
        if self.label[i] == 0:
            return np.zeros((side, side), np.uint8)
        assert self._masks is not None
        paths, starts = self._masks
        at = self.frames[i, frame]
        if starts[at] == starts[at + 1]:
            return None
        text = paths[starts[at] : starts[at + 1]].tobytes().decode()
        found = cv2.imread(str(self.manifest.file(self.datasets[self.dataset[i]], text)), cv2.IMREAD_GRAYSCALE)
        return np.asarray(found, np.uint8) if found is not None and found.shape == (side, side) else None

    def item(self, i: int, image: Pixels, seed: Sequence[int], mask: Pixels | None = None, frame: int = 0) -> Item:
        """The item `i`, its crop, or what was made of it, changed by the transform's draw and cut to the input.

        Args:
            mask: (S, S) of the crop as it is stored; it moves as the transform moves the crop.
            frame: which one of a window it is.
        """
        numbers = [int(s) for s in seed]
        rng = np.random.default_rng(numbers)
        if mask is not None:
            mask = _moved_mask(mask, self.transform, image, np.random.default_rng(numbers))
        side, five = image.shape[0], None
        if self._points is not None:
            five = self._points[self.frames[i, frame]] * np.float32(side)
        if five is not None and isinstance(self.transform, Chain):
            image, five = self.transform.with_points(image, five, rng)
        elif self.transform is not None:
            image = self.transform(image, rng)
        ways = [image, *(view(image, rng) for view in self.views)]
        image, *views = (np.ascontiguousarray(fit(way, self.spec, float(self.margin[i]))) for way in ways)
        columns = (self.label, self.group, self.pair, self.method)
        label, group, pair, method = (int(column[i]) for column in columns)
        shown = NO_MASK
        if self.masks:
            whole = np.zeros(image.shape[:2], np.uint8)
            shown = whole if mask is None else np.ascontiguousarray(fit(mask, self.spec, float(self.margin[i])))
        more = np.stack(views) if views else NO_VIEWS
        at = NO_POINTS if five is None else fitted(five, side, self.spec, float(self.margin[i]))
        whose, of = int(self.identity[i]), int(self.dataset[i])
        return Item(image, label, i, group, pair, method, more, shown, self.masks and mask is not None, at, whose, of)

    def inputs(self, i: int) -> Pixels:
        """(N, S, S, 3): what is looked at to judge item `i`, untransformed; of a face, its crop or its window."""
        return self.untransformed()[i].image[None]

    def table(self, columns: Sequence[str]) -> pa.Table:
        """Columns of the manifest, of this set's rows."""
        return self._rows(columns).take(pa.array(self.row))

    def relpath(self, i: int, frame: int = 0) -> str:
        at = self.frames[i, frame]
        return self._paths[self._starts[at] : self._starts[at + 1]].tobytes().decode()

    def cut(self, i: int, stored: Pixels, size: int) -> tuple[Pixels, Floats]:
        """The stored crop at the input's own margin, (size, size, 3), and where it lies: x1, y1, x2, y2 in 0..1."""
        margin = float(self.margin[i])
        edge = (1 - min(self.spec.margin / margin, 1.0)) / 2
        box = np.array([edge, edge, 1 - edge, 1 - edge], np.float32)
        return fit(stored, self.spec.model_copy(update={"size": size}), margin), box

    def path(self, i: int, frame: int = 0) -> Path:
        """Where a crop lies. Raises: UnmaskError for a path that leaves the root of its data set."""
        return self.manifest.file(self.datasets[self.dataset[i]], self.relpath(i, frame))

    def _rows(self, columns: Sequence[str]) -> pa.Table:
        if self.manifest.kind != "faces":
            raise ManifestError(f"{self.manifest.path} lists media, not faces: run `unmask data extract` first")
        return self.manifest.table(list(columns))

    def _check_input(self, templates: pa.ChunkedArray) -> None:
        for name in pc.unique(templates).to_pylist():
            chosen = np.flatnonzero(pc.equal(templates, name).to_numpy(zero_copy_only=False))
            worst = int(chosen[self.margin[chosen].argmin()])
            margin = round(float(self.margin[worst]), 6)
            check(self.spec, margin if margin >= 0 else None, name, str(self.path(worst)))


def _moved_mask(mask: Pixels, transform: Transform | None, image: Pixels, rng: np.random.Generator) -> Pixels:
    """The mask as a chain of steps moves it, by the same draw: three points tell where everything goes."""
    if not isinstance(transform, Chain):
        return mask
    side = float(mask.shape[0])
    corners = np.array([[0, 0], [side, 0], [0, side]], np.float32)
    _, moved = transform.with_points(image, corners, rng)
    assert moved is not None
    if np.array_equal(moved, corners):
        return mask
    half = np.float32(0.5)  # points count from the image's corner, OpenCV from the middle of its first pixel
    matrix = cv2.getAffineTransform(corners - half, np.asarray(moved, np.float32) - half)
    return np.asarray(cv2.warpAffine(mask, matrix, mask.shape[::-1], flags=cv2.INTER_LINEAR), np.uint8)


def _points(table: pa.Table) -> Floats:
    """(N, 5, 2) in a crop whose side is 1; NaN where they are not known."""
    found = np.full((len(table), 5, 2), np.nan, np.float32)
    known = pc.and_(pc.is_valid(table["points"]), pc.is_valid(table["matrix"])).to_numpy(zero_copy_only=False)
    found[known] = five_points(table.filter(pa.array(known)))
    return found


def partners(
    label: NDArray[np.int8],
    source: NDArray[np.integer],
    frame: NDArray[np.integer],
    centre: NDArray[np.float32] | None = None,
) -> NDArray[np.int32]:
    """Which crops show the same face of the same moment, forged and not.

    Each fake belongs to the real crop of its source whose frame is the nearest, the earlier of two; among several faces
    of that frame to the one whose box lies the nearest.

    Args:
        label: (N,), 1 = fake, 0 = real.
        source: (N,) code of the untouched original, -1 = unknown.
        frame: (N,) position in the video.
        centre: (N, 2) of the face's box in pixels of the frame, NaN where unknown.
    Returns: (N,) the index of the real crop, for itself too if it has a fake; -1 = of no pair.
    """
    pair = np.full(len(label), -1, np.int32)
    real, fake = np.flatnonzero((label == 0) & (source >= 0)), np.flatnonzero((label == 1) & (source >= 0))
    if not len(real) or not len(fake):
        return pair
    real = real[np.lexsort((frame[real], source[real]))]
    wide = int(frame.max()) + 1
    moments = source[real].astype(np.int64) * wide + frame[real]
    wanted = source[fake].astype(np.int64) * wide + frame[fake]
    after = np.searchsorted(moments, wanted).clip(max=len(real) - 1)
    before = (np.searchsorted(moments, wanted) - 1).clip(min=0)
    far = np.iinfo(np.int64).max
    gap_before, gap_after = (
        np.where(source[real[at]] == source[fake], np.abs(moments[at] - wanted), far) for at in (before, after)
    )
    near = np.where(gap_before <= gap_after, before, after)
    found = np.minimum(gap_before, gap_after) < far
    first, last = np.searchsorted(moments, moments[near]), np.searchsorted(moments, moments[near], side="right")
    pair[fake[found]] = real[first[found]]
    for n in np.flatnonzero(found & (last - first > 1)):  # several faces in one frame: rare
        choice = real[first[n] : last[n]]
        if centre is not None:
            gap = np.square(centre[choice] - centre[fake[n]]).sum(1)
            pair[fake[n]] = choice[np.where(np.isnan(gap), np.inf, gap).argmin()]
    paired = np.unique(pair[pair >= 0])
    pair[paired] = paired
    return pair


def flat(text: pa.ChunkedArray) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """All strings as one run of UTF-8, and where each begins and ends."""
    joined = pa.concat_arrays([pa.array([], pa.large_string()), *text.cast(pa.large_string()).chunks])
    if not len(joined):
        return np.empty(0, np.uint8), np.zeros(1, np.int64)
    _, starts, data = joined.buffers()
    offsets = np.frombuffer(starts, np.int64)[joined.offset : joined.offset + len(joined) + 1]
    return np.frombuffer(data, np.uint8)[offsets[0] : offsets[-1]].copy(), offsets - offsets[0]


def codes(text: pa.ChunkedArray, first: pa.Array | None = None) -> tuple[NDArray[np.int32], tuple[str, ...]]:
    """A number for each distinct text, in the order of their first rows; before all others those of rows in `first`."""
    names = pc.unique(text if first is None else pa.chunked_array([*text.filter(first).chunks, *text.chunks]))
    return pc.index_in(text, value_set=names).to_numpy().astype(np.int32), tuple(names.to_pylist())


def _centres(box: pa.ChunkedArray) -> NDArray[np.float32]:
    centre = np.full((len(box), 2), np.nan, np.float32)
    known = pc.is_valid(box).to_numpy(zero_copy_only=False)
    corners = pc.list_flatten(box).to_numpy().reshape(-1, 2, 2)
    centre[known] = corners.mean(1)
    return centre
