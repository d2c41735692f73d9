"""One person, followed through a file: what was seen, and the verdict on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from unmask.bundles.calibration import probability
from unmask.registry import create
from unmask.scanning import checks, overlay, traces
from unmask.scanning.evidence import piece
from unmask.scanning.regions import hidden, in_crop, regions
from unmask.scanning.verdict import Verdict, face_verdict
from unmask.types import (
    Calibration,
    Card,
    Evidence,
    Explanation,
    Face,
    FaceReport,
    Fact,
    Floats,
    Pixels,
    Sample,
    Settings,
    Traces,
)


@dataclass(frozen=True)
class Seen:
    """One face in one frame, or one window of frames, and what the detector said of it."""

    face: Face
    matrix: Floats  # (2, 3): frame pixels -> crop pixels
    margin: float
    distance: float | None  # from the training features
    image: Pixels | None  # the crop, where it was kept; of a video detector the window (T, size, size, 3)
    logits: Floats | None = None  # (K,)


@dataclass(frozen=True)
class Judge:
    """What turns sightings into verdicts.

    `margins`: uint8 crops (N, size, size, 3), or windows, -> (N,) logit(fake) - logit(real).
    `length`: frames of a sighting: 1, or those of a video detector's window.
    """

    calibration: Calibration
    ood_threshold: float | None
    margins: Callable[[Pixels], Floats]
    settings: Settings
    what: str = "face"  # "picture" where the whole of it is looked at
    length: int = 1
    card: Card | None = None  # of a bundle that may say what made an image
    explanation: Explanation | None = None  # unless it localises, no map is drawn

    def unfit(self, seen: Sequence[Seen]) -> list[Evidence]:
        """Why one person cannot be judged, or nothing."""
        return checks.unfit(self._fitness(seen))

    def _fitness(self, seen: Sequence[Seen]) -> list[Evidence]:
        sides = np.array([s.face.side for s in seen], np.float32)
        distances = np.array([s.distance for s in seen if s.distance is not None], np.float32)
        return checks.fitness(sides, distances if len(distances) else None, self.ood_threshold, self.what)

    def verdict(self, seen: Sequence[Seen], k: int, frames: int | None) -> Verdict:
        """On one person among k that count, with the reasons for doubt from how it was seen in so many `frames`."""
        margins = np.array([s.margin for s in seen], np.float32)
        verdict = face_verdict(self.calibration, margins, self.settings.error_rate, k)
        doubts = checks.seldom(len(seen) * self.length, frames, self.what) + checks.turned(
            [s.face.turned for s in seen]
        )
        fitness = self._fitness(seen)
        against = checks.unfit(fitness)
        fit = [one for one in fitness if one not in against and (one.kind, self.what) != ("size", "picture")]
        return verdict.doubted(*doubts).unfit(*against).beside(*fit)

    def checked(self, verdict: Verdict, seen: Sequence[Seen], k: int) -> Verdict:
        """The verdict after mild changes of the crops; a verdict that is not decided has nothing to lose by them."""
        kept = [s for s in seen if s.image is not None]
        if verdict.state not in ("fake", "real") or not kept:
            return verdict
        chosen = [kept[i] for i in checks.evenly(len(kept), max(1, checks.CROPS_CHECKED // self.length))]
        crops = np.stack([s.image for s in chosen if s.image is not None])
        before = float(np.mean([s.margin for s in chosen]))
        after = self.margins(np.concatenate([checks.changed(crops, how) for how in checks.CHANGES]))
        means = after.reshape(len(checks.CHANGES), len(chosen)).mean(axis=1)
        shifts = {how: float(mean) - before for how, mean in zip(checks.CHANGES, means, strict=True)}
        x = float(np.mean([s.margin for s in seen]))
        turns = checks.unstable(self.calibration, x, shifts, self.settings.error_rate, k)
        return verdict.doubted(*turns).beside(*checks.stable(self.calibration, x, shifts, turns))

    def seen(self, verdict: Verdict, seen: Sequence[Seen], frames: int | None) -> Verdict:
        """The verdict with what was seen of one face, in so many `frames` of a video; None for an image."""
        measured = self._probability(verdict)
        if found := self._traces(seen):
            measured.append(traces.evidence(found, self.what))
        if frames is not None:
            measured += self._course(seen, frames)
        return verdict.beside(*measured)

    def _course(self, seen: Sequence[Seen], frames: int) -> list[Evidence]:
        """Where in a video one face was seen, and how its score went."""
        times, scores = [s.face.t for s in seen], [probability(self.calibration, s.margin) for s in seen]
        high, low = int(np.argmax(scores)), int(np.argmin(scores))
        stretch: dict[str, Fact] = {"seen": len(seen) * self.length, "frames": frames}
        course: dict[str, Fact] = {
            "above": sum(p >= 0.5 for p in scores),
            "looks": len(scores),
            "unit": "frames" if self.length == 1 else f"windows of {self.length} frames",
            "highest": scores[high],
            "highest_at": times[high],
            "lowest": scores[low],
            "lowest_at": times[low],
        }
        return [
            piece("seen", self.what, stretch | {"first": min(times), "last": max(times)}),
            piece("frames", self.what, course),
        ]

    def _probability(self, verdict: Verdict) -> list[Evidence]:
        if verdict.score is None or verdict.low is None or verdict.high is None:
            return []
        facts = {"score": verdict.score, "low": verdict.low, "high": verdict.high}
        return [piece("probability", self.what, facts)]

    def region(self, verdict: Verdict, seen: Sequence[Seen]) -> Verdict:
        """The verdict with the part of the face that the most telling crop's score rests on most."""
        telling = self.telling(verdict, seen)
        if telling is None or telling.image is None or self.length > 1 or len(telling.face.points) < 5:
            return verdict
        masks = regions(in_crop(telling.face.points, telling.matrix), telling.image.shape[0])
        scores = [probability(self.calibration, float(x)) for x in self.margins(hidden(telling.image, masks))]
        before = probability(self.calibration, telling.margin)
        most = int(np.argmax([abs(score - before) for score in scores]))
        names = list(masks)
        facts: dict[str, Fact] = {"regions": checks.listed(names), "region": names[most]}
        facts |= {"before": before, "after": scores[most]}
        return verdict.beside(piece("region", self.what, facts))

    def report(self, track: int, verdict: Verdict, seen: Sequence[Seen], *, pictures: bool) -> FaceReport:
        """What is written down about one person; with `pictures`, also its most telling crop, and the heat over it
        where the detector's maps were measured to point at forgeries."""
        thumbnail, heated = self.pictures(verdict, seen) if pictures else (None, None)
        return FaceReport(
            track=track,
            state=verdict.state,
            score=verdict.score,
            low=verdict.low,
            high=verdict.high,
            reasons=verdict.texts,
            counted=verdict.counted,
            samples=tuple(self._sample(s) for s in seen),
            traces=self._traces(seen),
            thumbnail=thumbnail,
            heat=heated,
        )

    def pictures(self, verdict: Verdict, seen: Sequence[Seen]) -> tuple[bytes | None, bytes | None]:
        """The most telling crop and the heat over it, as JPEG, where a crop was kept and maps point at forgeries."""
        found = self.telling(verdict, seen)
        if found is None or found.image is None:
            return None, None
        telling, towards_fake = found.image, _towards_fake(verdict)
        if self.length > 1:  # 64 more windows to score would take longer than the scan
            return overlay.jpeg(telling[self.length // 2]), None
        if self.explanation is None or not self.explanation.localises:
            return overlay.jpeg(telling), None
        heat = create("explainer", self.explanation.explainer)(self.margins, telling, towards_fake=towards_fake)
        return overlay.jpeg(telling), overlay.jpeg(overlay.overlay(telling, heat))

    def telling(self, verdict: Verdict, seen: Sequence[Seen]) -> Seen | None:
        """What speaks most for the verdict's side, of those whose crop was kept."""
        kept = [s for s in seen if s.image is not None]
        return max(kept, key=lambda s: s.margin if _towards_fake(verdict) else -s.margin, default=None)

    def _traces(self, seen: Sequence[Seen]) -> Traces | None:
        logits = [s.logits for s in seen if s.logits is not None]
        if self.card is None or not logits:
            return None
        distances = [s.distance for s in seen if s.distance is not None]
        distance = float(np.mean(distances)) if distances else None
        return traces.traces_of(self.card, np.mean(logits, axis=0), distance, self.settings.error_rate)

    def _sample(self, seen: Seen) -> Sample:
        x0, y0, x1, y1 = (round(v, 1) for v in seen.face.box)
        a, b = ((float(r[0]), float(r[1]), float(r[2])) for r in seen.matrix.tolist())
        return Sample(
            t=round(seen.face.t, 4),
            frame=seen.face.frame,
            box=(x0, y0, x1, y1),
            points=tuple((round(float(x), 1), round(float(y), 1)) for x, y in seen.face.points),
            matrix=(a, b),
            found=round(seen.face.score, 4),
            score=probability(self.calibration, seen.margin),
            frames=self.length,
        )


def _towards_fake(verdict: Verdict) -> bool:
    return verdict.score is not None and verdict.score >= 0.5
