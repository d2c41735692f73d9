"""The file of a fusion (`unmask eval fuse`): one logit out of those of several detectors."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import Field, ValidationError

from unmask.bundles.calibration import check
from unmask.errors import BundleError
from unmask.types import Calibration, Plain


class Column(Plain):
    """One detector of a fusion. `called`: as the command named it; `sha256`: of a bundle's weights, or of the file."""

    name: str
    called: str
    kind: Literal["detector", "scores"]
    sha256: str
    weight: float = Field(0.0, allow_inf_nan=False, description="of its raw logit")


class FusionFile(Plain):
    """A fusion as it is kept: logit P(fake) = sum of weight x logit + intercept, at equal priors.

    Attributes:
        calibration: Platt scaling, its band and the sorted logits of cross-fitted fused logits, as in a bundle's card.
        groups: hashes of the leakage groups that it was fitted on, so that it is never tested on them.
    """

    schema_: Literal["unmask.fusion/1"] = Field("unmask.fusion/1", alias="schema")
    columns: tuple[Column, ...] = Field(min_length=2)
    intercept: float = Field(allow_inf_nan=False)
    calibration: Calibration
    data: str
    split: str
    rows: int
    groups: tuple[str, ...]
    rebuild: str

    def __call__(self, logits: ArrayLike) -> NDArray[np.float64]:
        """Raw logits (..., K) in the order of the columns -> fused logits (...), before the calibration."""
        weights = np.array([column.weight for column in self.columns])
        return np.asarray(np.asarray(logits, np.float64) @ weights + self.intercept, np.float64)


def read(path: Path) -> tuple[FusionFile, str]:
    """A fusion, and the sha256 of its file. Raises: UnmaskError for what is no file of `unmask eval fuse`."""
    try:
        content = path.read_bytes()
        found = FusionFile.model_validate_json(content)
        check(found.calibration)
    except OSError as error:
        raise BundleError(f"{path} cannot be read: {error.strerror}") from None
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(map(str, first["loc"])) or "file"
        raise BundleError(f"{path} is not a file of `unmask eval fuse`: {where}: {first['msg']}") from None
    return found, hashlib.sha256(content).hexdigest()
