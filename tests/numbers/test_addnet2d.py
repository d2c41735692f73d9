"""ADDNet-2D's masks: what they hide, what they leave alone, and that they move with the crop."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unmask.base.detector import Batch
from unmask.data.landmarks import aligned, from_five
from unmask.data.transforms import build
from unmask.detectors import addnet2d
from unmask.nn.attention_mask import organ_mask, organ_masks, pyramid, sides
from unmask.types import InputSpec, UnmaskError


def small(mask: str = "organs", size: int = 32) -> addnet2d.ADDNet2D:
    torch.manual_seed(0)
    return addnet2d.ADDNet2D("tiny-xception", size, 16, mask).eval()  # type: ignore[arg-type]


def test_a_mask_of_ones_is_the_plain_network_and_one_of_zeros_sees_nothing() -> None:
    detector, image = small(), torch.rand(3, 3, 32, 32)
    ones = [torch.ones_like(getattr(detector, f"mask{n}")) for n in range(1 + len(detector.cuts))]
    assert torch.equal(detector.seen(image, ones).features, detector.body(image).mean((2, 3)))
    logits = detector.seen(image, [torch.zeros_like(m) for m in ones]).logits
    assert torch.equal(logits, logits[:1].expand_as(logits))
    assert torch.equal(small("none")(image).features, detector.body(image).mean((2, 3)))


@pytest.mark.parametrize("size", [32, 40, 47])
def test_masks_are_as_large_as_the_maps(size: int) -> None:
    detector = small(size=size)
    maps, found = detector.body.normalised(torch.rand(1, 3, size, size)), []
    for after, until in zip((None, *detector.cuts), detector.cuts, strict=False):
        maps = detector.body.run(maps, after, until)
        found.append(maps.shape[-1])
    assert found == sides("tiny-xception", size, detector.cuts)
    masks = pyramid(torch.rand(2, 1, size, size), found)
    assert [m.shape[-1] for m in masks] == [size, *found]
    assert all(m.min() >= 0 and m.max() <= 1 for m in masks)


def test_organs_are_brighter_than_the_face_and_the_background_is_black() -> None:
    spec = InputSpec(size=128, margin=1.3)
    five = aligned(spec)
    mask = organ_mask(from_five(five), 128)
    eye, nose = (mask[int(y), int(x)] for x, y in (five[0], five[2]))
    cheek = mask[int(five[2][1]), int(five[0][0])]  # at the nose's height, below the eye
    assert mask.max() == 1
    assert min(eye, nose) > 0.8 > cheek > 0.4
    assert mask[0, 0] == 0


def test_masks_move_as_the_crop_is_moved() -> None:
    five = aligned(InputSpec(size=64, margin=1.3)) + np.float32([6, -3])
    face = (organ_mask(from_five(five), 64) * 255).astype(np.uint8)
    chain = build([{"flip": {"p": 1.0}}, {"affine": {"degrees": 20, "translate": 0.05, "scale": (0.9, 1.1)}}])
    image, points = chain.with_points(np.repeat(face[..., None], 3, 2), five, np.random.default_rng(1))
    assert points is not None
    moved = organ_masks(torch.from_numpy(points)[None], 64)[0, 0].numpy() * 255
    still = face.astype(float)
    assert np.abs(moved - image[..., 0]).mean() < 6 < np.abs(still - image[..., 0]).mean()


def test_faces_without_points_see_everything_and_a_recipe_without_them_is_told() -> None:
    points = torch.full((1, 5, 2), float("nan"))
    assert (organ_masks(points, 16) == 1).all()
    assert (organ_masks(torch.zeros(1, 5, 2), 16) == 1).all()  # five points in one place are no face
    batch = Batch(torch.rand(2, 3, 32, 32), torch.tensor([0, 1]))
    with pytest.raises(UnmaskError, match="points: true"):
        small().loss(batch)


def test_the_random_control_has_the_same_area_elsewhere() -> None:
    detector = small("random")
    points = torch.from_numpy(aligned(detector.input))[None].expand(4, 5, 2)
    masks, organs = detector.masks(points)[0], organ_masks(points, 32)
    torch.testing.assert_close(masks.sum((1, 2, 3)), organs.sum((1, 2, 3)))
    assert not torch.equal(masks[0], masks[1])
