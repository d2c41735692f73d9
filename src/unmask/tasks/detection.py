"""Real or fake: forged and real crops of faces, and how well validation crops and videos are told apart."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import torch
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector
from unmask.base.method import Method
from unmask.data import transforms
from unmask.data.loader import FaceSet, Key
from unmask.data.manifest import Manifest
from unmask.data.samplers import Plan
from unmask.errors import RecipeError
from unmask.forging.landmarkers import landmarker
from unmask.forging.online import ForgedSet
from unmask.measure.metrics import auroc, average_precision, eer
from unmask.measure.units import units
from unmask.registry import FAMILIES
from unmask.tasks.loading import batches
from unmask.tasks.recipe import DetectionRecipe
from unmask.tasks.scores import logits, score_of, scored
from unmask.tasks.selection import apart, masks, planned, set_of, table_of, transform
from unmask.tasks.task import Compute
from unmask.types import InputSpec

METRICS = {"auroc": auroc, "average_precision": average_precision, "eer": eer}


@dataclass(frozen=True)
class Detection:
    """The task `detection`. Its validation numbers are those of `unmask bench`, by frame and by video, and the loss."""

    name: str = "detection"
    exports: str = "bundle"

    def resolved(self, recipe: DetectionRecipe, data: Path) -> DetectionRecipe:
        return recipe

    def build(self, recipe: DetectionRecipe) -> Detector:
        detector: Detector = FAMILIES["detector"].create(recipe.method, recipe.options)
        return detector

    def rows(self, recipe: DetectionRecipe, data: Path, method: Method[Any]) -> DetectionRows:
        return rows(recipe, data, method.input)


@dataclass(frozen=True)
class DetectionRows:
    """The two sets of a run."""

    recipe: DetectionRecipe
    train: FaceSet | ForgedSet
    validate: FaceSet

    @property
    def manifest(self) -> Manifest:
        return self.validate.manifest

    def __len__(self) -> int:
        return len(self.train)

    def note(self) -> str:
        """Which stored forgeries the sampler never shows and what would change that, and faces without points."""
        return "; ".join(said for said in (self._unshown(), self._without_points()) if said)

    def _without_points(self) -> str:
        faces = self.train if isinstance(self.train, FaceSet) else self.train.faces
        return f"{faces.without_points:,} crops have no five points" if faces.without_points else ""

    def _unshown(self) -> str:
        faces, kind = self.train if isinstance(self.train, FaceSet) else self.train.faces, self.recipe.sampler
        alone = int(((faces.label == 1) & (faces.pair < 0)).sum())
        if not alone or kind.name not in ("paired", "grouped") or kind.orphans:
            return ""
        mend = "; sampler.orphans=true shows them beside other real faces" if kind.name == "paired" else ""
        return (
            f"{alone:,} of {int((faces.label == 1).sum()):,} forgeries have no original here, and never come up{mend}"
        )

    def plan(self, epoch: int) -> Plan:
        if isinstance(self.train, FaceSet):
            return planned(self.recipe, self.train, epoch)
        faces = self.train.epoch(self.recipe.seed, epoch)
        plan = planned(self.recipe, faces, epoch)
        return replace(plan, units=faces.at[plan.units])

    def batches(
        self, keys: Sequence[Sequence[Key]], *, workers: int = 0, device: torch.device | str = "cpu"
    ) -> Iterator[Batch]:
        return batches(self.train, keys, workers=workers, device=device)

    def measure(self, method: Method[Any], compute: Compute) -> dict[str, float]:
        """frame_auroc, video_eer and so on, and "loss", the mean cross-entropy over crops."""
        assert isinstance(method, Detector)
        found = logits(method, self.validate, compute)
        label = torch.from_numpy(self.validate.label.astype(np.int64))
        table = scored(self.validate, score_of(found, method.classes))
        return {"loss": F.cross_entropy(found, label).item()} | metrics(table)


def metrics(table: pa.Table) -> dict[str, float]:
    """Of a scores table: AUROC, average precision and EER, by frame and by video."""
    numbers = {}
    for level in ("frame", "video"):
        found = units(table, level)
        for name, metric in METRICS.items():
            numbers[f"{level}_{name}"] = metric(found.label, found.score)
    return numbers


def rows(recipe: DetectionRecipe, data: Path, spec: InputSpec) -> DetectionRows:
    """Raises: UnmaskError for filters that leave nothing of a class, and where leakage groups stand on both sides."""
    table = table_of(data, spec)
    train, validate = masks(table, recipe, frames=spec.frames)
    label = table["label"].fill_null(-1).to_numpy()
    for name, mask in (("train", train), ("validate", validate)):
        held = set(np.unique(label[mask]))
        if recipe.forge and name == "train" and 0 in held:
            held.add(1)  # forgeries of its real rows come on top
        if held != {0, 1}:
            raise RecipeError(
                f"data.{name} must leave real and forged rows of {data}: it leaves {int(mask.sum())} rows"
            )
    apart(table, train, validate)
    faces = set_of(
        data,
        spec,
        train,
        transform=transform(recipe.transforms),
        views=[transform(view) or transforms.Chain(()) for view in recipe.views],
        masks=recipe.masks,
        points=recipe.points,
        training=True,
    )
    return DetectionRows(recipe, _forged(faces, recipe), set_of(data, spec, validate))


def _forged(faces: FaceSet, recipe: DetectionRecipe) -> FaceSet | ForgedSet:
    if not recipe.forge:
        return faces
    if faces.spec.margin == 0:
        raise RecipeError("forge makes forgeries of faces, and this detector looks at whole images: leave it out")
    if faces.spec.frames > 1:
        raise RecipeError(f"{recipe.method} looks at windows of frames, and forge makes single ones: leave out forge")
    if recipe.sampler.name == "paired" and recipe.sampler.every == "real":
        raise RecipeError("with forge, epochs by real crops would differ in length: leave out sampler.every")
    if recipe.sampler.name == "grouped" and any(one.share < 1 for one in recipe.forge.values()):
        raise RecipeError("groups want every real crop forged, or epochs would differ in length: give shares of 1")
    shares = {name: one.share for name, one in recipe.forge.items()}
    options = {name: one.options for name, one in recipe.forge.items()}
    return ForgedSet(faces, shares, options, landmarker(recipe.landmarks))
