"""Does an explanation point at the forged pixels: a detector's heat maps against the masks of a manifest."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.bundles import load
from unmask.bundles.calibration import log_odds
from unmask.data.fitting import fit
from unmask.data.loader import FaceSet
from unmask.data.manifest import Manifest
from unmask.errors import ManifestError
from unmask.measure.classes import Of, intervals
from unmask.measure.interval import Interval
from unmask.measure.localisation import overlap, pixel_auroc
from unmask.registry import FAMILIES
from unmask.types import Floats, InputSpec, Pixels

MARKED = 128  # of 255, from which on a pixel of a mask counts as forged
Values = NDArray[np.float64]
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Localisation:
    """Numbers over forgeries that have a mask, and what they rest on.

    Attributes:
        pixels: AUROC over the pixels of an image, mean over images, with its interval over leakage groups.
        centre: the same of a map that always points at the middle, where a face's forgery often is.
        iou, f1: at the threshold that marks as many pixels of an image as its mask does.
    """

    detector: str
    explainer: str
    data: str
    images: int
    groups: int
    pixels: Interval
    centre: Interval
    iou: Interval
    f1: Interval


def run(
    detector: str,
    manifest: Path,
    *,
    explainer: str = "occlusion",
    split: str = "test",
    most: int = 200,
    progress: Callable[[int], None] | None = None,
) -> Localisation:
    """
    Args:
        detector: a bundle. explainer: by name, see `unmask methods`.
        split: "all", or the split whose forgeries count; at most `most` of them, evenly.
    Raises: UnmaskError for a manifest without masks of its forgeries, and crops that do not fit.
    """
    scorer, method = load(detector), FAMILIES["explainer"].create(explainer)
    opened = Manifest(manifest)
    faces, group = _chosen(opened, scorer.card.input, split, most)

    def score(crops: Pixels) -> Floats:
        return log_odds(scorer.logits(crops), scorer.card.classes)

    masks, heats, groups = [], [], []
    for i, (crop, mask) in enumerate(_marked(faces)):
        if mask is None or not mask.any() or mask.all():
            continue
        heat = np.asarray(method(score, crop), np.float64)
        heats.append(np.asarray(cv2.resize(heat, mask.shape[::-1], interpolation=cv2.INTER_LINEAR), np.float64))
        masks.append(mask)
        groups.append(str(group[i]))
        if progress is not None:
            progress(1)
    if not masks:
        raise ManifestError(
            f"{manifest} has no forgery of the split {split!r} with a mask of its crop: extract faces with --mask, or "
            "forge some with `unmask data forge`"
        )
    return _counted(np.stack(masks), np.stack(heats), np.array(groups), (scorer.card.name, explainer, opened.digest))


def _chosen(manifest: Manifest, spec: InputSpec, split: str, most: int) -> tuple[FaceSet, NDArray[np.str_]]:
    """Forgeries with a mask, evenly, and the leakage group of each."""
    table = manifest.table(["label", "split", "mask_relpath", "group_id"])
    chosen = table["label"].fill_null(-1).to_numpy() == 1
    chosen &= np.array([bool(m) for m in table["mask_relpath"].to_pylist()], bool)
    if split != "all":
        chosen &= np.array([s == split for s in table["split"].to_pylist()], bool)
    there, kept = np.flatnonzero(chosen), np.zeros(len(chosen), bool)
    if len(there):
        kept[there[np.linspace(0, len(there) - 1, min(most, len(there))).round().astype(int)]] = True
    faces = FaceSet(manifest.path, spec, where=kept, masks=True)
    return faces, np.asarray(table["group_id"].to_pylist(), str)[faces.row]


def _marked(faces: FaceSet) -> Iterator[tuple[Pixels, Mask | None]]:
    """Crops, and which of their pixels were forged; None where there is no mask of the stored crop's size."""
    for i in range(len(faces)):
        stored, margin = faces.stored(i), float(faces.margin[i])
        mask = faces.stored_mask(i, stored.shape[0])
        crop = np.ascontiguousarray(fit(stored, faces.spec, margin))
        yield crop, None if mask is None else np.asarray(fit(mask, faces.spec, margin) >= MARKED, np.bool_)


def _counted(masks: Mask, heat: Values, group: NDArray[np.str_], about: tuple[str, str, str]) -> Localisation:
    side = masks.shape[1]
    y, x = np.mgrid[:side, :side]
    middle = -np.hypot(x - (side - 1) / 2, y - (side - 1) / 2)
    pairs = list(zip(masks, heat, strict=True))
    overlaps = [overlap(m[None], h[None], float(np.quantile(h, 1 - m.mean()))) for m, h in pairs]
    columns = {
        "pixels": np.array([pixel_auroc(m[None], h[None]) for m, h in pairs]),
        "centre": np.array([pixel_auroc(m[None], middle[None]) for m in masks]),
        "iou": np.array([o.iou[0] for o in overlaps]),
        "f1": np.array([o.f1[0] for o in overlaps]),
    }
    found = intervals({name: _mean(column) for name, column in columns.items()}, group)
    numbers = (found[name] for name in ("pixels", "centre", "iou", "f1"))
    return Localisation(*about, len(masks), len(np.unique(group)), *numbers)


def _mean(column: Values) -> Of:
    return lambda rows: float(np.nanmean(column[rows]))
