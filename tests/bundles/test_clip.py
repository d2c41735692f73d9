"""The shipped delta on CLIP: its card, its size, and what it says where the encoder is missing."""

from __future__ import annotations

from pathlib import Path

import pytest

from unmask.bundles import load, locate, read_card
from unmask.bundles.encoders import WHEEL_WEIGHTS_SHA256
from unmask.types import UnmaskError


def test_it_is_a_small_delta_on_the_pinned_encoder() -> None:
    card = read_card(locate("clip") / "card.json")
    assert card.base is not None
    assert (card.base.name, card.base.sha256) == ("clip-vit-b-16", WHEEL_WEIGHTS_SHA256)
    assert sum((locate("clip") / name).stat().st_size for name in card.files) < 2**20
    assert card.calibration is not None
    assert card.ood_threshold is not None
    assert {m.split for m in card.metrics} == {"test"}


def test_without_its_encoder_it_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UnmaskError, match="unmask pull clip-vit-b-16"):
        load("clip")
