"""A recipe: all that decides what a training run comes to, besides its data. YAML, checked key by key.

Values given on the command line (`optimizer.lr=1e-4`) are laid over the file's. A misspelt key is an error that names
the nearest right one: a run of three days that silently ignored a key would be worse than none.
"""

from __future__ import annotations

import difflib
import re
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, BeforeValidator, Field, PlainSerializer, ValidationError, model_validator

from unmask.errors import RecipeError
from unmask.measure.protocol import Where
from unmask.types import DataTerms, Plain


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


class Data(Plain):
    """Which rows of the face manifest take part."""

    train: Annotated[Where, _of_split("train")] = Where(split=("train",))
    validate_: Annotated[Where, _of_split("val")] = Field(Where(split=("val",)), alias="validate")
    leave_out: tuple[str, ...] = Field(
        ("duplicate", "resembles-held-out", "straddles-source", "straddles-identity"),
        description="training rows that carry one of these flags are left out",
    )
    frames: int | None = Field(None, ge=1, description="at most so many frames of each video; None = all")
    pick: Literal["even", "random"] = Field("even", description="which: evenly spaced, or drawn by the seed")


class Sampler(Plain):
    """How rows come together in batches, see `unmask.data.samplers`."""

    name: Literal["shuffled", "by_class", "by_method", "paired", "grouped"] = "shuffled"
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


class Words(Plain):
    """What the card of an exported bundle says that no file knows."""

    summary: str = ""
    licence: str = "not stated by the recipe"
    trained_on: tuple[str, ...] = ()
    limits: tuple[str, ...] = ()
    misuse: tuple[str, ...] = ()
    terms: tuple[DataTerms, ...] = Field((), description="data sets and starting weights: use and terms of each")


Best = Literal[
    "video_auroc", "frame_auroc", "video_average_precision", "frame_average_precision", "video_eer", "frame_eer", "loss"
]


Transforms = str | tuple[dict[str, dict[str, Any] | None], ...]


class Recipe(Plain):
    """One run. The defaults of a key are shown in docs/train.md."""

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    about: str = ""
    method: str = Field(description="a name that `unmask methods` lists")
    options: dict[str, Any] = Field(default_factory=dict, description="of the method's constructor")
    start: str | None = Field(
        None,
        description="weights to start from: an encoder of `unmask import encoder`, or a bundle's model.safetensors",
    )
    data: Data = Data()
    sampler: Sampler = Sampler()
    transforms: Transforms = Field(
        "none", description='of training crops: "degrade", a preset or a list of steps of `unmask.data.transforms`'
    )
    forge: dict[str, Forging] = Field(
        default_factory=dict, description="generator -> share of the real crops that get a forged twin in each epoch"
    )
    landmarks: str = Field("embedded", description="what finds dense points to forge by, see `landmarkers`")
    views: tuple[Transforms, ...] = Field((), description="each crop comes in these ways too, beside itself")
    batch: int = Field(32, ge=1, description="images of a batch, over all processes together")
    accumulate: int = Field(1, ge=1, description="batches whose gradients make one step")
    length: Length
    optimizer: Optimizer
    schedule: Schedule = Schedule()
    clip: float | None = Field(None, gt=0, description="largest norm of the gradient")
    ema: float | None = Field(None, gt=0, lt=1, description="decay of the averaged weights, which are then validated")
    sam: float | None = Field(None, gt=0, description="radius of sharpness-aware minimisation")
    difficulty: Difficulty | None = Field(None, description="momentum difficulty boosting: hard rows count more")
    adv_scm: AdvScm | None = Field(None, description="train against an adversary that moves the face")
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = Field(0, ge=0)
    validate_: Length = Field(EPOCH, alias="validate", description="how often")
    save: Length | None = Field(None, description="how often a checkpoint is written besides, between validations")
    best: Best = "video_auroc"
    patience: int | None = Field(None, ge=1, description="stop after so many validations without a better one")
    card: Words = Words()

    @property
    def lower_is_better(self) -> bool:
        return self.best in ("video_eer", "frame_eer", "loss")

    def as_yaml(self) -> str:
        """All keys with their values, defaults too."""
        return yaml.safe_dump(self.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True)


def load(path: Path, overrides: Sequence[str] = ()) -> Recipe:
    """A recipe file, and "dotted.key=value" laid over it; values are YAML.

    Raises: UnmaskError for a file that cannot be read, and for keys and values that do not fit.
    """
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path} cannot be read as a recipe: {error}") from None
    if not isinstance(values, dict):
        raise RecipeError(f"{path} is no recipe: it holds no keys")
    for override in overrides:
        _lay(values, override)
    try:
        return Recipe.model_validate(values)
    except ValidationError as error:
        raise RecipeError(
            f"{path}: {'; '.join(_fault(e['loc'], e['type'], e['msg']) for e in error.errors())}"
        ) from None


def _lay(values: dict[str, Any], override: str) -> None:
    key, equals, text = override.partition("=")
    if not equals or not all(key.split(".")):
        raise RecipeError(f"{override!r} changes no key of a recipe: write dotted.key=value")
    try:
        value = yaml.safe_load(text)
    except yaml.YAMLError:
        raise RecipeError(f"the value of {override!r} is no YAML: quote it") from None
    *parents, last = key.split(".")
    for parent in parents:
        inner = values.setdefault(parent, {})
        if not isinstance(inner, dict):
            raise RecipeError(f"{override!r}: {parent} holds a value, not keys")
        values = inner
    values[last] = value


def _fault(where: tuple[int | str, ...], kind: str, message: str) -> str:
    key = ".".join(map(str, where)) or "file"
    if kind != "extra_forbidden":
        return f"{key}: {message.removeprefix('Value error, ')}"
    known = _keys(Recipe, where[:-1])
    near = difflib.get_close_matches(str(where[-1]), known, 1, 0.5)
    return f"unknown key {key!r}, " + (f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}")


def _keys(model: type[BaseModel], where: Sequence[int | str]) -> list[str]:
    """Keys of the part of a recipe that stands at `where`."""
    for step in where:
        fields = {f.alias or n: f.annotation for n, f in model.model_fields.items()}
        found = next(_models(fields.get(str(step))), None)  # an index into a list, or a union's tag, changes nothing
        model = found or model
    return [f.alias or n for n, f in model.model_fields.items()]


def _models(annotation: Any) -> Any:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    elif get_origin(annotation) in (Union, types.UnionType, tuple, list):
        for inner in get_args(annotation):
            yield from _models(inner)
