"""A bundle that says what made an image: in the report's JSON, text and page; of any other bundle nothing is said."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np

from tests.conftest import REPOSITORY
from unmask import scan
from unmask.bundles import locate, read_card
from unmask.scanning.html import render
from unmask.types import ClassCalibration

PORTRAIT = REPOSITORY / "samples" / "portrait-real.jpg"


def test_a_scan_says_what_made_it_where_the_bundle_can(tmp_path: Path) -> None:
    """The embedded detector's weights, with a calibration of its two classes as kinds of generators."""
    shutil.copytree(locate("embedded"), tmp_path / "bundle")
    card = read_card(tmp_path / "bundle/card.json")
    strange = tuple(np.linspace(0, 1, 40).tolist())
    of_classes = ClassCalibration(kind="method", temperature=1.0, strangeness=(strange,) * 2, data="made up")
    card = card.model_copy(update={"class_calibration": of_classes})
    (tmp_path / "bundle/card.json").write_text(card.model_dump_json(), "utf-8")
    report = scan(PORTRAIT, detector=str(tmp_path / "bundle"), jobs=1)
    (face,) = json.loads(report.model_dump_json(by_alias=True))["files"][0]["faces"]
    assert face["traces"]["among"] == ["real", "fake"]
    assert set(face["traces"]["resemble"]) <= {"real", "fake"}
    assert "traces resemble" in str(report)
    assert "Traces resemble" in render(report)


def test_other_bundles_are_silent() -> None:
    report = scan(PORTRAIT, jobs=1, pictures=False, checks=False)
    assert report.files[0].faces[0].traces is None
    assert "traces" not in str(report).lower().replace("traces of", "")
