"""The file of a fusion (`unmask eval fuse`), as a scan reads it: one logit out of those of several detectors."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from unmask.bundles.calibration import check
from unmask.errors import BundleError
from unmask.types import Calibration


class Column(BaseModel):
    """One member. `sha256`: of its weights; `weight`: of its raw logit."""

    name: str
    kind: Literal["detector", "scores"]
    sha256: str
    weight: float = Field(allow_inf_nan=False)

    model_config = ConfigDict(frozen=True, extra="ignore")


class Weights(BaseModel):
    """What a scan needs of the file: logit = sum of weight x raw logit + intercept, then the calibration."""

    schema_: Literal["unmask.fusion/1"] = Field(alias="schema")
    columns: tuple[Column, ...] = Field(min_length=2)
    intercept: float = Field(allow_inf_nan=False)
    calibration: Calibration

    model_config = ConfigDict(frozen=True, extra="ignore")


@dataclass(frozen=True)
class Fusion:
    """A fusion that was read. `sha256`: of its file."""

    weights: Weights
    sha256: str

    def __call__(self, logits: list[float]) -> float:
        """Raw logits in the order of the columns -> the fused logit, before its calibration."""
        return float(np.dot([c.weight for c in self.weights.columns], logits) + self.weights.intercept)


def read(path: Path) -> Fusion:
    """Raises: UnmaskError for what is no file of `unmask eval fuse`, and for one that needs scores of a file."""
    try:
        content = path.read_bytes()
        weights = Weights.model_validate_json(content)
        check(weights.calibration)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from error
    except ValidationError as error:
        raise BundleError(f"{path} is not a file of `unmask eval fuse`: {error.errors()[0]['msg']}") from error
    foreign = [column.name for column in weights.columns if column.kind == "scores"]
    if foreign:
        raise BundleError(f"{path} needs the scores of {', '.join(foreign)}, which a scan does not have: fuse bundles")
    return Fusion(weights, hashlib.sha256(content).hexdigest())
