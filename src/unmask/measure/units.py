"""From crops to what is judged: frames, people of a video, or clips. Arrays from a scores table."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from unmask.errors import InputError
from unmask.measure.pooling import Rule, combined, pool

Level = Literal["frame", "track", "video"]
_ARRAYS = ("label", "score", "probability", "group", "dataset", "method", "compression", "media")


@dataclass(frozen=True)
class Units:
    """N things that are judged, each with one score. All arrays (N,).

    Attributes:
        score: pooled raw logit, higher = more fake.
        probability: mean calibrated P(fake); NaN where a crop has none.
        media: the video or image; with the columns beside it, it names the unit.
        failed: how many units have no scored crop at all: they are left out here, and told in the table.
    """

    label: NDArray[np.int64]
    score: NDArray[np.float64]
    probability: NDArray[np.float64]
    group: NDArray[Any]
    dataset: NDArray[Any]
    method: NDArray[Any]
    compression: NDArray[Any]
    media: NDArray[Any]
    failed: int = 0

    def __len__(self) -> int:
        return len(self.label)

    def __getitem__(self, keep: NDArray[Any]) -> Units:
        return replace(self, **{name: getattr(self, name)[keep] for name in _ARRAYS})


def units(table: pa.Table, level: Level = "video", pooling: str = "mean", frames: int | None = None) -> Units:
    """Scored crops pooled by (data set, method, compression, video[, track or frame]): equal video names stay apart.

    Args:
        table: of `measure.scores`, labelled rows only.
        pooling: "mean", "median", "max", or "top 5", the mean of the five highest.
        frames: at most so many frames of a video, evenly spaced among its scored ones.
    Raises: UnmaskError for a video whose rows disagree on the label or the leakage group.
    """
    table = table.set_column(table.column_names.index("track"), "track", pc.fill_null(table["track"], -1))
    table = table.set_column(table.column_names.index("frame"), "frame", pc.fill_null(table["frame"], -1))
    columns = ["dataset", "method", "compression", "media_id"]
    columns += {"video": [], "track": ["track"], "frame": ["frame", "track"]}[level]
    for name in ("method", "compression"):
        table = table.set_column(table.column_names.index(name), name, pc.fill_null(table[name], ""))
    before = combined([table[c] for c in columns])[1]
    table = table.filter(pc.is_valid(table["score"]))
    if frames is not None:
        table = table.filter(pa.array(_spread(table, frames)))
    ids = [table[c] for c in columns]
    score, label = table["score"].to_numpy(), table["label"].to_numpy()
    rule, _, top = pooling.partition(" ")
    pooled = pool(label, score, ids, cast("Rule", rule), int(top or 1))
    said = pc.fill_null(table["probability"], 0.0).to_numpy()
    unsaid = pool(label, pc.is_null(table["probability"]).to_numpy().astype(float), ids, "max").score > 0
    probability = np.where(unsaid, np.nan, pool(label, said, ids).score)

    def text(name: str) -> NDArray[Any]:
        return np.asarray(table[name].to_pylist(), str)

    group, code = text("group_id"), combined(ids)[0]
    if (clash := group != group[pooled.first][code]).any():
        name = text("item_id")[clash][0]
        raise InputError(f"{name!r} and other rows of its video disagree on the leakage group: mend the manifest")
    label = pooled.label.astype(np.int64)
    dataset, method, compression, media = (text(n)[pooled.first] for n in columns[:4])
    return Units(
        label,
        pooled.score,
        probability,
        group[pooled.first],
        dataset,
        method,
        compression,
        media,
        failed=before - len(label),
    )


def joined(first: Units, second: Units) -> Units:
    """The units of two tables, one after the other."""
    arrays = {name: np.concatenate([getattr(first, name), getattr(second, name)]) for name in _ARRAYS}
    return Units(**arrays, failed=first.failed + second.failed)


def pairing(found: Units, original: dict[str, str], kind: Literal["all", "paired", "unpaired"]) -> Units:
    """Keeps forgeries with their own originals, or never both sides.

    Args:
        original: video of a forgery -> video of its untouched original.
    """
    if kind == "all":
        return found
    there = {m for m, y in zip(found.media, found.label, strict=True) if not y}
    of = [original.get(m, "") if y else m for m, y in zip(found.media, found.label, strict=True)]
    both = {o for o, y in zip(of, found.label, strict=True) if y and o in there}
    if kind == "paired":
        return found[np.array([o in both for o in of], bool)]
    sides = {o: hashlib.sha256(o.encode()).digest()[0] & 1 for o in both}
    return found[np.array([o not in both or sides[o] == y for o, y in zip(of, found.label, strict=True)], bool)]


def pair_order(found: Units, original: dict[str, str]) -> NDArray[np.float64]:
    """For each forgery with its original: 1 where it scores higher, 1/2 at a tie, else 0; NaN for all other units."""
    real = {m: s for m, y, s in zip(found.media, found.label, found.score, strict=True) if not y}
    order = np.full(len(found), np.nan)
    for i in np.flatnonzero(found.label == 1):
        twin = real.get(original.get(found.media[i], ""))
        if twin is not None:
            order[i] = 0.5 * (1 + np.sign(found.score[i] - twin))
    return order


def _spread(table: pa.Table, frames: int) -> NDArray[np.bool_]:
    """Rows of at most `frames` frames of each video, evenly spaced; of one, the middle."""
    clip = combined([table[c] for c in ("dataset", "method", "compression", "media_id")])[0]
    frame = table["frame"].to_numpy()
    keep = np.zeros(len(clip), bool)
    for rows in np.split(np.argsort(clip, kind="stable"), np.cumsum(np.bincount(clip))[:-1]) if len(clip) else ():
        there = np.unique(frame[rows])
        n = min(frames, len(there))
        keep[rows] = np.isin(frame[rows], there[((np.arange(n) + 0.5) * len(there) / n).astype(int)])
    return keep
