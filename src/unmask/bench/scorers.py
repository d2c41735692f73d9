"""Who judges crops, and what each score is kept under. Here: bundles, and the baseline that is fitted on the spot."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from unmask.bench.scoring import ScoreFunction, by_bundle, chosen, crops_of, score_rows
from unmask.bundles import Scorer
from unmask.data.manifest import Manifest
from unmask.errors import InputError, RecipeError
from unmask.measure import scores
from unmask.measure.protocol import Mask, Where
from unmask.measure.spectrum import radial_spectrum
from unmask.tiling import tiles
from unmask.types import Pixels

BASELINE = "spectrum"
Progress = Callable[[str, int], None]


@dataclass(frozen=True)
class FittedScorer:
    """What scores: its name, the hash of all that its scores depend on, how it scores, and how many frames together.

    `frames` is a function, so that scores that are kept need no weights.
    """

    name: str
    sha256: str
    scorer: ScoreFunction
    frames: Callable[[], int] = lambda: 1


@dataclass(frozen=True)
class Sides:
    """Which rows of the manifest, (N,) each, a detector may learn from, and which may choose its checkpoint.

    held_out: methods that it may not meet while it learns, so that no recipe makes such forgeries of its own either.
    """

    train: Mask
    validate: Mask
    held_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, table: pa.Table, test: Mask) -> Sides:
        """Those that the manifest calls "train", and of those that it calls "val" what is not tested on."""
        return cls(Where(split=("train",)).mask(table), Where(split=("val",)).mask(table) & ~test)


class Entry(Protocol):
    """A row of a table, before it is known what it learns from."""

    label: str

    def digest(self, sides: Sequence[Sides]) -> str:
        """sha256 of what it is, and of what it learns from in each column."""

    def fit(self, sides: Sides) -> tuple[FittedScorer, ...]:
        """Ready to score; one for each training."""

    def notes(self) -> tuple[str, ...]:
        """What a reader of the table must know of it."""


def scored(
    detector: FittedScorer,
    manifest: Manifest,
    table: pa.Table,
    mask: Mask,
    cache: Path,
    progress: Progress | None = None,
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

    frames = detector.frames()
    found = score_rows(detector.scorer, manifest.path, where=lambda _: mask, progress=advance, frames=frames)
    scores.write(cache / key.file_name, found, key)
    return found


def key_of(detector: FittedScorer, data: str, how: str, ids: Sequence[str]) -> scores.Key:
    """Of a scores table. `how`: what was done to the rows' files; `ids`: the rows."""
    return scores.Key(detector.name, detector.sha256, hashlib.sha256("\n".join((data, how, *ids)).encode()).hexdigest())


def expect(what: str, expected: str, found: str) -> None:
    """Raises: UnmaskError where a hash that was asked for is not there; "" asks for nothing."""
    if expected and expected != found:
        raise InputError(f"the {what} is not that of the table: expected {expected}, this is {found}")


def expect_detectors(expected: Sequence[str], found: Sequence[str]) -> None:
    """As `same`, for all detectors of a table in their order."""
    if expected and tuple(expected) != tuple(found):
        raise InputError(
            f"the detectors are not those of that table: expected {', '.join(expected)}, these are {', '.join(found)}"
        )


def combined(hashes: Sequence[str]) -> str:
    """One hash of several, whatever their order and however often each comes."""
    each = sorted(set(hashes))
    return each[0] if len(each) == 1 else hashlib.sha256("\n".join(each).encode()).hexdigest()


class BundleEntry:
    """A bundle: the same scores whatever the protocol's training rows are."""

    def __init__(self, name: str, scorer: Scorer) -> None:
        self.label, self.scorer = name, scorer
        card = scorer.card
        said = "" if card.calibration is None else card.calibration.model_dump_json()
        spec = card.input.model_dump_json(exclude=None if card.input.tiles else {"tiles", "reduce"})  # younger keys
        parts = (scorer.weights_sha256, scorer.runtime, spec, ",".join(card.classes), said)
        self.sha256 = hashlib.sha256("\n".join(parts).encode()).hexdigest()

    def digest(self, sides: Sequence[Sides]) -> str:
        return self.sha256

    def fit(self, sides: Sides) -> tuple[FittedScorer, ...]:
        frames = self.scorer.card.input.frames
        return (FittedScorer(self.scorer.card.name, self.sha256, by_bundle(self.scorer), lambda: frames),)

    def notes(self) -> tuple[str, ...]:
        return ()


SQUARE = 256  # pixels of a whole image, from its middle, that the spectrum baseline looks at


def _spectra(images: Sequence[Pixels], rows: Sequence[dict[str, Any]]) -> NDArray[np.float64]:
    """(N, bins): of a crop of a face as it is; of a whole image the middle, at its own resolution."""
    squares = (i if r["margin"] is not None else tiles(i, SQUARE, 1)[0] for i, r in zip(images, rows, strict=True))
    return np.stack([radial_spectrum(square) for square in squares])


class SpectrumBaseline:
    """A linear model on the radial power spectrum of the stored crops, fitted on the protocol's training rows.

    Its hash is that of what it is fitted on: the last digits of its coefficients differ between machines.
    """

    def __init__(self, manifest: Manifest, table: pa.Table) -> None:
        self.label, self.manifest, self.table = BASELINE, manifest, table
        self.fitted: dict[str, FittedScorer] = {}

    def sha256(self, train: Mask) -> str:
        ids = np.asarray(self.table["item_id"].to_pylist(), str)[train]
        return hashlib.sha256("\n".join(["spectrum/1", self.manifest.digest, *sorted(ids)]).encode()).hexdigest()

    def digest(self, sides: Sequence[Sides]) -> str:
        return combined([self.sha256(one.train) for one in sides])

    def fit(self, sides: Sides) -> tuple[FittedScorer, ...]:
        sha256 = self.sha256(sides.train)
        if sha256 not in self.fitted:
            self.fitted[sha256] = FittedScorer(BASELINE, sha256, self._scorer(sides.train))
        return (self.fitted[sha256],)

    def _scorer(self, train: Mask) -> ScoreFunction:
        """Fitted when it is first asked: scores that are kept need no fit."""
        model: list[Any] = []

        def scorer(crops: Sequence[Pixels], rows: Sequence[dict[str, Any]]) -> tuple[NDArray[np.float64], None]:
            if not model:
                model.append(self._model(train))
            return model[0].decision_function(_spectra(crops, rows)), None

        return scorer

    def _model(self, train: Mask) -> Any:
        from sklearn.linear_model import LogisticRegression
        from sklearn.pipeline import make_pipeline
        from sklearn.preprocessing import StandardScaler

        rows = [r for r in chosen(self.manifest, lambda _: train) if not r["reason"]]
        label = np.array([r["label"] for r in rows])
        if len(np.unique(label)) < 2:
            raise RecipeError(
                "the spectrum baseline needs training rows of both classes; this protocol's filters leave none"
            )
        model, crops = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)), crops_of(self.manifest, rows)
        return model.fit(np.concatenate([_spectra([c], [r]) for c, r in zip(crops, rows, strict=True)]), label)

    def notes(self) -> tuple[str, ...]:
        return ()
