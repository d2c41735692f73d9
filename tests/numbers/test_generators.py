"""What each generator's formulas come to, by hand, and that each trace is where it is said to be."""

from __future__ import annotations

import numpy as np
import pytest

from tests.portraits import Everyone, face
from unmask.base.generator import Unforgeable
from unmask.generators.clockmix import hard_label, mixed, sectors, soft_label
from unmask.generators.face_xray import boundary
from unmask.generators.fwa import warped
from unmask.generators.i2g import consistency
from unmask.generators.region_edit import PARTS, ROOM, surroundings
from unmask.generators.sbi import RATIOS, self_blend
from unmask.registry import create
from unmask.types import Floats, Pixels, UnmaskError

FULL = 2 * np.pi


def test_the_boundary_of_face_xray() -> None:
    mask = np.array([[0, 0.25, 0.5, 0.75, 1]], np.float32)
    assert boundary(mask).tolist() == [[0, 0.75, 1, 0.75, 0]]  # 4 * 0.25 * 0.75 = 0.75


def test_the_consistency_of_patches() -> None:
    mask = np.zeros((4, 4), np.float32)
    mask[:2, :2], mask[:2, 2:] = 1, 0.25  # patches 1, 0.25, 0, 0
    # |1 - 0.25| = 0.75 and |1 - 0| = 1 and |0.25 - 0| = 0.25 are what they differ by
    expected = [[1, 0.25, 0, 0], [0.25, 1, 0.75, 0.75], [0, 0.75, 1, 1], [0, 0.75, 1, 1]]
    np.testing.assert_allclose(consistency(mask, 2), expected, atol=1e-6)
    assert (consistency(np.zeros((64, 64), np.float32)) == 1).all()  # a real image agrees with itself
    volume = consistency(np.random.default_rng(0).random((64, 64), np.float32))
    assert volume.shape == (256, 256)
    np.testing.assert_array_equal(volume, volume.T)


@pytest.mark.parametrize("name", ["clockmix", "face_xray", "faceswap", "i2g"])
def test_without_another_face_there_is_no_forgery(name: str) -> None:
    image, points, _ = face("collins")
    nobody = Everyone("collins")
    nobody.people = []
    with pytest.raises(Unforgeable, match="there is nobody"):
        create("generator", name)(image, points, np.random.default_rng(0), nobody)


@pytest.mark.parametrize("ends", [[1.0], [0.6, 2.0], [1.5, 3.0, 6.0]])
def test_sectors_partition_the_picture(ends: list[float]) -> None:
    masks = sectors(65, (32.0, 32.0), 0.7, ends)
    np.testing.assert_array_equal(masks.sum(0), 1)
    assert masks[0, 32, 32]  # the centre has no angle
    y, x = np.mgrid[:65, :65]
    disc = np.hypot(y - 32, x - 32) <= 32
    for k, (low, high) in enumerate(zip([0.0, *ends[:-1]], ends, strict=True), 1):
        assert masks[k][disc].mean() == pytest.approx((high - low) / FULL, abs=0.01)


def test_a_clock_with_no_time_or_all_of_it() -> None:
    none, whole = (sectors(33, (16.0, 16.0), 0.0, [end]) for end in (0.0, FULL))
    assert none[0].mean() > 0.98  # but for the base ray itself, whose angle is 0
    assert whole[1].mean() > 0.99


def test_angles_go_clockwise_from_the_base_ray() -> None:
    masks = sectors(33, (16.0, 16.0), 0.0, [np.pi / 2])
    assert masks[1, 24, 24]  # right and below the centre: between the x axis and the y axis, y downwards
    assert not masks[1, 8, 24]
    assert not masks[1, 24, 8]


def test_a_picture_mixed_with_itself_is_itself() -> None:
    image, _, _ = face("collins")
    masks = sectors(128, (64.0, 70.0), 2.0, [1.0, 3.0])
    np.testing.assert_array_equal(mixed([image, image, image], masks), image)


def test_labels_of_mixtures() -> None:
    assert [hard_label(k) for k in ([0, 0], [0, 1], [1, 0], [1, 1])] == [0, 1, 1, 1]
    masks = np.zeros((2, 2, 2), bool)
    masks[1, 0, 0] = True
    masks[0] = ~masks[1]
    assert soft_label(masks, [0, 1]) == 0.25
    assert soft_label(masks, [1, 0]) == 0.75
    assert soft_label(masks, [0, 0]) == 0


def test_a_mixture_takes_each_sector_from_its_face() -> None:
    image, points, _ = face("collins")
    for seed in range(6):
        made = create("generator", "clockmix")(image, points, np.random.default_rng(seed), Everyone("collins"))
        fakes = made.details["sectors"].split()
        assert fakes[:2] == ["real", "forged"]
        assert len(fakes) == 1 + len(made.details["donor"].split())
        np.testing.assert_array_equal(made.image[made.mask == 0], image[made.mask == 0])
    with pytest.raises(UnmaskError, match="not made of mixtures"):
        create("generator", "clockmix", {"of": "clockmix"})


def test_ratios_of_self_blends_are_the_papers() -> None:
    image, points, _ = face("hopper")
    found = {round(float(self_blend(image, points.points, np.random.default_rng(s))[1].max()), 2) for s in range(60)}
    assert {0.25, 0.5, 0.75} < found  # a soft mask may be a little below its ratio
    assert max(found) <= 1
    assert set(RATIOS) == {0.25, 0.5, 0.75, 1.0}


def fine(image: Pixels) -> Floats:
    """(H, W), how much neighbours differ."""
    grey = image.astype(np.float32).mean(-1)
    return np.abs(np.diff(grey, axis=0))[:, :-1] + np.abs(np.diff(grey, axis=1))[:-1]


def test_warping_a_face_takes_its_detail_and_nothing_elses() -> None:
    image, points, _ = face("collins")
    before = fine(image).mean()
    small, large = (fine(warped(image, points, scale, 10, 3)).mean() for scale in (0.25, 0.75))
    assert small < 0.6 * before
    assert small < large < before
    for seed in range(5):
        made = create("generator", "fwa")(image, points, np.random.default_rng(seed))
        np.testing.assert_array_equal(made.image[made.mask == 0], image[made.mask == 0])
        lost = fine(image) - fine(made.image)
        assert lost[made.mask[:-1, :-1] > 0.9].mean() > 0


def test_an_edit_changes_its_part_and_says_in_which_order() -> None:
    image, points, _ = face("hopper")
    for seed in range(12):
        made = create("generator", "region_edit")(image, points, np.random.default_rng(seed), Everyone("hopper"))
        steps, ways = (made.details[name].split("-") for name in ("steps", "ways"))
        assert 1 <= len(steps) == len(ways) <= 3
        assert len(set(steps)) == len(steps)
        assert set(steps) <= set(PARTS)
        allowed = sum(surroundings(points, r, ROOM[s], 128) for s in steps for r in PARTS[s]) > 0
        changed = (made.image != image).any(-1)
        assert not changed[~allowed].any()
        for step in steps:
            here = sum(surroundings(points, r, ROOM[step], 128) for r in PARTS[step]) > 0
            assert changed[here].mean() > 0.3
        assert ("donor" in made.details) == ("exchanged" in ways)


def test_edits_can_be_warps_alone_or_exchanges_alone() -> None:
    image, points, _ = face("hopper")
    for exchange, way in ((0, "warped"), (1, "exchanged")):
        maker = create("generator", "region_edit", {"exchange": exchange, "most": 1})
        found = {maker(image, points, np.random.default_rng(s), Everyone("hopper")).details["ways"] for s in range(6)}
        assert found == {way}
