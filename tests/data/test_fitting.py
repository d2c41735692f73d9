"""A stored crop that cannot be used is called by what is wrong with it."""

from pathlib import Path

import pytest
from PIL import Image

from unmask.data.fitting import read
from unmask.types import UnmaskError


def test_each_fault_has_its_own_words(tmp_path: Path) -> None:
    (tmp_path / "empty.png").write_bytes(b"")
    (tmp_path / "text.png").write_text("text")
    Image.new("RGB", (8, 6)).save(tmp_path / "wide.png")
    said = {"gone": "is missing", "empty": "is an empty file", "text": "damaged or no image", "wide": "no square image"}
    for name, words in said.items():
        with pytest.raises(UnmaskError, match=rf"{name}.png, the crop of 'row 7', .*{words}"):
            read(tmp_path / f"{name}.png", "row 7")
    Image.new("RGB", (8, 8), (1, 2, 3)).save(tmp_path / "good.png")
    assert read(tmp_path / "good.png", "row 7")[0, 0].tolist() == [1, 2, 3]
