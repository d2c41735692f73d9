"""Parts of recipes that tasks share: lengths, filters, samplers, optimisers, schedules, words for a card."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

import numpy as np
import pyarrow as pa
from pydantic import BeforeValidator, Field, PlainSerializer, model_validator

from unmask.measure.protocol import Mask, Where
from unmask.types import DataTerms, Plain

Transforms = str | tuple[dict[str, dict[str, Any] | None], ...]


class Span(Plain):
    """A length of training: "3 epochs" or "500 steps" in a recipe."""

    count: float = Field(ge=0)
    unit: Literal["epochs", "steps"]

    def steps(self, per_epoch: int) -> int:
        return round(self.count * (per_epoch if self.unit == "epochs" else 1))


def _span(value: Any) -> Any:
    found = re.fullmatch(r"(\d+(?:\.\d+)?) (epoch|step)s?", value) if isinstance(value, str) else None
    if found is None and not isinstance(value, Span):
        raise ValueError('a length is written "3 epochs" or "500 steps"')
    return value if found is None else {"count": float(found[1]), "unit": f"{found[2]}s"}


def _written(span: Span) -> str:
    return f"{span.count:g} {span.unit.removesuffix('s') if span.count == 1 else span.unit}"


Length = Annotated[Span, BeforeValidator(_span), PlainSerializer(_written, return_type=str)]
NONE, EPOCH = Span(count=0, unit="steps"), Span(count=1, unit="epochs")


def _of_split(split: str) -> BeforeValidator:
    """A filter that names no split means this one: `{dataset: [a]}` must not open the others."""
    return BeforeValidator(lambda where: {"split": [split], **where} if isinstance(where, dict) else where)


class Filter(Where):
    """A protocol's filter, and one for real or forged rows alone."""

    label: tuple[Literal["real", "fake"], ...] = Field((), description="none = both")

    def mask(self, table: pa.Table, *, labelled: bool = True) -> Mask:
        """(N,), True for rows that are chosen."""
        kept = super().mask(table, labelled=labelled)
        if self.label:
            kept &= np.isin(table["label"].fill_null(-1).to_numpy(), [LABELS[name] for name in self.label])
        return kept


LABELS = {"real": 0, "fake": 1}


class Data(Plain):
    """Which rows of the face manifest take part."""

    train: Annotated[Filter, _of_split("train")] = Filter(split=("train",))
    validate_: Annotated[Filter, _of_split("val")] = Field(Filter(split=("val",)), alias="validate")
    leave_out: tuple[str, ...] = Field(
        ("duplicate", "resembles-held-out", "straddles-source", "straddles-identity"),
        description="training rows that carry one of these flags are left out",
    )
    frames: int | None = Field(
        None, ge=1, description="at most so many frames of each video, or windows of them; None = all"
    )
    pick: Literal["even", "random"] = Field("even", description="which: evenly spaced, or drawn by the seed")


class Sampler(Plain):
    """How rows come together in batches, see `unmask.data.samplers`."""

    name: Literal["shuffled", "by_class", "by_method", "by_domain", "paired", "grouped", "pk", "half_labelled"] = (
        "shuffled"
    )
    per_class: int = Field(4, ge=2, description="pk: images of each class in a batch, which holds batch / per_class")
    every: Literal["fake", "real"] = Field("fake", description="paired: what of the two comes once in an epoch")
    spread_groups: bool = Field(False, description="no more of a leakage group in a batch than its fair share")
    orphans: bool = Field(
        False, description="paired: a forgery whose original is not there stands beside another real face"
    )

    @model_validator(mode="after")
    def _fits(self) -> Sampler:
        if self.orphans and (self.name != "paired" or self.every != "fake"):
            raise ValueError("orphans go with the sampler paired, and with every: fake")
        return self


class Forge(Plain):
    """Forgeries made while training, see `unmask.forging.online`. A recipe may write the share alone."""

    share: float = Field(gt=0, le=1, description="of the real crops that get a forged twin in each epoch")
    options: dict[str, Any] = Field(default_factory=dict, description="of the generator's constructor")


Forging = Annotated[Forge, BeforeValidator(lambda value: {"share": value} if isinstance(value, int | float) else value)]


class GroupFactors(Plain):
    """Factors on the learning rate and the weight decay of weights named in `optimizer.groups`."""

    lr: float = Field(1.0, ge=0)
    weight_decay: float = Field(1.0, ge=0)


class Optimizer(Plain):
    """`momentum` is that of SGD and LARS, `trust` of LARS; `betas` are those of the other two."""

    name: Literal["adamw", "adam", "sgd", "lars"] = "adamw"
    lr: float = Field(gt=0)
    weight_decay: float = Field(0.0, ge=0)
    weight_decay_end: float | None = Field(
        None, ge=0, description="at the end of the run, by a cosine; None = as it is"
    )
    decay_vectors: bool = Field(True, description="whether norms and biases decay too; under LARS they never do")
    layer_decay: float | None = Field(None, gt=0, le=1, description="factor on the rate from a block to that below it")
    groups: dict[str, GroupFactors] = Field(
        default_factory=dict, description="a weight or module by name -> factors on its rate and decay"
    )
    betas: tuple[float, float] = (0.9, 0.999)
    momentum: float = Field(0.9, ge=0, lt=1)
    trust: float = Field(1e-3, gt=0, description="of LARS: length of a step in lengths of the weight")


