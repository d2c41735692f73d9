"""The plain data that every package shares, checked where it crosses a process or a file. Never imports torch."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from importlib import import_module
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from unmask.errors import UnmaskError as UnmaskError

State = Literal["fake", "real", "uncertain", "not_applicable", "failed"]
Pixels = NDArray[np.uint8]  # (H, W, 3) RGB, or (N, H, W, 3)
Floats = NDArray[np.float32]


def printable(name: str) -> str:
    """Text that any file and any terminal can hold: bytes of a file name that are not UTF-8 become \\xNN."""
    try:
        return name.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    except UnicodeEncodeError:  # half a surrogate pair, which no file name decodes to
        return name.encode("utf-8", "backslashreplace").decode()


def is_text(name: str) -> bool:
    """Whether a file name is text: on Linux it may be any bytes, which Python keeps as lone surrogates."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


Text = Annotated[str, BeforeValidator(lambda text: printable(text) if isinstance(text, str) else text)]
"""Text that may name a file: `printable` is applied to it."""


# --- bytes -> frames -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Frame:
    """One image of a media file, upright and in sRGB."""

    index: int  # position in presentation order, 0-based; 0 for a still
    t: float  # seconds from the first frame; 0 for a still
    image: Pixels  # (H, W, 3)


@dataclass(frozen=True)
class Unread:
    """A frame that was asked for and could not be read: a state of its own, never a silent gap."""

    index: int
    t: float
    why: str


@dataclass(frozen=True)
class Media:
    """An opened image or video. Nothing is decoded before `frames` is called.

    Attributes:
        source: the path or URL as given, or "<bytes>".
        sha256: of the file's bytes, lower-case hex.
        format: of the content, not the suffix: "jpeg", "png", "heic", "mp4", "matroska", ...
        width, height: pixels after orientation or rotation is applied.
        seconds, fps, total_frames: None for stills and where the file does not say.
        notes: what a reader of the verdict should know ("suffix says .jpg, content is PNG").
        provenance: EXIF camera fields and C2PA state, as plain strings.
        frames: `frames(count)` yields at most `count` frames evenly spaced in time, in order, each a Frame or Unread.
        frames_at: the same of the frames that are on screen at these seconds, without repeats; None where a media file
            cannot be looked at twice.
        windows: `windows(count, length)` yields the frames of at most `count` windows of `length` frames in a row,
            evenly spread over the video and without overlap, window after window; None where there are no frames in
            a row, as in a still.
    """

    source: str
    sha256: str
    kind: Literal["image", "video"]
    format: str
    width: int
    height: int
    seconds: float | None
    fps: float | None
    total_frames: int | None
    notes: tuple[str, ...]
    provenance: dict[str, str]
    frames: Callable[[int], Iterator[Frame | Unread]] = field(repr=False)
    frames_at: Callable[[Sequence[float]], Iterator[Frame | Unread]] | None = field(default=None, repr=False)
    windows: Callable[[int, int], Iterator[Frame | Unread]] | None = field(default=None, repr=False)


# --- frames -> faces -------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Face:
    """One face in one frame, in pixels of that frame."""

    frame: int  # Frame.index
    t: float  # Frame.t
    box: tuple[float, float, float, float]  # x0, y0, x1, y1
    points: Floats  # (5, 2): left eye, right eye, nose tip, left and right mouth corner, as seen in the image
    score: float  # the face detector's own confidence, 0..1; not P(fake)
    turned: int = 0  # degrees by which the image had to be turned, counter-clockwise, for the face to be found

    @property
    def side(self) -> float:
        """Geometric mean of width and height, in pixels."""
        x0, y0, x1, y1 = self.box
        return float(np.sqrt(max(x1 - x0, 0.0) * max(y1 - y0, 0.0)))


@dataclass(frozen=True)
class Crop:
    """A face as a detector wants it."""

    face: Face
    matrix: Floats  # (2, 3): pixels of the frame -> pixels of the crop
    image: Pixels  # (size, size, 3), or of a video detector's window (T, size, size, 3)


# --- the detector's box ----------------------------------------------------------------------------------------------


