"""One file, from its bytes to its FileReport: open, decode, detect, align, score, check, judge.

Frames stream: each is searched, its faces are cut out, and it is let go. What stays are crops of known size and number.
A video detector looks at windows of frames in a row instead: those of one window are held until its faces are cut out.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np

from unmask.bundles import Scorer
from unmask.bundles.calibration import log_odds
from unmask.errors import BundleError, UnmaskError
from unmask.faces import FaceDetector, FaceSearch, crop, track
from unmask.faces.track import thumb
from unmask.faces.window import windows
from unmask.media import Limits, MediaError, open_media
from unmask.scanning import checks, closer
from unmask.scanning.ahead import ahead
from unmask.scanning.beside import Fused, opinion
from unmask.scanning.evidence import note, once, piece
from unmask.scanning.gathered import (
    FACES_PER_FRAME,
    Gathered,
    Look,
    brief,
    least,
    of_file,
    remarks,
    too_short,
)
from unmask.scanning.person import Judge, Seen
from unmask.scanning.sheet import sheet, small
from unmask.scanning.verdict import Verdict, file_state, file_verdict, weight
from unmask.scanning.whole import WholeImages
from unmask.types import (
    Card,
    Crop,
    DetectorInfo,
    Evidence,
    Face,
    FaceReport,
    FileReport,
    Floats,
    Frame,
    Media,
    MediaInfo,
    Pixels,
    Settings,
    Unread,
    WholeReport,
)

BATCH = 16  # crops that wait for being scored together
FEWEST_WINDOWS = 4  # of a video, where a detector looks at windows of frames, however few frames were asked for
KEPT_FRAMES = 64  # frames whose crops stay for checks and images, evenly spaced; of the others only numbers stay


class Clock:
    """Wall seconds by stage. Decoding runs beside the other stages, so that the stages may add up to more than all."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._start = time.perf_counter()

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start

    def all(self) -> dict[str, float]:
        return {stage: round(s, 4) for stage, s in self.seconds.items()} | {
            "all": round(time.perf_counter() - self._start, 4)
        }


