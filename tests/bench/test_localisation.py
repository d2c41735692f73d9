"""Heat maps against masks: numbers by hand, and the embedded detector's occlusion on a forgery with a mask."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest

from tests.data.crops import face
from unmask.bench.localisation import _counted, run
from unmask.data.manifest import FaceRow, write
from unmask.errors import ManifestError


def test_numbers_of_a_map_that_is_right_and_one_that_is_not() -> None:
    mask = np.zeros((2, 8, 8), bool)
    mask[:, :4] = True
    heat = np.stack([mask[0].astype(float), 1.0 - mask[1]])
    found = _counted(mask, heat, np.array(["a", "b"]), ("d", "e", "h"))
    assert found.pixels.value == pytest.approx((1 + 0) / 2)
    assert found.iou.value == pytest.approx((1 + 0) / 2)
    assert found.f1.value == pytest.approx((1 + 0) / 2)
    assert 0.4 < found.centre.value < 0.6  # half of the image, above or below the middle


def test_a_manifest_with_masks_is_measured_and_one_without_refused(tmp_path: Path) -> None:
    row = face("swap", 0, 1, size=224, margin=1.3, split="test", method="swap", mask_relpath="mask.png")
    mask = np.zeros((224, 224), np.uint8)
    mask[60:160, 60:160] = 255
    for name, pixels in (
        (row.relpath, np.random.default_rng(0).integers(0, 256, (224, 224, 3), np.uint8)),
        ("mask.png", mask),
    ):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        cv2.imwrite(str(tmp_path / name), pixels)
    data = write(tmp_path / "faces.parquet", [row], {"d": tmp_path}, FaceRow).path
    found = run("embedded", data)
    assert (found.images, found.explainer) == (1, "occlusion")
    assert 0 <= found.pixels.value <= 1
    assert found.centre.value > 0.9  # the mask is in the middle
    bare = write(
        tmp_path / "bare.parquet", [row.model_copy(update={"mask_relpath": ""})], {"d": tmp_path}, FaceRow
    ).path
    with pytest.raises(ManifestError, match="extract faces with --mask"):
        run("embedded", bare)
