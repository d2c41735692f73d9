"""What a scan was asked for, in a form that can be sent to another process, and the scanner that comes of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from pydantic import Field

from unmask._version import __version__
from unmask.bundles import SHIPPED, Reading, Scorer, installed, load
from unmask.faces import FaceDetector
from unmask.media import Limits
from unmask.scanning.beside import Fused
from unmask.scanning.pipeline import Scanner, ready
from unmask.scanning.verdict import unsure_between
from unmask.types import Card, Pixels, Plain, Report, Settings, WholeDetector

WHOLE = "whole"  # the shipped detector of whole images


class Options(Plain):
    """Everything that a scan needs to know besides its files."""

    detector: str = Field(
        "embedded", description='"embedded", "clip", the path of a bundle, or "hub:owner/name[@revision]"'
    )
    whole: str = Field(
        "auto", description='of whole images: "auto" (the shipped one beside a shipped one), "none", or as the above'
    )
    also: tuple[str, ...] = Field((), description="further detectors, as `detector`, whose answers stand beside it")
    fusion: str = Field("", description="file of `unmask eval fuse` that makes one number of all of them; empty = none")
    runtime: str = Field("auto", description="auto, or one of unmask.bundles.RUNTIMES")
    faces: str = Field("embedded", description='"embedded", "yunet", or the path of an ONNX file of that layout')
    frames: int = Field(32, ge=1, le=10_000)
    error_rate: float = Field(0.1, gt=0, lt=0.5)
    whole_image: bool = False
    checks: bool = True
    pictures: bool = False
    allow_url: bool = False
    threads: int = Field(1, ge=1, le=1024, description="of the detector")
    limits: Limits = Limits()
    seconds_per_file: float = Field(900.0, gt=0, description="after which the process that scans a file is ended")

    def ready(self, elsewhere: Callable[[Pixels], Reading] | None = None) -> Scanner:
        """Loads the detector, unless it reads `elsewhere`, and, where it looks at faces, the face detector and the
        detector of whole images.

        Raises: UnmaskError when one of them cannot be had, or when they do not fit the options.
        """
        name = WHOLE if self.whole_image and self.detector == "embedded" and installed(WHOLE) else self.detector
        scorer = load(name, runtime=self.runtime, threads=self.threads, elsewhere=elsewhere)
        # One thread for the face detector: it works beside the decoder, and a net of its size gains nothing from more.
        face_detector = FaceDetector.load(self.faces, threads=1) if scorer.card.input.margin > 0 else None
        others = tuple(self._alone(name).ready() for name in self.also)
        fusion = Fused.read(Path(self.fusion), [scorer, *(other.scorer for other in others)]) if self.fusion else None
        settings = Settings(
            frames=self.frames,
            error_rate=self.error_rate,
            faces=face_detector.name if face_detector else "none",
            faces_sha256=face_detector.sha256 if face_detector else "",
            whole_image=self.whole_image or face_detector is None,
            checks=self.checks,
            also=tuple(other.scorer.weights_sha256 for other in others),
            fusion=fusion.sha256 if fusion else "",
        )
        return ready(
            scorer,
            face_detector,
            settings,
            self.limits,
            allow_url=self.allow_url,
            pictures=self.pictures,
            whole=self._whole() if face_detector else None,
            others=others,
            fusion=fusion,
        )

    def _alone(self, name: str) -> Options:
        """The same with one of the further detectors, which is asked one question and draws nothing."""
        own = {"detector": name, "whole": "none", "whole_image": False, "pictures": False, "also": (), "fusion": ""}
        return self.model_copy(update=own)

    def _whole(self) -> Scorer | None:
        """What answers the second question. Raises: UnmaskError for a bundle that cannot be had."""
        if self.whole == "none":
            return None
        if self.whole != "auto":
            return load(self.whole, runtime=self.runtime, threads=self.threads)
        # Who names a detector of their own gets what that one says; `--runtime torch` is a wish about the first one.
        return load(WHOLE, threads=self.threads) if self.detector in SHIPPED and installed(WHOLE) else None


def report_of(scanner: Scanner) -> Report:
    """A report without files: what every answer of this scanner has in common."""
    card = scanner.scorer.card
    return Report(
        version=__version__,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        settings=scanner.settings,
        detector=scanner.detector,
        trained_on=card.trained_on,
        limits=card.limits,
        unsure=_unsure(card, scanner.settings),
        explanation=card.explanation,
        whole=_known(scanner.whole, scanner.settings) if scanner.whole else None,
        files=(),
    )


def _known(scorer: Scorer, settings: Settings) -> WholeDetector:
    card = scorer.card
    return WholeDetector(
        name=card.name,
        weights_sha256=scorer.weights_sha256,
        trained_on=card.trained_on,
        limits=card.limits,
        unsure=_unsure(card, settings),
        explanation=card.explanation,
    )


def _unsure(card: Card, settings: Settings) -> tuple[float, float] | None:
    return unsure_between(card.calibration, settings.error_rate) if card.calibration else None
