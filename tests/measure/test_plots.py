"""Images are files that open, the same each time, and the frequencies of a pattern stand where they belong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unmask.measure.cells import Judged, cell
from unmask.measure.plots import draw, features, frequencies, histograms, residual
from unmask.measure.protocol import Protocol
from unmask.measure.tables import Result
from unmask.measure.units import Units
from unmask.types import UnmaskError


def test_stripes_of_two_pixels_stand_at_the_edge_of_the_frequency_picture() -> None:
    image = np.repeat((np.arange(64) % 2 * 200).astype(np.uint8)[None, :, None], 64, 0).repeat(3, 2)
    power = residual(image)
    assert np.unravel_index(power.argmax(), power.shape) == (32, 0)  # half a cycle a pixel, along x


def test_each_picture_is_an_svg_and_a_legible_png(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    text = np.array(["x"] * 60)
    found = Units(np.arange(60) % 2, rng.standard_normal(60), np.full(60, np.nan), text, text, text, text, text)
    written = histograms([("a name that is far too long for a legend", found)], "made", tmp_path / "h")
    written += features(rng.standard_normal((40, 8)).astype(np.float32), ["a", "b"] * 20, tmp_path / "t")
    written += frequencies({k: rng.random((16, 16)) for k in ("real", "fake")}, tmp_path / "f")
    for path in written:
        assert min(Image.open(path).size) >= 400
        assert path.with_suffix(".svg").read_text().startswith("<?xml")
    first = (tmp_path / "f.svg").read_bytes()
    frequencies({"real": np.ones((4, 4)), "fake": np.zeros((4, 4))}, tmp_path / "f")
    other = (tmp_path / "f.svg").read_bytes()
    frequencies({"real": np.ones((4, 4)), "fake": np.zeros((4, 4))}, tmp_path / "f")
    assert other == (tmp_path / "f.svg").read_bytes() != first


def test_many_detectors_are_ranked_and_the_best_are_drawn(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    names, label = [f"d{i}" for i in range(9)], np.arange(60) % 2
    text = np.array(["x"] * 60)
    units = {
        (d, "made"): Units(label, rng.standard_normal(60) + i * label, np.full(60, np.nan), text, *[text] * 4)
        for i, d in enumerate(names)
    }
    protocol = Protocol(name="made", title="Made")
    judged = [Judged(d, (units[d, "made"],) * 2, (None, None)) for d in names]
    cells = [cell(one, "made", "auroc", protocol.interval, {}) for one in judged]
    result = Result.of(protocol, cells, "", names, ["0" * 64] * 9, "unmask eval bench")
    written = draw(result, units, tmp_path)
    assert [p.name for p in written] == ["ranking-auroc.png", "roc-0.png", "scores-0.png"]
    assert all(max(Image.open(p).size) <= 4500 for p in written)  # a page, not a wall
    said = tmp_path / "roc-0.svg"
    assert sum(f"<!-- {d}, " in said.read_text() for d in names) == 6
    assert "<!-- d8, " in said.read_text()
    assert "<!-- made, the 6 best of 9: ROC" in said.read_text()


def test_a_map_of_three_features_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UnmaskError, match="at least 10"):
        features(np.zeros((3, 2), np.float32), ["a"] * 3, tmp_path / "t")
