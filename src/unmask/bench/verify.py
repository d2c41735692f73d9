"""How well an encoder tells whether two faces are one person: LFW's protocol, beside raw pixels as the baseline."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from statistics import fmean, stdev
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from unmask.base.objective import Objective
from unmask.base.predict import to_tensor
from unmask.bench.scoring import BATCH, crops_of
from unmask.bundles.embedding import ARCFACE, read_embedder
from unmask.data.fitting import check, fit
from unmask.data.manifest import Manifest
from unmask.errors import CheckpointError, InputError, ManifestError
from unmask.measure.embeddings import unit
from unmask.measure.interval import Interval, clopper_pearson
from unmask.measure.metrics import auroc, eer
from unmask.measure.verification import verify
from unmask.train.loop import restored
from unmask.train.run import RECIPE
from unmask.types import Floats, InputSpec, Pixels

FOLDS = 10
FARS = (1e-3, 1e-2)
PIXELS = "raw pixels"
SIDE = 16  # of the baseline's grey images
Longs = NDArray[np.int64]


@dataclass(frozen=True)
class Pairs:
    """P pairs of rows: `first` and `second` (P,), whether they show the `same` person, and their `fold`."""

    first: Longs
    second: Longs
    same: NDArray[np.bool_]
    fold: Longs


@dataclass(frozen=True)
class Val:
    """Share of same pairs accepted where at most `target` of different ones were, on other folds; and what happened.

    `realised`: share of different pairs that were accepted, with its exact interval.
    """

    target: float
    val: Interval
    realised: Interval
    accepted: int


@dataclass(frozen=True)
class Verified:
    """One encoder on these pairs."""

    name: str
    version: str
    accuracy: Interval
    vals: tuple[Val, ...]
    auroc: float
    eer: float


@dataclass(frozen=True)
class Verification:
    """Encoder and baseline, and what they rest on."""

    data: str
    images: int
    people: int
    same: int
    different: int
    folds: int
    protocol: str
    found: tuple[Verified, ...]


def run(
    encoder: str,
    manifest: Path,
    *,
    pairs: Path | None = None,
    bare: InputSpec = ARCFACE,
    flip: bool = False,
    seed: int = 0,
    progress: Callable[[int], None] | None = None,
) -> Verification:
    """
    Args:
        encoder: an embedding bundle, an ONNX file, or a run folder of a pre-training objective.
        manifest: of faces; `identity` says whose they are.
        pairs: LFW's pairs.txt; None = ten folds of disjoint people are drawn by the seed.
        bare: of an ONNX file: the crop that it takes, and its normalisation.
        flip: embed the mirrored image too, and compare both side by side.
    Raises: UnmaskError for a manifest without identities, pairs whose images are not there, and crops that do not
        fit.
    """
    name, version, spec, embed = _encoder(encoder, bare)
    opened = Manifest(manifest)
    rows, identity = _rows(opened)
    chosen = drawn(identity, seed=seed) if pairs is None else listed(pairs.read_text("utf-8"), _stems(rows))
    used = np.unique(np.concatenate([chosen.first, chosen.second]))
    z, grey = _embedded(embed, spec, opened, [rows[i] for i in used.tolist()], flip, progress)
    first, second = (np.searchsorted(used, side) for side in (chosen.first, chosen.second))
    found = [_verified(n, v, x, first, second, chosen) for n, v, x in ((name, version, z), (PIXELS, "", grey))]
    return Verification(
        data=opened.digest,
        images=len(used),
        people=len(set(identity[used].tolist())),
        same=int(chosen.same.sum()),
        different=int((~chosen.same).sum()),
        folds=len(np.unique(chosen.fold)),
        protocol=f"pairs of {pairs.name}" if pairs else f"drawn by seed {seed}, folds of disjoint people",
        found=tuple(found),
    )


def drawn(identity: NDArray[np.str_], folds: int = FOLDS, most: int = 300, seed: int = 0) -> Pairs:
    """Ten folds of disjoint people; in each all pairs of one person up to `most`, and as many of two, by chance.

    Raises: UnmaskError where a fold would have no pair of one person.
    """
    rng = np.random.default_rng(seed)
    names, code, count = np.unique(identity, return_inverse=True, return_counts=True)
    # People with several images are dealt first, so that each fold has its share of them.
    order = np.lexsort((rng.random(len(names)), -np.minimum(count, 2)))
    fold_of = np.empty(len(names), np.int64)
    fold_of[order] = np.arange(len(names)) % folds
    parts = []
    for fold in range(folds):
        rows = np.flatnonzero(fold_of[code] == fold)
        i, j = np.triu_indices(len(rows), 1)
        first, second = rows[i], rows[j]
        same = code[first] == code[second]
        n = min(most, int(same.sum()), int((~same).sum()))
        if not n:
            raise InputError(
                f"{folds} folds of disjoint people need more people with two images or more: fold {fold} has none"
            )
        kept = np.concatenate([rng.permutation(np.flatnonzero(of))[:n] for of in (same, ~same)])
        parts.append((first[kept], second[kept], same[kept], np.full(len(kept), fold)))
    return Pairs(*(np.concatenate(column) for column in zip(*parts, strict=True)))


def listed(text: str, stems: dict[str, int]) -> Pairs:
    """LFW's pairs.txt: "folds TAB pairs", then "name n m" for one person and "name n other m" for two, fold by fold.

    Args:
        stems: "Name_0001" -> row.
    Raises: UnmaskError for a file of another form, and images that are not there: no pair is dropped silently.
    """
    lines = [line.split("\t") for line in text.splitlines() if line.strip()]
    head = [int(n) for n in lines[0] if n.isdigit()] if lines else []
    if len(head) != 2 or len(lines) - 1 != head[0] * head[1] * 2:
        raise InputError(
            "this is no pairs.txt of LFW: its first line says how many folds, and how many pairs of each kind"
        )
    wanted = []
    for number, line in enumerate(lines[1:]):
        fold = number // (2 * head[1])
        if len(line) == 3:
            wanted.append((f"{line[0]}_{int(line[1]):04d}", f"{line[0]}_{int(line[2]):04d}", True, fold))
        else:
            wanted.append((f"{line[0]}_{int(line[1]):04d}", f"{line[2]}_{int(line[3]):04d}", False, fold))
    missing = sorted({stem for one, other, *_ in wanted for stem in (one, other)} - stems.keys())
    if missing:
        raise InputError(
            f"{len(missing)} images of the pairs are not in the manifest, {missing[0]} the first: extract all of them, "
            "or leave out --pairs"
        )
    first, second, same, fold_of = zip(*wanted, strict=True)
    one, other = (np.array([stems[s] for s in side], np.int64) for side in (first, second))
    return Pairs(one, other, np.array(same, bool), np.array(fold_of, np.int64))


def over_folds(values: Sequence[float], level: float = 0.95) -> Interval:
    """Mean over independent folds, and Student's t interval of it."""
    from scipy.stats import t

    mean, n = fmean(values), len(values)
    half = float(t.ppf((1 + level) / 2, n - 1)) * stdev(values) / n**0.5
    return Interval(mean, mean - half, mean + half, level, "student-t", 0, n)


