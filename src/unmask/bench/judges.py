"""Who judges crops: bundles, and the floor that is fitted on the spot. Their scores are kept under their hashes."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unmask.bundles import Scorer, load
from unmask.data.manifest import Manifest
from unmask.measure import scores
from unmask.measure.protocol import Mask
from unmask.measure.spectrum import radial_spectrum
from unmask.nouns import Pixels, UnmaskError
from unmask.train.scoring import Margins, by_bundle, chosen, crops_of, score_rows

FLOOR = "spectrum"
Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class Detector:
    """A row of the table: its name, the hash of all that its scores depend on, and how it scores."""

    name: str
    sha256: str
    judge: Margins


def judge_of(name: str, manifest: Manifest, table: pa.Table) -> Finished | Floor:
    """By the name that the command line has for it. Raises: UnmaskError for a recipe, or a bundle that is none."""
    if name == FLOOR:
        return Floor(manifest, table)
    if name.endswith((".yaml", ".yml")):
        raise UnmaskError(f"recipes are not trained here: train {name} first and give the path of its bundle")
    return Finished(load(name))


def scored(
    detector: Detector, manifest: Manifest, table: pa.Table, mask: Mask, cache: Path, progress: Progress | None = None
) -> pa.Table:
    """The scores of the stored crops of some rows, out of `cache` where they are there.

    Args:
        table: all columns of `manifest`. `mask`: (N,) over its rows.
    """
    key = key_of(detector, manifest.digest, "", table["item_id"].filter(pa.array(mask)).to_pylist())
    if (held := scores.cached(cache, key)) is not None:
        return held

    def advance(n: int) -> None:
        if progress:
            progress(detector.name, n)

    found = score_rows(detector.judge, manifest.path, where=lambda _: mask, progress=advance)
    scores.write(cache / key.file_name, found, key)
    return found


def key_of(detector: Detector, data: str, how: str, ids: Sequence[str]) -> scores.Key:
    """Of a scores table. `how`: what was done to the rows' files; `ids`: the rows."""
    return scores.Key(detector.name, detector.sha256, hashlib.sha256("\n".join((data, how, *ids)).encode()).hexdigest())


def same(what: str, expected: str, found: str) -> None:
    """Raises: UnmaskError where a hash that was asked for is not there; "" asks for nothing."""
    if expected and expected != found:
        raise UnmaskError(f"the {what} is not that of the table: expected {expected}, this is {found}")


def same_detectors(expected: Sequence[str], found: Sequence[str]) -> None:
    """As `same`, for all detectors of a table in their order."""
    if expected and tuple(expected) != tuple(found):
        raise UnmaskError(
            f"the detectors are not those of that table: expected {', '.join(expected)}, these are {', '.join(found)}"
        )


class Finished:
    """A bundle: the same scores whatever the protocol's training rows are."""

    def __init__(self, scorer: Scorer) -> None:
        self.scorer = scorer
        card = scorer.card
        said = "" if card.calibration is None else card.calibration.model_dump_json()
        parts = (scorer.weights_sha256, scorer.runtime, card.input.model_dump_json(), ",".join(card.classes), said)
        self.sha256 = hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def digest(self, trainings: Sequence[Mask]) -> str:
        return self.sha256

    def fit(self, train: Mask) -> Detector:
        return Detector(self.scorer.card.name, self.sha256, by_bundle(self.scorer))


class Floor:
    """A linear model on the radial power spectrum of the stored crops, fitted on the protocol's training rows.

    Its hash is that of what it is fitted on: the last digits of its coefficients differ between machines.
    """

    def __init__(self, manifest: Manifest, table: pa.Table) -> None:
        self.manifest, self.table = manifest, table
        self.fitted: dict[str, Detector] = {}

    def sha256(self, train: Mask) -> str:
        ids = np.asarray(self.table["item_id"].to_pylist(), str)[train]
        return hashlib.sha256("\n".join(["spectrum/1", self.manifest.digest, *sorted(ids)]).encode()).hexdigest()

    def digest(self, trainings: Sequence[Mask]) -> str:
        each = sorted({self.sha256(train) for train in trainings})
        return each[0] if len(each) == 1 else hashlib.sha256("\n".join(each).encode()).hexdigest()

    def fit(self, train: Mask) -> Detector:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        sha256 = self.sha256(train)
        if sha256 in self.fitted:
            return self.fitted[sha256]
        rows = [r for r in chosen(self.manifest, lambda _: train) if not r["reason"]]
        label = np.array([r["label"] for r in rows])
        if len(np.unique(label)) < 2:
            raise UnmaskError(
                "the spectrum floor needs training rows of both classes; this protocol's filters leave none"
            )
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        model.fit(np.stack([radial_spectrum(c) for c in crops_of(self.manifest, rows)]), label)

        def judge(crops: Sequence[Pixels], rows: Sequence[dict[str, Any]]) -> tuple[NDArray[np.float64], None]:
            return model.decision_function(np.stack([radial_spectrum(c) for c in crops])), None

        self.fitted[sha256] = Detector(FLOOR, sha256, judge)
        return self.fitted[sha256]
