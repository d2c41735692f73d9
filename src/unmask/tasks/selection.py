"""Which rows of a manifest train and which validate, and in which batches."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unmask.data import pictures, samplers, transforms
from unmask.data.loader import FaceSet, Transform
from unmask.data.manifest import Manifest
from unmask.data.pictures import PictureSet
from unmask.data.samplers import Plan
from unmask.errors import ManifestError, RecipeError
from unmask.imageops.degradation import degrade
from unmask.measure.pooling import combined
from unmask.measure.protocol import Where
from unmask.tasks.recipe import LabelledRecipe, Recipe
from unmask.tasks.settings import Transforms
from unmask.types import InputSpec

VIDEO = ("dataset", "method", "compression", "media_id")
Mask = NDArray[np.bool_]
Codes = NDArray[np.integer]


FACES = InputSpec()


def listed(data: Path, kinds: Sequence[str]) -> pa.Table:
    """All columns of a manifest, as its rows are. Raises: UnmaskError for one that is not of `kinds`."""
    manifest = Manifest(data)
    if manifest.kind not in kinds:
        raise ManifestError(f"{data} lists {manifest.kind}, not {' or '.join(kinds)}")
    return manifest.table(list(manifest.arrow_schema.names))


def table_of(data: Path, spec: InputSpec | None = FACES) -> pa.Table:
    """All columns of a manifest, whose rows of media are rows of whole images (`unmask.data.pictures`).

    Args:
        spec: what looks at them; None = either.
    Raises: UnmaskError for media where faces are looked at, and the other way round.
    """
    manifest = Manifest(data)
    if spec is not None:
        pictures.check(manifest, spec)
    return pictures.rows_of(manifest)


def set_of(
    data: Path,
    spec: InputSpec,
    where: Mask,
    *,
    transform: Transform | None = None,
    views: Sequence[Transform] = (),
    masks: bool = False,
    points: bool = False,
    training: bool = False,
) -> FaceSet:
    """Some rows of a manifest as a data set: crops of faces, or whole images for weights of margin 0.

    Args:
        training: whole images are shown by a tile from anywhere.
    Raises: UnmaskError for rows that do not fit, and for masks and points of whole images.
    """
    if spec.margin:
        return FaceSet(data, spec, where=where, transform=transform, views=views, masks=masks, points=points)
    if masks or points:
        what = "masks" if masks else "points"
        raise RecipeError(f"{what} are of crops of faces, and this detector looks at whole images: leave out {what}")
    return PictureSet(data, spec, where=where, transform=transform, views=views, random=training)


def masks(table: pa.Table, recipe: Recipe, *, labelled: bool = True, frames: int = 1) -> tuple[Mask, Mask]:
    """Rows that train, and rows that validate, (N,) each.

    Args:
        labelled: only those that are known as real or fake.
        frames: that the method looks at together: of more than one, `data.frames` counts windows.
    """
    train = _mask(table, recipe.data.train, recipe, labelled, frames) & ~_flagged(table, recipe.data.leave_out)
    validate = _mask(table, recipe.data.validate_, recipe, labelled, frames)
    return train, validate


def apart(table: pa.Table, train: Mask, validate: Mask) -> None:
    """Raises: UnmaskError where leakage groups stand on both sides."""
    group = np.asarray(table["group_id"].to_pylist(), str)
    both = set(group[train]) & set(group[validate])
    if both:
        raise RecipeError(
            f"{len(both)} leakage groups stand in data.train and in data.validate, for one {str(min(both))!r}: "
            "the best checkpoint would be chosen on what it was trained on"
        )


class Columns(Protocol):
    """What samplers look at, (N,) each."""

    @property
    def label(self) -> NDArray[np.int8]: ...
    @property
    def group(self) -> NDArray[np.int32]: ...
    @property
    def pair(self) -> NDArray[np.int32]: ...
    @property
    def method(self) -> NDArray[np.int32]: ...
    @property
    def dataset(self) -> NDArray[np.int32]: ...


def planned(recipe: LabelledRecipe, faces: Columns, epoch: int, label: Codes | None = None) -> Plan:
    """The batches of one epoch. `label`: (N,) classes other than real and fake."""
    label = faces.label if label is None else label
    kind, seed = recipe.sampler, recipe.seed
    group = faces.group if kind.spread_groups else None
    if kind.name == "by_class":
        return samplers.by_class(label, recipe.batch, seed, epoch, group=group)
    if kind.name == "by_domain":  # as many of each class of each data set
        both = np.where(label < 0, -1, label * (int(faces.dataset.max(initial=0)) + 1) + faces.dataset)
        return samplers.by_class(both, recipe.batch, seed, epoch, group=group)
    if kind.name == "pk":
        return samplers.pk(label, kind.per_class, recipe.batch, seed, epoch)
    if kind.name == "half_labelled":
        return samplers.half_labelled(label, recipe.batch, seed, epoch)
    if kind.name == "by_method":
        return samplers.by_method(label, faces.method, recipe.batch, seed, epoch, group=group)
    if kind.name == "paired":
        kin = faces.dataset if kind.orphans else None
        return samplers.paired(label, faces.pair, recipe.batch, seed, epoch, every=kind.every, group=group, orphans=kin)
    if kind.name == "grouped":
        return samplers.grouped(label, faces.pair, faces.method, recipe.batch, seed, epoch, group=group)
    return samplers.shuffled(len(label), recipe.batch, seed, epoch, group=group)


def transform(steps: Transforms) -> Transform | None:
    """Raises: UnmaskError for an unknown name or step."""
    if steps == "degrade":  # what the embedded detector is trained with; presets stand in data.transforms
        return degrade
    return transforms.build(steps) if steps != "none" else None


def _mask(table: pa.Table, where: Where, recipe: Recipe, labelled: bool, frames: int) -> Mask:
    mask: Mask = where.mask(table, labelled=labelled)
    if "reason" in table.column_names:  # a row of faces; others have a file, or words
        mask &= np.asarray([not r for r in table["reason"].to_pylist()], bool)
    if recipe.data.frames is None:
        return mask
    if "frame" not in table.column_names:
        raise RecipeError("data.frames chooses frames of videos, and this manifest lists no faces: leave it out")
    clip = combined([table[c] for c in VIDEO])[0]
    kept = np.zeros(len(mask), bool)
    chosen = np.flatnonzero(mask)
    rng = np.random.default_rng(recipe.seed)
    order = chosen[np.lexsort((table["frame"].to_numpy()[chosen], clip[chosen]))]
    windows = table["window"].fill_null(-1).to_numpy() if frames > 1 and "window" in table.column_names else None
    for members in np.split(order, np.flatnonzero(np.diff(clip[order])) + 1):
        of = np.arange(len(members)) if windows is None else np.unique(windows[members], return_inverse=True)[1]
        there = int(of.max(initial=-1)) + 1
        n = min(recipe.data.frames, there)
        even = ((np.arange(n) + 0.5) * there / n).astype(int)
        picked = even if recipe.data.pick == "even" else rng.permutation(there)[:n]
        kept[members[np.isin(of, picked)]] = True
    return kept


def _flagged(table: pa.Table, flags: Sequence[str]) -> Mask:
    """(N,), True for rows with one of the flags."""
    return np.array([not set(flags).isdisjoint(of or ()) for of in table["flags"].to_pylist()], bool)
