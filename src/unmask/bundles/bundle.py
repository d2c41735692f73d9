"""A trained detector in a box: a folder with `card.json` and the weights that the card lists by name and sha256.

Bundles come from strangers. No byte of a file is used before its hash is the card's, names cannot lead out of the
folder, and nothing is ever unpickled.
"""

from __future__ import annotations

import hashlib
import os
import re
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pydantic import ValidationError

from unmask.bundles import classes
from unmask.bundles.calibration import check
from unmask.errors import BundleError, OutputError, UnmaskError
from unmask.types import Card, Explanation

CARD = "card.json"
WEIGHTS = (".onnx", ".safetensors")
CARD_BYTES = 64 * 2**20  # a card with the scores of a million validation items is smaller


@dataclass(frozen=True)
class Bundle:
    """A card, and the verified content of its files by name."""

    card: Card
    files: Mapping[str, bytes]

    def sha256(self, name: str) -> str:
        return self.card.files[name]


def read(folder: Path) -> Bundle:
    """Reads and verifies a bundle. Raises: UnmaskError that names the file and the fault."""
    card = read_card(folder / CARD)
    extra = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in WEIGHTS and p.name not in card.files)
    if extra:
        raise BundleError(f"{folder} holds weights that its card does not list: {', '.join(extra)}")
    files = {}
    for name, expected in card.files.items():
        try:
            content = (folder / name).read_bytes()
        except OSError as error:
            raise BundleError(f"{folder / name}, which the card lists, cannot be read: {error.strerror}") from error
        if hashlib.sha256(content).hexdigest() != expected:
            raise BundleError(
                f"{folder / name} is not the file that the card lists (sha256 differs): get the bundle anew"
            )
        files[name] = content
    return Bundle(card, files)


def read_card(path: Path) -> Card:
    """Raises: UnmaskError when there is no card, or it is not one that this version understands."""
    try:
        with path.open("rb") as file:
            text = file.read(CARD_BYTES + 1)
    except OSError as error:
        raise BundleError(f"no detector bundle at {path.parent}: {CARD}: {error.strerror}") from error
    if len(text) > CARD_BYTES:
        raise BundleError(f"{path} is too long for a card: over {CARD_BYTES} bytes")
    try:
        card = Card.model_validate_json(text)
        if card.calibration is not None:
            check(card.calibration)
        if card.class_calibration is not None:
            classes.check(card.class_calibration, card.classes)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc'])) or 'file'}: {e['msg']}" for e in error.errors()[:5])
        raise BundleError(f"{path} is not a card of the form unmask.bundle/1: {faults}") from error
    except UnmaskError as error:
        raise BundleError(f"{path}: {error}") from error
    for name, sha256 in card.files.items():
        check_name(name)
        if not re.fullmatch(r"[0-9a-f]{64}", sha256):
            raise BundleError(f"{path}: {name} has no valid sha256")
    return card


def write(folder: Path, card: Card, files: Mapping[str, Path]) -> Card:
    """Writes a bundle; `card.files` is filled in from the files themselves.

    The card comes last, so that a bundle whose writing was cut short does not load: there is no card, or its hashes are
    those of other files.

    Args:
        files: name in the bundle -> the file to copy.
    Returns: the card as written.
    Raises: UnmaskError for names that are no plain file names, and where `folder` holds other weights.
    """
    for name in files:
        check_name(name)
    if card.calibration is not None:
        check(card.calibration)
    if card.class_calibration is not None:
        classes.check(card.class_calibration, card.classes)
    folder.mkdir(parents=True, exist_ok=True)
    others = sorted(p.name for p in folder.iterdir() if p.suffix.lower() in WEIGHTS and p.name not in files)
    if others:
        raise OutputError(f"{folder} holds other weights: {', '.join(others)}; remove them or choose another folder")
    hashes = {}
    for name, source in files.items():
        content = source.read_bytes()
        hashes[name] = hashlib.sha256(content).hexdigest()
        _replace(folder / name, content)
    card = card.model_copy(update={"files": hashes})
    _replace(folder / CARD, card.model_dump_json(indent=1).encode() + b"\n")
    return card


def explained(folder: Path, found: Explanation) -> None:
    """Puts what was measured of its explanations into a bundle's card. Raises: UnmaskError where there is no card."""
    card = read_card(folder / CARD).model_copy(update={"explanation": found})
    _replace(folder / CARD, card.model_dump_json(indent=1).encode() + b"\n")


def check_name(name: str) -> None:
    """Raises: UnmaskError unless `name` is a plain file name that stays in its folder."""
    if not re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,99}", name) or name == CARD:
        raise BundleError(f"{name!r} cannot be the name of a file in a bundle")


def _replace(path: Path, content: bytes) -> None:
    """All of the content, or the file as it was."""
    descriptor, part = tempfile.mkstemp(dir=path.parent, prefix=".part-")
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
        Path(part).chmod(0o644)
        Path(part).replace(path)
    except BaseException:
        Path(part).unlink(missing_ok=True)
        raise