class Plain(BaseModel):
    """Frozen, and strict about unknown keys: a misspelt key is an error, not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid")


class InputSpec(Plain):
    """How pixels must be prepared for some weights; it travels with them into training, export and scan."""

    size: int = Field(224, ge=16, le=2048, description="side of the square crop, pixels")
    margin: float = Field(1.3, ge=0, le=4, description="side of the crop over the template's side; 0 = whole image")
    template: str = Field("gend5", description="name of the 5-point template in unmask.faces.align.TEMPLATES")
    tiles: int = Field(
        0, ge=0, le=64, description="whole image: at most so many tiles of its own pixels; 0 = it is made small instead"
    )
    reduce: int = Field(
        0, ge=0, description="whole image in tiles: one with a longer short side is first reduced to this; 0 = never"
    )
    frames: int = Field(1, ge=1, le=256, description="frames in a row that one forward pass looks at together")
    # For information: models take RGB in 0..1 and own their normalisation, so nobody has to apply these.
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[float, float, float] = (0.229, 0.224, 0.225)

    @model_validator(mode="after")
    def _fits(self) -> InputSpec:
        if self.tiles and self.margin:
            raise ValueError("tiles are of whole images: they go with margin 0")
        if self.reduce and (not self.tiles or self.reduce < self.size):
            raise ValueError("reduce goes with tiles, and is not below size")
        return self


class Calibration(Plain):
    """From a raw logit to P(fake), and the evidence for a chosen error rate. All of it fitted on validation data.

    `slope`, `intercept`: Platt scaling at equal priors, p = 1 / (1 + exp(-(slope * x + intercept))),
        with x = logit(fake) - logit(real).
    `knots`, `low`, `high`: a 90 % bootstrap band of p (by leakage group) at raw logits `knots`; linear in between.
    `real`, `fake`: sorted raw logits of the validation items, one per item, for split-conformal p-values.
    """

    slope: float
    intercept: float
    knots: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    real: tuple[float, ...]
    fake: tuple[float, ...]
    data: str = Field(description="what it was fitted on: data set, split, number of items and groups")


class ClassCalibration(Plain):
    """How sure a classifier's answers may be taken to be; fitted on validation data, one item for each video.

    `kind`: what the classes are: what made an image ("method", "version", "source"), bona fide or "attack", orders of
        edits ("sequence"), people ("identity").
    `temperature`: P(class) = softmax(logits / temperature).
    `strangeness`: for each class of the card, sorted 1 - P(class) of its validation items, for conformal p-values.
    """

    kind: Literal["method", "version", "source", "attack", "sequence", "identity", "person"]
    temperature: float = Field(gt=0)
    strangeness: tuple[tuple[float, ...], ...]
    data: str = Field(description="what it was fitted on: data set, split, number of items and groups")


class Metric(Plain):
    """One number of a card's table, with what is needed to rebuild it."""

    data: str
    split: str
    level: Literal["image", "frame", "window", "track", "video"]
    name: str
    value: float
    low: float
    high: float
    real: int
    fake: int
    seen: str = Field(description='"held out", "unseen forgery", "training" ...')


class DataTerms(Plain):
    name: str
    use: str = Field(description='"training", "calibration", "test"')
    terms: str


class BaseEncoder(Plain):
    """The published encoder that a delta bundle's weights go into; `unmask pull NAME` fetches it."""

    name: str
    sha256: str = Field(description="of its model.safetensors")


class Explanation(Plain):
    """How well the best map that a scan can draw points at what was forged, as `unmask eval explain` measured it."""

    explainer: str = Field(description="of those that ask for scores alone")
    pointing: float = Field(description="share of forgeries whose highest point lies in the forged region")
    mass: float = Field(description="mean share of the map that lies in the forged region")
    centre_pointing: float = Field(description="the same of a map that always shows the middle of the face")
    centre_mass: float
    localises: bool = Field(description="whether both differences lie above 0 with their whole 95 % intervals")
    crops: int = Field(description="forgeries that the detector called forged, with known masks")
    data: str = Field(description="what they were, in words or as the digest of their manifest")


class Card(Plain):
    """What is known of a trained detector: `card.json` of a bundle."""

    format: Literal["unmask.bundle/1"] = "unmask.bundle/1"
    name: str
    version: str
    summary: str
    method: str
    options: dict[str, Any] = Field(default_factory=dict, description="what the method's class was built with")
    classes: tuple[str, ...] = ("real", "fake")
    input: InputSpec
    base: BaseEncoder | None = Field(None, description="of a delta bundle: where all other weights are")
    calibration: Calibration | None = None
    class_calibration: ClassCalibration | None = Field(None, description="of a classifier: how sure its classes are")
    ood_threshold: float | None = Field(
        None, description="distance from the training data above which a face is unfamiliar"
    )
    metrics: tuple[Metric, ...] = ()
    explanation: Explanation | None = Field(None, description="None = no explanation of it was measured")
    trained_on: tuple[str, ...] = Field((), description="forgeries and media it was trained on, in words")
    limits: tuple[str, ...] = Field((), description="where it is known to fail")
    misuse: tuple[str, ...] = Field((), description="what it must not be used for")
    data: tuple[DataTerms, ...] = ()
    licence: str
    recipe: dict[str, Any] = Field(default_factory=dict)
    files: dict[str, str] = Field(description="file name -> sha256")


# --- what was found out ----------------------------------------------------------------------------------------------


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
