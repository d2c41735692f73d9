"""The second question: was this picture generated as a whole, or passed through a generator's decoder?

It is asked of every image, with faces or without, at its own resolution (`unmask.tiling`), and of a few frames of a
video. Tiles of one frame become one log-odds by their mean, frames of a video too; then the verdict is reached as that
on a face is.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from unmask.bundles import Scorer
from unmask.bundles.calibration import log_odds, probability
from unmask.scanning import checks
from unmask.scanning.evidence import note, piece
from unmask.scanning.person import Judge, Seen
from unmask.scanning.verdict import Verdict, weight
from unmask.tiling import inputs
from unmask.types import DetectorInfo, Evidence, Face, Floats, Frame, FrameScore, Pixels, Settings, WholeReport

FRAMES = 8  # of a video, evenly spaced among those that are looked at
NOWHERE = np.zeros((0, 2), np.float32)


@dataclass(frozen=True)
class WholeImages:
    """What answers the question."""

    scorer: Scorer
    settings: Settings

    @property
    def detector(self) -> DetectorInfo:
        return DetectorInfo(name=self.scorer.card.name, weights_sha256=self.scorer.weights_sha256)

    def wants(self, number: int, expected: int) -> bool:
        """Whether the `number`-th frame that is looked at, from 0, of about so many, is one to judge."""
        return number % -(-expected // FRAMES) == 0

    def seen(self, frame: Frame) -> list[Seen]:
        """The tiles of a frame, and what the detector says of them."""
        tiles = inputs(frame.image, self.scorer.card.input)
        reading = self.scorer.read(tiles)
        said, distances = log_odds(reading.logits, self.scorer.card.classes), reading.features_distance
        height, width = frame.image.shape[:2]
        everything = Face(frame.index, frame.t, (0.0, 0.0, float(width), float(height)), NOWHERE, 1.0)
        far = [None] * len(tiles) if distances is None else [float(d) for d in distances]
        nowhere = np.zeros((2, 3), np.float32)  # no part of the frame was warped
        return [Seen(everything, nowhere, float(x), d, t) for x, d, t in zip(said, far, tiles, strict=True)]

    def report(
        self, tiles: Sequence[Seen], frames: int | None, doubts: Sequence[Evidence], *, pictures: bool
    ) -> tuple[WholeReport, tuple[Evidence, ...]]:
        """The answer, and all that it rests on.

        Args:
            tiles: of one frame after the other, at least one.
            frames: that were judged of a video; None for an image.
            doubts: about the file, from frames that could not be read.
        """
        judge, whole = self._judge(), _by_frame(tiles)
        if why := self._small(whole) or judge.unfit(whole):  # as a face that is unfit has no part in its file's number
            verdict = Verdict("uncertain", reasons=(*why, note("no number is given")))
        else:
            verdict = judge.verdict(whole, 1, frames)
            verdict = judge.checked(verdict, tiles, 1) if self.settings.checks else verdict
            verdict = judge.seen(verdict, whole, None)
        looked = {"tiles": len(tiles), "frames": len(whole)}
        verdict = verdict.doubted(*doubts).beside(piece("tiles", judge.what, looked)).of(judge.what)
        thumbnail, heat = judge.pictures(verdict, tiles) if pictures else (None, None)
        report = WholeReport(
            state=verdict.state,
            score=verdict.score,
            low=verdict.low,
            high=verdict.high,
            likelihood_ratio=weight(self.scorer.card.calibration, verdict),
            reasons=verdict.texts,
            detector=self.detector,
            frames=tuple(self._frame(one, tiles) for one in whole),
            thumbnail=thumbnail,
            heat=heat,
        )
        return report, (*verdict.reasons, *verdict.measured)

    def failed(self, why: Sequence[str]) -> WholeReport:
        """Nothing could be read."""
        return WholeReport(state="failed", reasons=tuple(why), detector=self.detector)

    def _judge(self) -> Judge:
        card = self.scorer.card
        assert card.calibration is not None  # `ready` refuses bundles without one
        about = (card.calibration, card.ood_threshold, self._margins, self.settings)
        return Judge(*about, "picture", explanation=card.explanation)

    def _margins(self, tiles: Pixels) -> Floats:
        return log_odds(self.scorer.logits(tiles), self.scorer.card.classes)

    def _small(self, whole: Sequence[Seen]) -> list[Evidence]:
        """A reason where the picture does not fill a tile."""
        spec = self.scorer.card.input
        least = max(spec.size if spec.tiles else 0, int(checks.TINY))
        x0, y0, x1, y1 = whole[0].face.box
        side = int(min(x1 - x0, y1 - y0))
        return [piece("short_side", "picture", {"pixels": side, "least": least})] if side < least else []

    def _frame(self, one: Seen, tiles: Sequence[Seen]) -> FrameScore:
        calibration = self.scorer.card.calibration
        assert calibration is not None
        count = sum(tile.face.frame == one.face.frame for tile in tiles)
        score = probability(calibration, one.margin)
        return FrameScore(t=round(one.face.t, 4), frame=one.face.frame, tiles=count, score=score)


def _by_frame(tiles: Sequence[Seen]) -> list[Seen]:
    """One sighting a frame: the means of its tiles."""
    found = []
    for _, group in groupby(tiles, key=lambda tile: tile.face.frame):
        some = list(group)
        far = [tile.distance for tile in some if tile.distance is not None]
        margin = float(np.mean([tile.margin for tile in some]))
        found.append(Seen(some[0].face, some[0].matrix, margin, float(np.mean(far)) if far else None, None))
    return found
