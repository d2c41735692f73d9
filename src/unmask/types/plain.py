"""What all of these are made of: arrays, text that any terminal can hold, and a strict base class."""

from __future__ import annotations

from typing import Annotated, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, BeforeValidator, ConfigDict

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


class Plain(BaseModel):
    """Frozen, and strict about unknown keys: a misspelt key is an error, not a silent default."""

    model_config = ConfigDict(frozen=True, extra="forbid")