def _verified(name: str, version: str, z: NDArray[Any], first: Longs, second: Longs, pairs: Pairs) -> Verified:
    x = unit(z)
    distance = np.square(x[first] - x[second]).sum(1)
    vals = []
    for target in FARS:
        got = verify(pairs.same, distance, pairs.fold, target)
        vals.append(Val(target, over_folds(got.vals), clopper_pearson(got.accepted, got.different), got.accepted))
    return Verified(
        name,
        version,
        over_folds(got.accuracies),
        tuple(vals),
        auroc(pairs.same, -distance),
        eer(pairs.same, -distance),
    )


def _encoder(name: str, bare: InputSpec) -> tuple[str, str, InputSpec, Callable[[Pixels], Floats]]:
    """Name, version, the crop that it takes, and how it embeds."""
    if not (Path(name) / RECIPE).is_file():
        embedder = read_embedder(Path(name), bare)
        return embedder.card.name, embedder.card.sha256, embedder.card.input, embedder
    import torch

    method, recipe = restored(Path(name))
    if not isinstance(method, Objective):
        raise CheckpointError(f"{name} trained a detector, which embeds no faces: give a run of task: pretraining")

    def embed(crops: Pixels) -> Floats:
        with torch.inference_mode():
            return np.asarray(method(to_tensor(crops)).numpy(), np.float32)

    return recipe.name, "", method.input, embed


def _rows(manifest: Manifest) -> tuple[list[dict[str, Any]], NDArray[np.str_]]:
    """Rows that have a crop and an identity, and whose they are. Raises: UnmaskError where there are none."""
    if manifest.kind != "faces":
        raise ManifestError(f"{manifest.path} lists media, not faces: run `unmask data extract` first")
    columns = ["item_id", "media_id", "dataset", "identity", "relpath", "reason", "margin", "template", "label"]
    rows = [r for r in manifest.table(columns).to_pylist() if not r["reason"] and r["identity"] and r["label"] != 1]
    if not rows:
        raise ManifestError(f"{manifest.path} has no real faces with an identity: fill that column when you index")
    return rows, np.array([f"{r['dataset']}/{r['identity']}" for r in rows], str)


def _stems(rows: Sequence[dict[str, Any]]) -> dict[str, int]:
    return {PurePosixPath(row["media_id"]).stem: n for n, row in enumerate(rows)}


def _embedded(
    embed: Callable[[Pixels], Floats],
    spec: InputSpec,
    manifest: Manifest,
    rows: Sequence[dict[str, Any]],
    flip: bool,
    progress: Callable[[int], None] | None,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """(N, D) embeddings, and the baseline's (N, SIDE SIDE) grey images, each less its mean."""
    found, grey = [], []
    for part in _parts(manifest, rows, spec):
        ways = [part, part[:, :, ::-1]] if flip else [part]
        found.append(np.concatenate([unit(embed(np.ascontiguousarray(way))) for way in ways], 1))
        small = [
            cv2.resize(cv2.cvtColor(c, cv2.COLOR_RGB2GRAY), (SIDE, SIDE), interpolation=cv2.INTER_AREA) for c in part
        ]
        flat = np.stack(small).reshape(len(part), -1).astype(np.float64)
        grey.append(flat - flat.mean(1, keepdims=True))
        if progress is not None:
            progress(len(part))
    return np.concatenate(found), np.concatenate(grey)


def _parts(manifest: Manifest, rows: Sequence[dict[str, Any]], spec: InputSpec) -> Iterator[Pixels]:
    coming = zip(rows, crops_of(manifest, rows), strict=True)
    while part := list(islice(coming, BATCH)):
        for row, _ in part:
            check(spec, row["margin"], row["template"], row["item_id"])
        yield np.stack([fit(crop, spec, row["margin"]) for row, crop in part])
