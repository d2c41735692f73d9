"""Bundles from strangers: what is not exactly what the card says is refused, with the reason."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from unmask.bundles import load, read, read_card, write
from unmask.types import UnmaskError

from .conftest import CARD


def edit(folder: Path, **change: Any) -> None:
    card = json.loads((folder / "card.json").read_text())
    (folder / "card.json").write_text(json.dumps(card | change))


def test_what_is_written_is_read(make: Callable[..., Path]) -> None:
    folder = make()
    bundle = read(folder)
    content = (folder / "model.onnx").read_bytes()
    assert bundle.files == {"model.onnx": content}
    assert bundle.card.files == {"model.onnx": hashlib.sha256(content).hexdigest()}
    assert sorted(p.name for p in folder.iterdir()) == ["card.json", "model.onnx"]


def test_writing_again_replaces(make: Callable[..., Path]) -> None:
    first = read(make())
    second = read(make(scale=0.5))
    assert first.files != second.files


def test_changed_weights_are_refused(make: Callable[..., Path]) -> None:
    folder = make()
    content = bytearray((folder / "model.onnx").read_bytes())
    content[len(content) // 2] ^= 1
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(UnmaskError, match="sha256 differs"):
        load(str(folder))


def test_missing_weights_are_refused(make: Callable[..., Path]) -> None:
    folder = make()
    (folder / "model.onnx").unlink()
    with pytest.raises(UnmaskError, match=r"model\.onnx.*cannot be read"):
        load(str(folder))


def test_unlisted_weights_are_refused(make: Callable[..., Path], tmp_path: Path) -> None:
    folder = make()
    (folder / "other.safetensors").write_bytes(b"")
    with pytest.raises(UnmaskError, match=r"does not list: other\.safetensors"):
        load(str(folder))
    with pytest.raises(UnmaskError, match="holds other weights"):
        write(folder, CARD, {"model.onnx": tmp_path / "net.onnx"})


@pytest.mark.parametrize(
    "name", ["../net.onnx", "/etc/passwd", "a/b.onnx", "a\\b", "..", ".hidden", "", "card.json", "a\n"]
)
def test_names_that_lead_elsewhere_are_refused(make: Callable[..., Path], name: str, tmp_path: Path) -> None:
    folder = make()
    edit(folder, files={name: "0" * 64})
    with pytest.raises(UnmaskError, match="cannot be the name"):
        read(folder)
    with pytest.raises(UnmaskError, match="cannot be the name"):
        write(tmp_path / "new", CARD, {name: tmp_path / "net.onnx"})


@pytest.mark.parametrize(
    ("change", "fault"),
    [
        ({"format": "unmask.bundle/9"}, "format"),
        ({"surprise": 1}, "surprise"),
        ({"name": None}, "name"),
        ({"input": {"size": 100000}}, "input.size"),
        ({"files": {"model.onnx": "abc"}}, "valid sha256"),
    ],
)
def test_cards_of_another_form_are_refused(make: Callable[..., Path], change: dict[str, Any], fault: str) -> None:
    folder = make()
    edit(folder, **change)
    with pytest.raises(UnmaskError, match=fault):
        read(folder)


def test_a_misleading_calibration_is_refused(make: Callable[..., Path]) -> None:
    folder = make()
    calibration = json.loads((folder / "card.json").read_text())["calibration"]
    edit(folder, calibration=calibration | {"real": [3, 2, 1]})
    with pytest.raises(UnmaskError, match="not sorted"):
        read(folder)


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"\xff\xfe", b"null", b"[" * 100_000])
def test_cards_that_are_no_card_are_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "card.json").write_bytes(content)
    with pytest.raises(UnmaskError, match="not a card"):
        read_card(tmp_path / "card.json")


def test_no_bundle_there(tmp_path: Path) -> None:
    with pytest.raises(UnmaskError, match="no detector bundle"):
        load(str(tmp_path / "none"))
    (tmp_path / "file").write_text("x")
    with pytest.raises(UnmaskError, match="no detector bundle"):
        load(str(tmp_path / "file"))