@dataclass(frozen=True)
class Scanner:
    """A detector, a face detector and the settings, made ready for any number of files.

    Attributes:
        scorer: of faces; where these are not asked about, that of `whole`.
        face_detector: None where faces are not asked about.
        whole: of whole images; None where it is not asked whether an image was generated as a whole.
        others: of further detectors, whose answers stand beside these.
        fusion: what makes one number of the answers of all detectors.
        pictures: also make the thumbnail of each face, and the heat map where the detector's maps point at forgeries.
    """

    scorer: Scorer
    face_detector: FaceDetector | None
    settings: Settings
    limits: Limits = Limits()
    allow_url: bool = False
    pictures: bool = False
    whole: Scorer | None = None
    others: tuple[Scanner, ...] = ()
    fusion: Fused | None = None

    @property
    def _whole(self) -> WholeImages | None:
        return WholeImages(self.whole, self.settings) if self.whole else None

    @property
    def length(self) -> int:
        """Frames that the detector looks at together."""
        return self.scorer.card.input.frames

    @property
    def detector(self) -> DetectorInfo:
        return DetectorInfo(name=self.scorer.card.name, weights_sha256=self.scorer.weights_sha256)

    def scan(self, source: str | Path | bytes) -> FileReport:
        """The report on one file or URL. What cannot be read is a state of the report, not an error."""
        clock = Clock()
        try:
            with clock("open"):
                media = open_media(source, limits=self.limits, allow_url=self.allow_url)
        except MediaError as error:
            name = "<bytes>" if isinstance(source, bytes) else str(source)
            return self.failed(name, str(error)).model_copy(update={"seconds_spent": clock.all()})
        return self.scan_media(media, clock)

    def scan_media(self, media: Media, clock: Clock | None = None) -> FileReport:
        """The report on an opened media file, for instance a camera's."""
        clock = clock or Clock()
        report = self._alone(media, clock)
        if not self.others:
            return report
        with clock("others"):
            others = tuple(opinion(other.scan_media(media)) for other in self.others)
        fused = self.fusion(opinion(report), others, self.settings.error_rate) if self.fusion else None
        return report.model_copy(update={"others": others, "fused": fused, "seconds_spent": clock.all()})

    def _alone(self, media: Media, clock: Clock) -> FileReport:
        """What this detector says, and that of whole images."""
        gathered = self._gather(media, clock)
        verdict, faces = self._judge(media, gathered, clock)
        whole, of_whole = self._judge_whole(gathered, verdict, clock)
        verdict = verdict.because(*map(note, media.notes))
        answers = [verdict.state] * (self.face_detector is not None) + ([whole.state] if whole else [])
        info = MediaInfo(
            kind=media.kind,
            format=media.format,
            width=media.width,
            height=media.height,
            seconds=media.seconds,
            fps=media.fps,
            frames_read=gathered.read,
            frames_failed=len(gathered.failed),
            interval=None if gathered.interval is None else round(gathered.interval, 4),
        )
        return FileReport(
            path=media.source,
            sha256=media.sha256,
            media=info,
            state=file_state(answers),
            face_state=verdict.state if self.face_detector else None,
            score=verdict.score,
            low=verdict.low,
            high=verdict.high,
            likelihood_ratio=weight(self.scorer.card.calibration, verdict),
            reasons=verdict.texts,
            rests_on=verdict.rests_on,
            detector=self.detector,
            provenance=media.provenance,
            faces=tuple(faces),
            whole=whole,
            evidence=once([*verdict.reasons, *verdict.measured, *of_whole, *of_file(verdict, media)]),
            seconds_spent=clock.all(),
            sheet=sheet(gathered.keys, faces),
        )

    def failed(self, path: str, why: str) -> FileReport:
        return FileReport(
            path=path,
            state="failed",
            face_state="failed" if self.face_detector else None,
            reasons=(why,),
            detector=self.detector,
            evidence=(note(why),),
            whole=self._whole.failed((why,)) if self._whole else None,
        )

    # --- frames -> sightings -----------------------------------------------------------------------------------------

    def _gather(self, media: Media, clock: Clock) -> Gathered:
        expected = max(1, min(self.settings.frames, media.total_frames or self.settings.frames))
        gathered = Gathered(still=media.kind == "image", expected=expected, length=self.length)
        search = FaceSearch(self.face_detector, still=media.kind == "image") if self.face_detector else None
        self._look(self._shown(media), search, gathered, clock)
        gathered.even = len(gathered.looks)
        if media.kind == "video" and media.seconds and gathered.even:
            gathered.interval = media.seconds / (gathered.even + len(gathered.failed) // self.length)
        if self.length > 1:  # frames in a row are each other's second look
            return gathered
        if search is not None and media.frames_at and gathered.interval and not gathered.broken:
            people = [[gathered.seen[id(face)] for face in one] for one in self._tracks(gathered)]
            again = closer.moments(people, gathered.even, gathered.interval, media.seconds or 0.0)
            if again:
                self._look(media.frames_at(again), search, gathered, clock)
                gathered.looks.sort(key=lambda look: look.frame)
        return gathered

    def _shown(self, media: Media) -> Iterator[Frame | Unread]:
        """Evenly spaced frames, or windows one after the other; none of a still, which shows no frames in a row."""
        if self.length == 1:
            return media.frames(self.settings.frames)
        count = max(FEWEST_WINDOWS, -(-self.settings.frames // self.length))
        return media.windows(count, self.length) if media.windows else iter(())

    def _look(
        self, frames: Iterator[Frame | Unread], search: FaceSearch | None, gathered: Gathered, clock: Clock
    ) -> None:
        """Finds and scores the faces of these frames; those that were looked at before are passed over."""
        pending, known = list[tuple[Crop, bool]](), {look.frame for look in gathered.looks}
        whole = self._whole
        keep_each = -(-max(self.settings.frames, FEWEST_WINDOWS * self.length) // KEPT_FRAMES)
        try:
            for items in together(ahead(_timed(frames, clock)), self.length):
                shown = [item for item in items if isinstance(item, Frame)]
                if len(shown) < self.length:
                    gathered.failed += [item.why for item in items if isinstance(item, Unread)]
                    continue
                middle = shown[self.length // 2]
                if middle.index in known:
                    continue
                crops = self._crops(shown, search, gathered, clock) if search else []
                if whole and not gathered.even and whole.wants(gathered.read, gathered.expected):
                    with clock("whole"):
                        gathered.tiles += whole.seen(middle)
                kept = len(gathered.looks) % keep_each == 0
                if self.pictures and not gathered.even and kept:
                    gathered.keys.append(small(middle, alone=gathered.still))
                pending += [(c, kept) for c in crops]
                thumbs = [thumb(c.image.reshape(-1, *c.image.shape[-3:])[self.length // 2]) for c in crops]
                gathered.looks.append(Look(middle.index, middle.t, [c.face for c in crops], thumbs))
                if len(pending) * self.length >= BATCH:
                    self._score(pending, gathered, clock)
                    pending.clear()
        except MediaError as error:
            gathered.broken = str(error)
        self._score(pending, gathered, clock)

    def _crops(self, frames: Sequence[Frame], search: FaceSearch, gathered: Gathered, clock: Clock) -> list[Crop]:
        """Of one frame, or of one window."""
        spec, frame = self.scorer.card.input, frames[len(frames) // 2]
        with clock("detect"):
            found = [sorted(search.find(one), key=lambda face: -face.side) for one in frames]
        gathered.left_out = max(gathered.left_out, max(map(len, found)) - FACES_PER_FRAME)
        crops = []
        with clock("align"):
            if len(frames) > 1:
                return [one.crop for one in windows(frames, [faces[:FACES_PER_FRAME] for faces in found], spec)]
            for face in found[0][:FACES_PER_FRAME]:
                try:
                    crops.append(crop(frame.image, face, spec))
                except UnmaskError:  # five points that span no face: a false detection
                    continue
        return crops

    def _score(self, pending: list[tuple[Crop, bool]], gathered: Gathered, clock: Clock) -> None:
        if not pending:
            return
        with clock("score"):
            reading = self.scorer.read(np.stack([c.image for c, _ in pending]))
        said, distances = log_odds(reading.logits, self.scorer.card.classes), reading.features_distance
        for i, (c, keep) in enumerate(pending):
            distance = None if distances is None else float(distances[i])
            gathered.seen[id(c.face)] = Seen(
                c.face, c.matrix, float(said[i]), distance, c.image if keep else None, reading.logits[i]
            )

    # --- sightings -> verdict ----------------------------------------------------------------------------------------

    def _judge(self, media: Media, gathered: Gathered, clock: Clock) -> tuple[Verdict, list[FaceReport]]:
        asides = remarks(gathered)
        if gathered.read == 0 and self.length > 1 and not (gathered.broken or gathered.failed):
            return Verdict("not_applicable", reasons=(note(too_short(media, self.length)),)), []
        if gathered.read == 0:
            why = gathered.broken or next(iter(gathered.failed), "it holds no frames")
            return Verdict("failed", reasons=(note(f"nothing could be read: {why}"),)), []
        if self.face_detector is None:
            return Verdict("not_applicable", reasons=tuple(asides)), []
        if not gathered.seen and self.length > 1:
            facts = {"length": self.length, "windows": len(gathered.looks)} | least(media)
            return Verdict("not_applicable", reasons=(piece("no_window", "file", facts), *asides)), []
        if not gathered.seen:
            facts = ({"frames": gathered.read} if media.kind == "video" else {}) | least(media)
            return Verdict("not_applicable", reasons=(piece("no_face", "file", facts), *asides)), []
        people = [[gathered.seen[id(face)] for face in one] for one in self._tracks(gathered)]
        kept = checks.without_brief([len(one) * self.length for one in people])
        asides = [*brief([people[i] for i in range(len(people)) if i not in kept], gathered), *asides]

        judge, reports, verdicts = self._ready_judge(), list[FaceReport](), list[Verdict]()
        k = max(1, sum(not judge.unfit(people[i]) for i in kept))
        for number, i in enumerate(kept, 1):
            verdict = judge.verdict(people[i], k, gathered.even * self.length if media.kind == "video" else None)
            verdict = judge.seen(verdict, people[i], gathered.read if media.kind == "video" else None)
            with clock("checks"):
                verdict = judge.checked(verdict, people[i], k) if self.settings.checks else verdict
            with clock("pictures"):
                verdict = judge.region(verdict, people[i]) if self.pictures else verdict
                verdict = verdict.of(f"face {number}")
                reports.append(judge.report(number, verdict, people[i], pictures=self.pictures))
            verdicts.append(verdict)
        doubts = checks.unread(gathered.read, len(gathered.failed), gathered.broken)
        seen = [len(people[i]) for i in kept]
        of_faces = [one for verdict in verdicts for one in (*verdict.reasons, *verdict.measured)]
        return file_verdict(verdicts, seen).doubted(*doubts).because(*asides).beside(*of_faces), reports

    def _judge_whole(
        self, gathered: Gathered, faces: Verdict, clock: Clock
    ) -> tuple[WholeReport | None, tuple[Evidence, ...]]:
        whole = self._whole
        if whole is None:
            return None, ()
        if not gathered.tiles:
            return whole.failed(faces.texts), ()
        doubts = checks.unread(gathered.read, len(gathered.failed), gathered.broken)
        count = len({tile.face.frame for tile in gathered.tiles})
        with clock("whole"):
            return whole.report(gathered.tiles, None if gathered.still else count, doubts, pictures=self.pictures)

    def _tracks(self, gathered: Gathered) -> list[list[Face]]:
        return track([look.faces for look in gathered.looks], [look.thumbs for look in gathered.looks])

    def _ready_judge(self) -> Judge:
        card = self.scorer.card
        assert card.calibration is not None  # `ready` refuses bundles without one
        about = (card.calibration, card.ood_threshold, self._margins, self.settings)
        return Judge(*about, length=self.length, card=card, explanation=card.explanation)

    def _margins(self, crops: Pixels) -> Floats:
        return log_odds(self.scorer.logits(crops), self.scorer.card.classes)


def ready(
    scorer: Scorer,
    face_detector: FaceDetector | None,
    settings: Settings,
    limits: Limits = Limits(),
    *,
    allow_url: bool = False,
    pictures: bool = False,
    whole: Scorer | None = None,
    others: tuple[Scanner, ...] = (),
    fusion: Fused | None = None,
) -> Scanner:
    """A scanner whose parts fit each other.

    Args:
        scorer: of faces, or of whole images (margin 0): then it is the only one.
        whole: of whole images, asked beside that of faces.
        others, fusion: further detectors on the same files, and what makes one number of all.
    Raises: UnmaskError for a detector without calibration, or a wish that it cannot meet.
    """
    card = scorer.card
    if card.input.margin == 0:
        whole, face_detector = scorer, None
    for one in (scorer, whole):
        if one is not None:
            _check(one.card)
    if whole is not None and whole.card.input.margin > 0:
        raise BundleError(f"detector {whole.card.name!r} looks at faces, not at whole images (margin 0)")
    if settings.whole_image and card.input.margin > 0:
        raise BundleError(
            f"detector {card.name!r} was trained on face crops (margin {card.input.margin:g}); on a whole image its "
            "score would mean nothing. Leave out --whole-image, or choose a detector whose card says margin 0."
        )
    if card.input.margin > 0 and face_detector is None:
        raise BundleError(f"detector {card.name!r} needs a face detector")
    return Scanner(scorer, face_detector, settings, limits, allow_url, pictures, whole, others, fusion)


def _check(card: Card) -> None:
    """Raises: UnmaskError for a detector that gives a scan no number."""
    if card.calibration is None:
        raise BundleError(
            f"detector {card.name!r} carries no calibration: its logits are no probabilities yet. Fit one on "
            "validation data of yours with unmask.measure.calibration.calibrate and write it into the bundle's card."
        )
    if "real" not in card.classes:
        raise BundleError(f"detector {card.name!r} knows no class 'real', only {', '.join(card.classes)}")


def together(items: Iterator[Frame | Unread], length: int) -> Iterator[list[Frame | Unread]]:
    """Each `length` of them."""
    while part := list(islice(items, length)):
        yield part


def _timed(frames: Iterator[Frame | Unread], clock: Clock) -> Iterator[Frame | Unread]:
    while True:
        with clock("decode"):
            item = next(frames, None)
        if item is None:
            return
        yield item
