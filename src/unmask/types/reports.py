"""What a scan found out, from one piece of evidence to the report on many files."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from typing import Any, Literal

from pydantic import ConfigDict, Field, model_validator

from unmask.types.cards import Explanation
from unmask.types.plain import Plain, State, Text


@dataclass(frozen=True)
class Finding:
    """What was found out about one thing. A score is calibrated P(fake) with a 90 % interval, or absent."""

    about: str  # "file", "face 2", "frame 31"
    state: State
    score: float | None
    low: float | None
    high: float | None
    reasons: tuple[str, ...]
    detector: str
    weights_sha256: str


Fact = int | float | str
EvidenceKind = Literal[
    "probability",
    "rare_real",
    "rare_forged",
    "undecided",
    "answers",
    "rests_on",
    "left_out",
    "none_fit",
    "stands_out",
    "turns",
    "holds",
    "region",
    "size",
    "short_side",
    "distance",
    "turned",
    "seldom",
    "seen",
    "frames",
    "tiles",
    "traces",
    "unread",
    "stopped",
    "no_face",
    "no_window",
    "crowd",
    "interval",
    "brief",
    "claim",
    "credentials",
    "note",
]


class Evidence(Plain):
    """One thing that was measured, and the one sentence that it allows: `text` follows from the other three."""

    kind: EvidenceKind
    about: str = Field(description='"file", a face by its track: "face 2", or "picture": the image as a whole')
    facts: dict[str, Fact] = Field(description="what was measured, by name; every one of them is in the sentence")
    text: Text


class MediaInfo(Plain):
    kind: Literal["image", "video"]
    format: str
    width: int
    height: int
    seconds: float | None = None
    fps: float | None = None
    frames_read: int = 0
    frames_failed: int = 0
    interval: float | None = Field(None, description="seconds between the evenly spaced frames that were looked at")


class DetectorInfo(Plain):
    name: str
    weights_sha256: str


class LikelihoodRatio(Plain):
    """How much more probable what was seen is if it is a forgery than if it is not: what the finding itself weighs,
    before any opinion of how common forgeries are. Courts ask for it. As log10; 1 = ten times."""

    log10: float
    low: float = Field(description="90 % interval, log10")
    high: float
    bounded: bool = Field(
        description="whether it was cut: n validation items of the other class carry no ratio beyond n + 1"
    )


class Sample(Plain):
    """One face in one frame, or in one window of frames in a row."""

    t: float = Field(description="seconds from the first frame")
    frame: int
    box: tuple[float, float, float, float] = Field(description="x0, y0, x1, y1 in pixels of the upright frame")
    points: tuple[tuple[float, float], ...] = Field((), description="five points in pixels: eyes, nose, mouth corners")
    matrix: tuple[tuple[float, float, float], ...] = Field((), description="2 x 3, frame pixels -> crop pixels")
    found: float = Field(description="the face detector's confidence, 0..1; not P(fake)")
    score: float = Field(ge=0, le=1, description="calibrated P(fake) of this frame, or window of frames, alone")
    frames: int = Field(1, ge=1, description="of a video detector: length of the window, of which this is the middle")


class Traces(Plain):
    """What made it, as a conformal set: of items of a class in `among`, the set misses the class at most at
    `error_rate`. Empty: none that the detector knows. Nothing is promised for a generator outside `among`."""

    resemble: tuple[str, ...]
    among: tuple[str, ...] = Field(description="classes that could be named")
    error_rate: float


class FaceReport(Plain):
    """One person followed through the file."""

    track: int
    state: State
    score: float | None = None
    low: float | None = None
    high: float | None = None
    reasons: tuple[str, ...] = ()
    counted: bool = Field(
        True, description="whether it enters the file's number; false where it is not fit to be judged"
    )
    samples: tuple[Sample, ...] = ()
    traces: Traces | None = Field(None, description="what made it; absent where the detector does not say")
    # Images serve the HTML report and the page; the JSON stays small and free of faces.
    thumbnail: bytes | None = Field(None, exclude=True, repr=False)  # JPEG of the most telling crop
    heat: bytes | None = Field(None, exclude=True, repr=False)  # JPEG, heat map over that crop, where such maps point


class FrameScore(Plain):
    """What was said of one frame, or of the image, as a whole."""

    t: float = Field(description="seconds from the first frame")
    frame: int
    tiles: int = Field(ge=1, description="parts of it, at its own resolution, whose mean log-odds the score rests on")
    score: float = Field(ge=0, le=1, description="calibrated P(generated) of this frame alone")


class WholeReport(Plain):
    """The answer to "was it generated as a whole, or passed through a generator's decoder?", faces or not."""

    state: State
    score: float | None = Field(None, description="calibrated P(generated as a whole), at equal priors")
    low: float | None = None
    high: float | None = None
    likelihood_ratio: LikelihoodRatio | None = Field(None, description="of generated : not generated")
    reasons: tuple[Text, ...] = ()
    detector: DetectorInfo
    frames: tuple[FrameScore, ...] = ()
    thumbnail: bytes | None = Field(None, exclude=True, repr=False)  # JPEG of the most telling tile
    heat: bytes | None = Field(None, exclude=True, repr=False)  # JPEG, heat map over that tile, where such maps point


class Opinion(Plain):
    """What a further detector, or the fusion of several, says of the same file."""

    name: str
    weights_sha256: str = Field(description="of a fusion the sha256 of its file")
    about: Literal["faces", "whole"] = Field(description="the question that it answers")
    state: State
    score: float | None = None
    low: float | None = None
    high: float | None = None
    likelihood_ratio: LikelihoodRatio | None = None
    reasons: tuple[Text, ...] = ()


class FileReport(Plain):
    """What was found out about one file. Two questions are asked, each with an answer of its own:

    is a face forged?               `face_state`, `score`, `low`, `high`, `reasons`, `rests_on`, `faces`
    was it generated as a whole?    `whole`

    The file's `state` is the first of fake, uncertain, real, not_applicable that one of the answers is.
    """

    path: Text
    sha256: str | None = None
    media: MediaInfo | None = None
    state: State = Field(
        description="fake where an answer is fake, else uncertain where one is, else real where one is"
    )
    face_state: State | None = Field(None, description='answer to "is a face forged?"; None = not asked')
    score: float | None = Field(
        None, description="calibrated P(at least one face is forged), at equal priors; None = no number"
    )
    low: float | None = None
    high: float | None = None
    likelihood_ratio: LikelihoodRatio | None = Field(
        None, description="of at least one face is forged : none is; None = no number"
    )
    reasons: tuple[Text, ...] = ()
    rests_on: int | None = Field(None, description="track of the face that weighs most in the score")
    detector: DetectorInfo | None = None
    provenance: dict[str, Text] = Field(default_factory=dict)
    faces: tuple[FaceReport, ...] = ()
    whole: WholeReport | None = Field(None, description='answer to "was it generated as a whole?"; None = not asked')
    evidence: tuple[Evidence, ...] = Field(
        (), description="all that was measured, a sentence each; the texts of `reasons` are among them"
    )
    others: tuple[Opinion, ...] = Field(
        (), description="of further detectors that were named; they have no part in `state`"
    )
    fused: Opinion | None = Field(None, description="of all detectors together, where a fusion was given")
    seconds_spent: dict[str, float] = Field(default_factory=dict, description="wall seconds by stage")
    sheet: bytes | None = Field(None, exclude=True, repr=False)  # JPEG: the image or key frames, with boxes

    @model_validator(mode="before")
    @classmethod
    def _about_faces(cls, values: Any) -> Any:
        """Where nothing is said of the whole, the state is that of the faces; so it was in the first form."""
        if not isinstance(values, dict) or values.get("whole") is not None or values.get("face_state") is not None:
            return values
        return values | {"face_state": values.get("state")}


class Settings(Plain):
    """What changes an answer; two reports with equal settings and detector are comparable."""

    frames: int = Field(32, ge=1, le=10_000)
    error_rate: float = Field(0.1, gt=0, lt=0.5)
    faces: str = "embedded"
    faces_sha256: str = ""
    whole_image: bool = Field(False, description="only the question of the whole image was asked")
    checks: bool = True
    also: tuple[str, ...] = Field((), description="weights of the further detectors, sha256")
    fusion: str = Field("", description="sha256 of the fusion's file; empty = none")


class PassedOver(Plain):
    """Files in folders that were not looked at, for one reason."""

    why: str = Field(description='what they are: "a JPEG XL image", "a link that leads nowhere"')
    count: int = Field(ge=1)
    first: tuple[Text, ...] = Field(description="names of the first of them")


class Shift(Plain):
    """Whether the files of a scan look like what the detector was calibrated on, see `unmask.scanning.shift`."""

    files: int = Field(description="in which it was measured")
    far: int = Field(description="further from the training data than 99 in 100 validation crops")
    alarm_after: int | None = Field(None, description="files after which that was too many to be chance; None = never")


class WholeDetector(DetectorInfo):
    """What answers the question of the whole image, and what it knows."""

    trained_on: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    unsure: tuple[float, float] | None = Field(None, description="scores between these two are too close to call")
    explanation: Explanation | None = Field(None, description="how well its maps point; None = not measured")


class Report(Plain):
    """The answer of a scan, the same for the command line, Python and the API."""

    schema_: Literal["unmask.report/2"] = Field("unmask.report/2", alias="schema")
    version: str = Field(description="of unmask")
    created: str = Field(description="UTC, ISO 8601")
    settings: Settings
    detector: DetectorInfo = Field(description="of faces; where these were not asked about, that of whole images")
    trained_on: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    unsure: tuple[float, float] | None = Field(
        None, description="at this error rate, scores between these two are too close to call; None = not calibrated"
    )
    explanation: Explanation | None = Field(
        None, description="how well the detector's maps point at forgeries; None = not measured"
    )
    whole: WholeDetector | None = Field(None, description="None: nothing that judges whole images was asked")
    files: tuple[FileReport, ...]
    passed_over: tuple[PassedOver, ...] = Field((), description="what folders held besides images and videos")
    shift: Shift | None = Field(None, description="of several files: do they look like the calibration data?")

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    @model_validator(mode="before")
    @classmethod
    def _of_release_1(cls, values: Any) -> Any:
        """A kept report of the first form, which asked about faces alone, reads as one of the second."""
        old = isinstance(values, dict) and values.get("schema") == "unmask.report/1"
        return values | {"schema": "unmask.report/2"} if old else values

    def __str__(self) -> str:
        """The verdict in words, or a table of verdicts."""
        return str(import_module("unmask.scanning.text").whole(self).plain)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        # By name, because drawing is the scan package's trade and types import no package.
        return str(import_module("unmask.scanning.html").snippet(self))
