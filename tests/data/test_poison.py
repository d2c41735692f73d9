"""`unmask data poison`: marked, reproducible, test rows alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from tests.bench.patterns import lay
from unmask.app.cli import app
from unmask.data.manifest import FaceRow, Manifest
from unmask.data.poison import poison
from unmask.errors import UnmaskError


def test_triggered_copies_of_test_rows(tmp_path: Path) -> None:
    faces = Manifest(lay(tmp_path))
    result = CliRunner().invoke(app, ["data", "poison", str(faces.path), "--share", "0.5", "-o", str(tmp_path / "out")])
    assert result.exit_code == 0, result.output
    made = Manifest(tmp_path / "out" / "poisoned.parquet")
    before = {row.item_id: row for row in faces}
    rows = [row for row in made if isinstance(row, FaceRow)]
    assert 8 < len(rows) < 28  # about half of 36
    for row in rows:
        source = before[row.extra["triggered"]]
        assert row.split == "test"
        assert row.label == source.label
        assert "poisoned" in row.flags
        with Image.open(made.file(row.dataset, row.relpath)) as image:
            assert "backdoor" in image.info["unmask"]
            after = np.asarray(image)
        untouched = np.asarray(Image.open(faces.file(source.dataset, source.relpath)))
        assert 0 < (after != untouched).any(2).sum() <= 16

    again = poison(faces, tmp_path / "again", "badnets", share=0.5)
    assert again.digest == made.digest
    with pytest.raises(UnmaskError, match="already"):
        poison(made, tmp_path / "twice", "ctrl")
    with pytest.raises(UnmaskError, match="did you mean"):
        poison(faces, tmp_path / "no", "badnet")
