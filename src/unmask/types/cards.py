"""A detector's card: how pixels are prepared for it, its calibration, its numbers and its terms."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, model_validator

from unmask.types.plain import Plain


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
