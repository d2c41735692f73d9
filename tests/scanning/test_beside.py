"""Several detectors on one file, and the one number that a fusion makes of them."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from unmask.bundles import load
from unmask.bundles.fusion import Column, FusionFile
from unmask.scanning import html, text
from unmask.scanning.options import Options, report_of
from unmask.types import Pixels, UnmaskError

from .make import calibration, write_bundle


def fusion_of(folder: Path, *bundles: str) -> Path:
    """Each detector weighs one half."""
    columns = tuple(
        Column(name=s.card.name, called="", kind="detector", sha256=s.weights_sha256, weight=0.5)
        for s in map(load, bundles)
    )
    kept: dict[str, Any] = {"data": "", "split": "test", "rows": 2, "groups": (), "rebuild": ""}
    made = FusionFile(columns=columns, intercept=0.25, calibration=calibration(), **kept)
    path = folder / "fusion.json"
    path.write_text(made.model_dump_json(by_alias=True))
    return path


def logit(p: float | None) -> float:
    assert p is not None
    return math.log(p / (1 - p))


def test_two_detectors_stand_side_by_side_and_a_fusion_weighs_them(
    options: Options, portrait: Pixels, tmp_path: Path
) -> None:
    grain = str(write_bundle(tmp_path / "grain", sees="grain"))
    Image.fromarray(portrait).save(tmp_path / "face.png")
    fusion = fusion_of(tmp_path, grain, options.detector)  # its order is not that of the scan
    scanner = options.model_copy(update={"also": (grain,), "fusion": str(fusion), "checks": False}).ready()
    alone = options.model_copy(update={"checks": False}).ready().scan(tmp_path / "face.png")
    file = scanner.scan(tmp_path / "face.png")
    assert (file.state, file.score, file.faces) == (alone.state, alone.score, alone.faces)  # the first one's answer
    (other,) = file.others
    assert (other.name, other.about) == ("grain-is-forged", "faces")
    assert file.fused is not None
    expected = 0.5 * logit(file.score) + 0.5 * logit(other.score) + 0.25  # calibration: slope 1, intercept 0
    assert logit(file.fused.score) == pytest.approx(expected, abs=1e-3)
    report = report_of(scanner).model_copy(update={"files": (file,)})
    assert "grain-is-forged (faces)" in text.whole(report).plain
    assert "fusion of grain-is-forged, red-is-forged" in html.render(report)
    assert report.settings.also == (other.weights_sha256,)


def test_no_face_is_no_number_of_a_fusion_either(options: Options, tmp_path: Path) -> None:
    grain = str(write_bundle(tmp_path / "grain", sees="grain"))
    Image.new("RGB", (128, 128)).save(tmp_path / "black.png")
    fusion = str(fusion_of(tmp_path, options.detector, grain))
    file = options.model_copy(update={"also": (grain,), "fusion": fusion}).ready().scan(tmp_path / "black.png")
    assert file.fused is not None
    assert (file.fused.state, file.fused.score) == ("not_applicable", None)


def test_a_fusion_of_others_is_refused(options: Options, tmp_path: Path) -> None:
    grain = str(write_bundle(tmp_path / "grain", sees="grain"))
    whole = str(write_bundle(tmp_path / "whole", margin=0))
    fusion = str(fusion_of(tmp_path, options.detector, grain))
    with pytest.raises(UnmaskError, match=r"its grain-is-forged \(these very weights\) is not asked"):
        options.model_copy(update={"also": (options.detector,), "fusion": fusion}).ready()
    (tmp_path / "no.json").write_text("{}")
    with pytest.raises(UnmaskError, match="not a file of `unmask eval fuse`"):
        options.model_copy(update={"also": (whole,), "fusion": str(tmp_path / "no.json")}).ready()
