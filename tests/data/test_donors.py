"""Who may give a face to whom, and that what is read is the crop with its landmarks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from tests.portraits import PEOPLE, face, lay, reals
from unmask.data.donors import Reals
from unmask.data.manifest import Manifest, Row, write
from unmask.types import UnmaskError


def names(reals: Reals, i: int, seeds: int = 30, **how: int) -> set[str]:
    drawn = (reals.donors(i).draw(np.random.default_rng(s), 64, **how) for s in range(seeds))
    return {donor.name.removeprefix("portraits/").removesuffix("#0") for some in drawn for donor in some}


def test_everybody_else_gives(tmp_path: Path) -> None:
    assert names(reals(tmp_path), 0) == set(PEOPLE) - {"collins"}


def test_splits_groups_identities_and_flags_are_respected(tmp_path: Path) -> None:
    path = lay(
        tmp_path,
        hopper={"split": "val"},
        collins_mirrored={"group_id": "collins"},
        hopper_mirrored={"identity": "collins"},
        collins_dark={"flags": ("resembles-held-out",)},
    )
    found = Reals(Manifest(path))
    assert names(found, 0) == {"hopper-dark"}
    assert names(found, 1) == set()  # alone in its split
    assert "collins-dark" not in names(found, 5)


def test_unknown_identities_are_not_one_person(tmp_path: Path) -> None:
    path = lay(tmp_path, **{p.replace("-", "_"): {"identity": ""} for p in PEOPLE})
    assert names(Reals(Manifest(path)), 0) == set(PEOPLE) - {"collins"}


def test_only_real_crops_take_part(tmp_path: Path) -> None:
    path = lay(
        tmp_path, hopper={"label": 1}, collins_dark={"reason": "no face", "relpath": ""}, hopper_dark={"label": None}
    )
    found = Reals(Manifest(path))
    assert len(found) == 3
    assert names(found, 0) == {"collins-mirrored", "hopper-mirrored"}


def test_the_nearest_are_nearest(tmp_path: Path) -> None:
    """Dark variants have the very points of their originals."""
    found = reals(tmp_path)
    assert names(found, 0, among=1) == {"collins-dark"}
    assert names(found, 1, among=1) == {"hopper-dark"}


def test_several_donors_are_several_people(tmp_path: Path) -> None:
    found = reals(tmp_path)
    drawn = found.donors(0).draw(np.random.default_rng(0), 64, 4)
    assert len({d.name for d in drawn}) == 4
    assert all(d.image.shape == (64, 64, 3) for d in drawn)
    assert len(found.donors(0).draw(np.random.default_rng(0), 64, 40)) == 5


def test_crops_and_landmarks_are_those_of_the_rows(tmp_path: Path) -> None:
    found = reals(tmp_path)
    image, points, _ = face("hopper")
    read, where = found.read(1)
    np.testing.assert_array_equal(read, image)
    np.testing.assert_allclose(where.points, points.points, atol=0.01)
    half, there = found.read(1, 64)
    assert half.shape == (64, 64, 3)
    np.testing.assert_allclose(there.points, points.points / 2, atol=0.01)


def test_media_and_mixed_crops_are_refused(tmp_path: Path) -> None:
    row = Row(dataset="d", item_id="d/a", relpath="a.png", group_id="a", label=0)
    with pytest.raises(UnmaskError, match="unmask data extract"):
        Reals(write(tmp_path / "media.parquet", [row], tmp_path))
    with pytest.raises(UnmaskError, match="templates or margins"):
        Reals(Manifest(lay(tmp_path / "mixed", hopper={"margin": 1.5})))