class Schedule(Plain):
    """The learning rate after each step: a linear rise, then `name`.

    "cosine" falls to `floor` at the end of training, "restarts" does so every `period` and jumps back up
    (Loshchilov and Hutter, ICLR 2017), "constant" stays.
    """

    name: Literal["constant", "cosine", "restarts"] = "cosine"
    warmup: Length = NONE
    warmup_from: float = Field(0.0, ge=0, description="learning rate at which the rise begins")
    floor: float = Field(0.0, ge=0, description="learning rate at which the fall ends")
    period: Length | None = None

    @model_validator(mode="after")
    def _fits(self) -> Schedule:
        if (self.name == "restarts") != (self.period is not None):
            raise ValueError("give a period exactly when the schedule is restarts")
        return self


class Difficulty(Plain):
    """Momentum difficulty boosting, see `unmask.train.callbacks.difficulty`; the defaults are ours."""

    momentum: float = Field(0.9, ge=0, lt=1, description="of a row's difficulty from visit to visit; 0 = no memory")
    gamma: float = Field(1.0, ge=0, description="how much difficulty counts; 0 = not at all")
    epsilon: float = Field(0.1, gt=0, description="added to difficulties: what is easy still counts")
    clip: tuple[float, float] = Field((0.2, 5.0), description="of weights whose mean is 1")
    ramp: float = Field(0.2, ge=0, le=1, description="share of the run over which gamma rises from 0")
    of: Literal["probability", "loss"] = Field("probability", description="1 - P(true class), or the cross-entropy")
    per_class: bool = Field(False, description="weights have mean 1 within each class, not over all")

    @model_validator(mode="after")
    def _ordered(self) -> Difficulty:
        if not 0 < self.clip[0] <= 1 <= self.clip[1]:
            raise ValueError("clip lies about 1, as in [0.2, 5]")
        return self


class AdvScm(Plain):
    """An adversary that moves the face, see `unmask.train.callbacks.adv_scm`; the defaults are ours."""

    weight: float = Field(1.0, ge=0, description="of the consistency of features")
    lr: float = Field(1e-4, gt=0, description="of the adversary's Adam")
    rotation: float = Field(30.0, ge=0, le=180, description="bound, degrees")
    shift: float = Field(0.25, ge=0, lt=1, description="bound, in sides of the image")
    zoom: float = Field(0.25, ge=0, lt=1, description="bound: between 1 - zoom and 1 + zoom")
    bend: float = Field(0.1, ge=0, lt=0.5, description="bound of the grid's points, in sides of the image")
    grid: int = Field(4, ge=2, le=16, description="points of the bending grid along a side")


class Adversarial(Plain):
    """Images that are attacked at every step, see `unmask.train.callbacks.adversarial`.

    The defaults are the fast form: one step of 1.25 budgets. PGD-k is `steps: 7`, `step_size: 0.25`.
    """

    budget: float = Field(2 / 255, gt=0, lt=1, description="largest change of a pixel value in 0..1")
    steps: int = Field(1, ge=1, le=100, description="steps of the attack; each costs a pass back and forth")
    step_size: float = Field(1.25, gt=0, description="in budgets")
    share: float = Field(1.0, gt=0, le=1, description="of each batch; the rest is learnt from as it is")


class OpenWorld(Plain):
    """Rows whose class nobody has named: the rest of known classes, and all of new ones (OW-DFA).

    Which rows those are is drawn by leakage group, so that frames of one video share their fate; or the data set says
    it (`tags`).
    """

    slots: int = Field(ge=1, description="classes for new ones; the paper gives as many as there are")
    labelled: float = Field(0.75, gt=0, le=1, description="share of a known class's groups whose rows are labelled")
    kept: float = Field(0.75, gt=0, le=1, description="share of a new class's groups that are there at all")
    tags: str = Field("", description='key in `extra` that says "labelled", "unlabelled" or "unused" of each row')


class View(Plain):
    """How views are made of each image when an encoder is pre-trained. `count` of them, each by a draw of its own."""

    count: int = Field(2, ge=1)
    size: int | None = Field(None, ge=8, le=2048, description="side in pixels; none = that of the method's input")
    crop: tuple[float, float] | None = Field(
        (0.2, 1.0), description="area of a random crop as a share of the image's; none = the method's own crop"
    )
    ratio: tuple[float, float] = Field((3 / 4, 4 / 3), description="of a random crop, width over height")
    flip: float = Field(0.5, ge=0, le=1, description="probability of mirroring")
    transforms: Transforms = Field("none", description="of the crop, before it is mirrored; nothing that moves pixels")

    @model_validator(mode="after")
    def _ordered(self) -> View:
        for name, ends in (("crop", self.crop), ("ratio", self.ratio)):
            if ends is not None and not 0 < ends[0] <= ends[1]:
                raise ValueError(f"{name} is two numbers above 0, the lower first")
        if self.crop is not None and self.crop[1] > 1:
            raise ValueError("crop is a share of the image's area, at most 1")
        return self


class TextView(Plain):
    """How a caption or a sentence of each row becomes a view. `count` of them, each by a draw of its own."""

    count: int = Field(1, ge=1)
    of: Literal["text", "other", "negative"] = Field(
        "text", description="the captions of an image or the sentence; of a sentence table also its partners"
    )
    choice: Literal["random", "first"] = Field("random", description="which of several captions")
    steps: tuple[dict[str, dict[str, Any] | None], ...] = Field(
        (), description="changes of `unmask.data.wording`, one after the other"
    )


class Words(Plain):
    """What the card of an exported bundle says that no file knows."""

    summary: str = ""
    licence: str = "not stated by the recipe"
    trained_on: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    misuse: tuple[str, ...] = ()
    terms: tuple[DataTerms, ...] = Field((), description="data sets and starting weights: use and terms of each")
