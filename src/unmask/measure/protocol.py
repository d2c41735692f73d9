"""A protocol: which rows train, validate and test, and what is measured on them. Data, not code (`protocols/*.yaml`).

A misspelt key is an error that names the nearest right one: a protocol that silently measured something else would be
worse than none.
"""

from __future__ import annotations

import difflib
import hashlib
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import yaml
from numpy.typing import NDArray
from pydantic import Field, ValidationError, model_validator

from unmask.errors import RecipeError
from unmask.types import Plain

FOLDER = Path(__file__).with_name("protocols")
Mask = NDArray[np.bool_]
Metric = Literal[
    "auroc", "eer", "eer_vertex", "average_precision", "partial_auc", "tpr_at_fpr_1", "tpr_at_fpr_5", "tpr_at_fpr_10",
    "ece", "brier", "log_loss", "cllr", "accuracy", "balanced_accuracy", "f1", "hter", "false_alarms", "pair_order",
]  # fmt: skip
BY_THRESHOLD: tuple[Metric, ...] = ("accuracy", "balanced_accuracy", "f1", "hter", "false_alarms")
BY_PROBABILITY: tuple[Metric, ...] = ("ece", "brier", "log_loss", "cllr")


class Where(Plain):
    """Rows whose columns hold one of the values named; a column that is not named may hold anything.

    `method` and `family` speak of forgeries: a real row has neither, and stays.
    """

    dataset: tuple[str, ...] = ()
    method: tuple[str, ...] = ()
    family: tuple[str, ...] = ()
    compression: tuple[str, ...] = ()
    media_type: tuple[str, ...] = ()
    split: tuple[str, ...] = ()
    not_method: tuple[str, ...] = Field((), description="forgeries to leave out")

    def mask(self, table: pa.Table, *, labelled: bool = True) -> Mask:
        """(N,), True for rows that are chosen; `labelled`: of those that have a label."""
        label = pc.fill_null(table["label"], -1)
        kept = _array(pc.greater_equal(label, 0 if labelled else -1))
        real = _array(pc.equal(label, 0))
        for name in ("dataset", "compression", "media_type", "split", "method", "family"):
            if wanted := getattr(self, name):
                found = _array(pc.is_in(table[name], pa.array(wanted)))
                kept &= (found | real) if name in ("method", "family") else found
        if self.not_method:
            kept &= ~_array(pc.is_in(table["method"], pa.array(self.not_method))) | real
        return kept


class Interval(Plain):
    """Percentile bootstrap over whole leakage groups."""

    method: Literal["group_bootstrap"] = "group_bootstrap"
    rounds: int = Field(1000, ge=100, le=100_000)
    level: float = Field(0.95, gt=0.5, lt=1)
    seed: int = 0


class Threshold(Plain):
    """How the one threshold of a detector is chosen, on validation rows and nothing else.

    "eer": where both error rates meet; "false_alarms": the least threshold with at most `at` of the reals above it.
    """

    rule: Literal["eer", "false_alarms"] = "eer"
    at: float = Field(0.05, gt=0, lt=0.5)


class Protocol(Plain):
    """One experiment. `columns` says what a column of the table means; each row is a detector.

    Columns: "attack" (untouched, then each of `attacks`, as square@4/255, on the fakes); "dataset"; "own" (each data
    set that can be learnt from, learnt from alone); "method" (each forgery against the reals of its own data set);
    "compression"; "all" (one);
    "frames" (each number of `frames`, evenly spaced among those scored);
    "held_out" (each forgery of the test rows once left out of training, where it was there, and tested alone);
    "trained_on" (each forgery once the only one trained on; all are tested).
    Pooling of a video's frames: "mean", "median", "max", or "top 5", the mean of the five highest.
    """

    name: str = Field(min_length=1, pattern=r"^[a-z0-9-]+$")
    title: str
    about: str = ""
    train: Where = Where(split=("train",))
    validate_: Where = Field(Where(split=("val",)), alias="validate")
    test: Where = Where(split=("test",))
    level: Literal["frame", "track", "video"] = "video"
    pooling: Annotated[str, Field(pattern=r"^(mean|median|max|top [1-9]\d{0,3})$")] = "mean"
    metrics: tuple[Metric, ...] = ("auroc",)
    interval: Interval = Interval()
    threshold: Threshold = Threshold()
    columns: Literal["all", "dataset", "own", "method", "compression", "frames", "held_out", "trained_on", "attack"] = (
        "dataset"
    )
    frames: tuple[int, ...] = ()
    pairing: Literal["all", "paired", "unpaired"] = Field(
        "all", description="paired: forgeries with their own original; unpaired: never both of a pair"
    )
    attacks: tuple[Annotated[str, Field(pattern=r"^[a-z0-9_]+@[0-9./]+$")], ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Protocol:
        if (self.columns == "frames") != bool(self.frames):
            raise ValueError("frames: give a list of numbers exactly when columns is frames")
        if (self.columns == "attack") != bool(self.attacks):
            raise ValueError("attacks: give a list such as [square@4/255] exactly when columns is attack")
        if "pair_order" in self.metrics and self.pairing != "paired":
            raise ValueError("metrics: pair_order needs pairing: paired")
        return self

    @property
    def trains(self) -> bool:
        """Whether a detector is trained anew for each column, so that a finished bundle cannot take part."""
        return self.columns in ("held_out", "trained_on")

    @property
    def digest(self) -> str:
        left_out = None if self.attacks else {"attacks"}  # so that older protocols keep their hash
        return hashlib.sha256(self.model_dump_json(by_alias=True, exclude=left_out).encode()).hexdigest()


def names() -> tuple[str, ...]:
    """Protocols that ship with the package."""
    return tuple(sorted(p.stem for p in FOLDER.glob("*.yaml")))


def load(name: str) -> Protocol:
    """A protocol by name, or by the path of a YAML file.

    Raises: UnmaskError for an unknown name, a file that is no YAML, and keys and values that do not fit.
    """
    if name == "robustness":
        raise RecipeError(
            "damage comes before a face is cut, so robustness has a command of its own: `unmask eval robustness`"
        )
    path = Path(name) if name.endswith((".yaml", ".yml")) else FOLDER / f"{name}.yaml"
    if path.parent == FOLDER and name not in names():
        near = difflib.get_close_matches(name, names(), 1)
        raise RecipeError(
            f"no protocol {name!r}{f', did you mean {near[0]!r}?' if near else ''} (there are {', '.join(names())}; "
            "or give the path of a .yaml file)"
        )
    try:
        values = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise RecipeError(f"{path} cannot be read as a protocol: {error}") from None
    try:
        return Protocol.model_validate(values)
    except ValidationError as error:
        raise RecipeError(
            f"{path}: {'; '.join(_fault(e['loc'], e['type'], e['msg']) for e in error.errors())}"
        ) from None


def _fault(where: tuple[int | str, ...], kind: str, message: str) -> str:
    key = ".".join(map(str, where)) or "file"
    if kind != "extra_forbidden":
        return f"{key}: {message}"
    inner: dict[str, type[Plain]] = {"interval": Interval, "threshold": Threshold}
    model = Protocol if len(where) == 1 else inner.get(str(where[0]), Where)
    known = [f.alias or n for n, f in model.model_fields.items()]
    near = difflib.get_close_matches(str(where[-1]), known, 1, 0.5)
    said = f"did you mean {near[0]!r}?" if near else f"known are {', '.join(known)}"
    return f"unknown key {key!r}, {said}"


def _array(mask: pa.ChunkedArray) -> Mask:
    return np.asarray(pc.fill_null(mask, False).to_numpy(), bool)
