"""A recipe: all that decides what a training run comes to, besides its data. YAML, checked key by key.

A recipe is a common part and a part for its task (`task: detection`, the default, `classification` or `pretraining`).
Values given on the command line (`optimizer.lr=1e-4`) are laid over the file's. A misspelt key is an error that names
the nearest right one: a run of three days that silently ignored a key would be worse than none.
"""

from __future__ import annotations

import difflib
import types
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, Self, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, Field, ModelWrapValidatorHandler, ValidationError, model_validator

from unmask.errors import RecipeError
from unmask.tasks.settings import (
    EPOCH,
    AdvScm,
    Data,
    Difficulty,
    Forging,
    Length,
    Optimizer,
    Sampler,
    Schedule,
    Transforms,
    View,
    Words,
)
from unmask.types import Plain


class Recipe(Plain):
    """One run: what every task has. `Recipe.model_validate` gives the recipe of the task that `task` names.

    The defaults of a key are shown in docs/train.md.
    """

    task: str = "detection"
    name: str = Field(pattern=r"^[a-z0-9][a-z0-9.-]*$")
    about: str = ""
    method: str = Field(description="a name that `unmask methods` lists")
    options: dict[str, Any] = Field(default_factory=dict, description="of the method's constructor")
    start: str | None = Field(
        None,
        description="weights to start from: an encoder of `unmask import encoder`, or a bundle's model.safetensors",
    )
    data: Data = Data()
    transforms: Transforms = Field(
        "none", description='of training crops: "degrade", a preset or a list of steps of `unmask.data.transforms`'
    )
    batch: int = Field(32, ge=1, description="images of a batch, over all processes together")
    accumulate: int = Field(1, ge=1, description="batches whose gradients make one step")
    length: Length
    optimizer: Optimizer
    schedule: Schedule = Schedule()
    clip: float | None = Field(None, gt=0, description="largest norm of the gradient")
    ema: float | None = Field(None, gt=0, lt=1, description="decay of the averaged weights, which are then validated")
    sam: float | None = Field(None, gt=0, description="radius of sharpness-aware minimisation")
    precision: Literal["fp32", "bf16"] = "fp32"
    seed: int = Field(0, ge=0)
    validate_: Length = Field(EPOCH, alias="validate", description="how often")
    save: Length | None = Field(None, description="how often a checkpoint is written besides, between validations")
    best: str = ""
    patience: int | None = Field(None, ge=1, description="stop after so many validations without a better one")
    card: Words = Words()

    @model_validator(mode="wrap")
    @classmethod
    def _of_task(cls, value: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if cls is not Recipe or isinstance(value, Recipe):
            return handler(value)
        named = value.get("task", "detection") if isinstance(value, dict) else "detection"
        if not isinstance(named, str) or named not in RECIPES:
            near = difflib.get_close_matches(str(named), RECIPES, 1, 0.5)
            said = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(RECIPES)}"
            raise ValueError(f"no task {named!r}; {said}")
        return RECIPES[named].model_validate(value)  # type: ignore[return-value]

    @property
    def lower_is_better(self) -> bool:
        """Of the number that `best` names."""
        return self.best.endswith(("eer", "acer", "loss"))

    def as_yaml(self) -> str:
        """All keys with their values, defaults too."""
        return yaml.safe_dump(self.model_dump(mode="json", by_alias=True), sort_keys=False, allow_unicode=True)


class LabelledRecipe(Recipe):
    """What recipes for detectors have, whatever their classes are."""

    sampler: Sampler = Sampler()
    views: tuple[Transforms, ...] = Field((), description="each crop comes in these ways too, beside itself")
    difficulty: Difficulty | None = Field(None, description="momentum difficulty boosting: hard rows count more")
    adv_scm: AdvScm | None = Field(None, description="train against an adversary that moves the face")


class DetectionRecipe(LabelledRecipe):
    """Real or fake."""

    task: Literal["detection"] = "detection"
    forge: dict[str, Forging] = Field(
        default_factory=dict, description="generator -> share of the real crops that get a forged twin in each epoch"
    )
    landmarks: str = Field("embedded", description="what finds dense points to forge by, see `landmarkers`")
    masks: bool = Field(
        False, description="batches say which pixels were forged: stored masks, and those of forgeries made in training"
    )
    points: bool = Field(False, description="batches say where the five points of each face lie")
    best: Literal[
        "video_auroc",
        "frame_auroc",
        "video_average_precision",
        "frame_average_precision",
        "video_eer",
        "frame_eer",
        "loss",
    ] = "video_auroc"


class ClassificationRecipe(LabelledRecipe):
    """Which of several classes: what made an image, in which order it was edited, which presentation attack it is."""

    task: Literal["classification"] = "classification"
    label: Literal["method", "attack", "sequence"] = Field(
        "method", description="what is told apart: generators, bona fide from attacks, or orders of edits"
    )
    classes: tuple[str, ...] = Field(
        (), description="of `method` and `sequence`, in this order; none = those of data.train"
    )
    best: Literal["accuracy", "nmi", "ari", "acer", "auroc", "fixed_accuracy", "adaptive_accuracy", "loss"] = "loss"


class PretrainingRecipe(Recipe):
    """An encoder from views of images, labelled or not."""

    task: Literal["pretraining"] = "pretraining"
    views: tuple[View, ...] = Field((View(),), min_length=1, description="what is made of each image")
    label: Literal["none", "label", "method", "identity"] = Field(
        "none", description="the column whose values are the classes that an objective may learn from"
    )
    probe: Literal["label", "method", "identity"] = Field(
        "label", description="the column that probes read from embeddings of validation rows"
    )
    neighbours: int = Field(20, ge=1, description="of the kNN probe")
    sampler: Sampler = Sampler()
    best: Literal["loss", "knn", "linear", "verification_auroc"] = "loss"


RECIPES: dict[str, type[Recipe]] = {
    "detection": DetectionRecipe,
    "classification": ClassificationRecipe,
    "pretraining": PretrainingRecipe,
}


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
        kind = RECIPES.get(str(values.get("task", "detection")), Recipe)
        faults = (_fault(kind, e["loc"], e["type"], e["msg"]) for e in error.errors())
        raise RecipeError(f"{path}: {'; '.join(faults)}") from None


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


def _fault(recipe: type[Recipe], where: tuple[int | str, ...], kind: str, message: str) -> str:
    key = ".".join(map(str, where)) or "file"
    if kind != "extra_forbidden":
        return f"{key}: {message.removeprefix('Value error, ')}"
    known = _keys(recipe, where[:-1])
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
