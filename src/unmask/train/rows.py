"""Which crops of a manifest a recipe trains and validates on, and in which batches."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unmask.data import samplers, transforms
from unmask.data.loader import FaceSet, Transform
from unmask.data.manifest import Manifest
from unmask.data.samplers import Plan
from unmask.errors import ManifestError, RecipeError
from unmask.forging.landmarkers import landmarker
from unmask.forging.online import ForgedSet
from unmask.forging.online import Rows as Forged
from unmask.imageops.degradation import degrade
from unmask.measure.pooling import combined
from unmask.measure.protocol import Where
from unmask.train.recipe import Recipe, Transforms
from unmask.types import InputSpec

CLIP = ("dataset", "method", "compression", "media_id")


@dataclass(frozen=True)
class Rows:
    """The two sets of a run."""

    train: FaceSet | ForgedSet
    validate: FaceSet

    def unseen(self, recipe: Recipe) -> str:
        """Which stored forgeries the sampler never shows, and what would change that; nothing if it shows all."""
        faces = self.train if isinstance(self.train, FaceSet) else self.train.faces
        alone = int(((faces.label == 1) & (faces.pair < 0)).sum())
        if not alone or recipe.sampler.name not in ("paired", "grouped") or recipe.sampler.orphans:
            return ""
        mend = "; sampler.orphans=true shows them beside other real faces" if recipe.sampler.name == "paired" else ""
        return (
            f"{alone:,} of {int((faces.label == 1).sum()):,} forgeries have no original here, and never come up{mend}"
        )

    def plan(self, recipe: Recipe, epoch: int) -> Plan:
        """The batches of one epoch."""
        if isinstance(self.train, FaceSet):
            return _planned(recipe, self.train, epoch)
        faces = self.train.epoch(recipe.seed, epoch)
        plan = _planned(recipe, faces, epoch)
        return replace(plan, units=faces.at[plan.units])


def _planned(recipe: Recipe, faces: FaceSet | Forged, epoch: int) -> Plan:
    kind, seed = recipe.sampler, recipe.seed
    group = faces.group if kind.spread_groups else None
    if kind.name == "by_class":
        return samplers.by_class(faces.label, recipe.batch, seed, epoch, group=group)
    if kind.name == "by_method":
        return samplers.by_method(faces.label, faces.method, recipe.batch, seed, epoch, group=group)
    if kind.name == "paired":
        kin = faces.dataset if kind.orphans else None
        return samplers.paired(
            faces.label, faces.pair, recipe.batch, seed, epoch, every=kind.every, group=group, orphans=kin
        )
    if kind.name == "grouped":
        return samplers.grouped(faces.label, faces.pair, faces.method, recipe.batch, seed, epoch, group=group)
    return samplers.shuffled(len(faces.label), recipe.batch, seed, epoch, group=group)


def rows(recipe: Recipe, data: Path, spec: InputSpec) -> Rows:
    """Raises: UnmaskError for filters that leave nothing of a class, and where leakage groups stand on both sides."""
    manifest = Manifest(data)
    if manifest.kind != "faces":
        raise ManifestError(f"{data} lists media, not faces: run `unmask data extract` first")
    table = manifest.table(list(manifest.arrow_schema.names))
    masks = {
        "train": _mask(table, recipe.data.train, recipe) & ~_flagged(table, recipe.data.leave_out),
        "validate": _mask(table, recipe.data.validate_, recipe),
    }
    label, group = table["label"].fill_null(-1).to_numpy(), np.asarray(table["group_id"].to_pylist(), str)
    for name, mask in masks.items():
        held = set(np.unique(label[mask]))
        if recipe.forge and name == "train" and 0 in held:
            held.add(1)  # forgeries of its real rows come on top
        if held != {0, 1}:
            raise RecipeError(
                f"data.{name} must leave real and forged rows of {data}: it leaves {int(mask.sum())} rows"
            )
    both = set(group[masks["train"]]) & set(group[masks["validate"]])
    if both:
        raise RecipeError(
            f"{len(both)} leakage groups stand in data.train and in data.validate, for one {str(min(both))!r}: "
            "the best checkpoint would be chosen on what it was trained on"
        )
    train = FaceSet(
        data,
        spec,
        where=masks["train"],
        transform=transform(recipe.transforms),
        views=[transform(view) or transforms.Chain(()) for view in recipe.views],
    )
    return Rows(_forged(train, recipe), FaceSet(data, spec, where=masks["validate"]))


def _forged(faces: FaceSet, recipe: Recipe) -> FaceSet | ForgedSet:
    if not recipe.forge:
        return faces
    if recipe.sampler.name == "paired" and recipe.sampler.every == "real":
        raise RecipeError("with forge, epochs by real crops would differ in length: leave out sampler.every")
    if recipe.sampler.name == "grouped" and any(one.share < 1 for one in recipe.forge.values()):
        raise RecipeError("groups want every real crop forged, or epochs would differ in length: give shares of 1")
    shares = {name: one.share for name, one in recipe.forge.items()}
    options = {name: one.options for name, one in recipe.forge.items()}
    return ForgedSet(faces, shares, options, landmarker(recipe.landmarks))


def transform(steps: Transforms) -> Transform | None:
    """Raises: UnmaskError for an unknown name or step."""
    if steps == "degrade":  # what the embedded detector is trained with; presets stand in data.transforms
        return degrade
    return transforms.build(steps) if steps != "none" else None


def _mask(table: pa.Table, where: Where, recipe: Recipe) -> NDArray[np.bool_]:
    mask: NDArray[np.bool_] = where.mask(table) & np.asarray([not r for r in table["reason"].to_pylist()], bool)
    if recipe.data.frames is None:
        return mask
    clip = combined([table[c] for c in CLIP])[0]
    kept = np.zeros(len(mask), bool)
    chosen = np.flatnonzero(mask)
    rng = np.random.default_rng(recipe.seed)
    order = chosen[np.lexsort((table["frame"].to_numpy()[chosen], clip[chosen]))]
    for members in np.split(order, np.flatnonzero(np.diff(clip[order])) + 1):
        n = min(recipe.data.frames, len(members))
        even = ((np.arange(n) + 0.5) * len(members) / n).astype(int)
        kept[members[even if recipe.data.pick == "even" else rng.permutation(len(members))[:n]]] = True
    return kept


def _flagged(table: pa.Table, flags: Sequence[str]) -> NDArray[np.bool_]:
    """(N,), True for rows with one of the flags."""
    return np.array([not set(flags).isdisjoint(of or ()) for of in table["flags"].to_pylist()], bool)
