"""Which files a text encoder reads with: a run is pinned to their content."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from unmask.data.tokens import FILE


def pinned(options: dict[str, Any]) -> dict[str, Any]:
    """Options of an objective, with the sha256 of the tokeniser's file where `text` names its folder."""
    text = options.get("text")
    if not isinstance(text, dict) or text.get("sha256"):
        return options
    encoder, tokeniser = str(text.get("encoder", "transformer")), str(text.get("tokeniser", ""))
    folder = tokeniser or (encoder if encoder != "transformer" else "bytes")
    path = Path(folder) / FILE
    if folder == "bytes" or not path.is_file():
        return options  # building the objective says what is wrong
    return {**options, "text": {**text, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}
