"""FSFM: masks over a thousand maps, and its losses by hand."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch

from unmask.base.objective import Views
from unmask.data.landmarks import Landmarks, from_five
from unmask.data.parsing import CLASSES, parsing
from unmask.faces.align import TEMPLATES
from unmask.nn.patches import patchify, unpatchify, visible
from unmask.objectives import fsfm
from unmask.objectives.fsfm import COVERABLE, FSFM, GROUPS, crfr_p, discrimination, patch_regions, reconstruction
from unmask.registry import FAMILIES
from unmask.types import UnmaskError

FIVE = 224 * (0.5 + (TEMPLATES["gend5"] - 0.5) / np.float32(1.3))
BUDGET = 147  # int(0.75 x 196)


@pytest.fixture(scope="module")
def regions() -> torch.Tensor:
    """A thousand faces: shifted, turned, scaled until they leave the crop or fill it."""
    rng, maps = np.random.default_rng(0), []
    for _ in range(1000):
        turn, scale = rng.normal(0, 0.3), rng.uniform(0.4, 3)
        matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
        shift = 112 - matrix @ (112, 112) + rng.normal(0, 20, 2)
        face = from_five(np.asarray(FIVE @ matrix.T + shift, np.float32) / 4)
        maps.append(parsing(face, 56))
    return patch_regions(torch.from_numpy(np.stack(maps)), 4)


@pytest.mark.parametrize("covered", range(len(COVERABLE)), ids=COVERABLE)
def test_masks_over_a_thousand_maps(regions: torch.Tensor, covered: int) -> None:
    mask, part = crfr_p(regions, covered, 0.75, torch.Generator().manual_seed(covered))
    region = regions[:, covered]
    fits = region.sum(1) < BUDGET
    assert (mask.sum(1) == BUDGET).all()
    assert not (part & ~mask).any()
    assert not (part & ~region).any()
    assert torch.equal(part[fits], region[fits])  # wholly covered, ...
    assert (part[~fits].sum(1) == BUDGET).all()  # ... or all of the budget
    rho = (BUDGET - region.sum(1)) / (196 - region.sum(1))
    taken, off = region.clone(), torch.zeros(len(mask))
    for other in (g for g in range(len(GROUPS)) if g != covered):
        own = regions[:, other] & ~taken
        taken |= own
        away = ((mask & own).sum(1) - (rho * own.sum(1)).round()).abs()
        off += away
        # The seven groups' roundings of at most a half each are made up for by random patches, of any group.
        assert (away[fits] <= 4).all()
    assert (off[fits] <= 4).all()
    assert (off[fits] == 0).float().mean() > 0.1


def test_a_region_larger_than_the_budget_keeps_a_random_part() -> None:
    regions = torch.zeros(2, len(GROUPS), 16, dtype=torch.bool)
    regions[:, 4] = True  # the boundary is everywhere
    regions[:, 4, 0] = False
    masks = [crfr_p(regions, 4, 0.75, torch.Generator().manual_seed(s)) for s in range(8)]
    assert all((mask.sum(1) == 12).all() and torch.equal(mask, part) and not mask[:, 0].any() for mask, part in masks)
    assert len({tuple(mask[0].tolist()) for mask, _ in masks}) > 1


def test_masks_differ_between_images_and_repeat_with_the_seed(regions: torch.Tensor) -> None:
    same = regions[:1].expand(8, -1, -1)
    one, again, other = (crfr_p(same, 0, 0.75, torch.Generator().manual_seed(s))[0] for s in (0, 0, 1))
    assert torch.equal(one, again)
    assert (one != other).any()
    assert (one[0] != one[1]).any()
    for ratio in (0.0, 0.004, 1.0):
        with pytest.raises(UnmaskError, match="at least one"):
            crfr_p(same, 0, ratio)


def test_a_patch_belongs_to_every_group_that_it_has_a_pixel_of() -> None:
    # Two by two patches of two pixels: skin; skin and hair; nose; nothing but background.
    skin, hair, nose = (CLASSES.index(c) for c in ("skin", "hair", "nose"))
    drawn = torch.tensor([[skin, skin, skin, hair], [skin, skin, skin, skin], [nose, nose, 0, 0], [nose, nose, 0, 0]])
    found = patch_regions(drawn[None], 2)[0]
    expected = {name: [False] * 4 for name in GROUPS}
    expected |= {"skin": [True, True, False, False], "hair": [False, True, False, False]}
    expected |= {"nose": [False, False, True, False], "boundary": [False, True, False, False]}
    expected |= {"background": [False, False, False, True]}
    assert dict(zip(GROUPS, found.tolist(), strict=True)) == expected


def test_a_drawn_face_has_its_parts_where_the_landmarks_are() -> None:
    face = from_five(FIVE.astype(np.float32))
    drawn = parsing(face, 224)
    x, y = face.points.round().astype(int).T
    assert {CLASSES[drawn[int(y[i]), int(x[i])]] for i in (30,)} == {"nose"}
    for eye, corners in (("right eye", (36, 39)), ("left eye", (42, 45))):
        middle = face.points[list(corners)].mean(0).round().astype(int)
        assert CLASSES[drawn[middle[1], middle[0]]] == eye
    assert CLASSES[drawn[int(y[51]) + 2, int(x[51])]] == "upper lip"
    assert CLASSES[drawn[int(y[57]) - 2, int(x[57])]] == "lower lip"
    assert set(np.unique(drawn)) == set(range(len(CLASSES)))
    mirrored = Landmarks(np.asarray((224, 0) + face.points * (-1, 1), np.float32))  # whose right is left
    assert (parsing(mirrored, 224) == 0).sum() == pytest.approx((drawn == 0).sum(), rel=0.01)


def test_reconstruction_by_hand() -> None:
    # A patch of pixels 1 and 3: mean 2, unbiased variance 2, normalised -0.70711 and 0.70711. Nothing predicted:
    # (0.5 + 0.5) / 2 = 0.5. The other patch is not masked.
    target = torch.tensor([[[1.0, 3.0], [5.0, 6.0]]])
    mask = torch.tensor([[True, False]])
    assert reconstruction(torch.zeros(1, 2, 2), target, mask).item() == pytest.approx(0.5, abs=1e-6)
    assert reconstruction(torch.zeros(1, 2, 2), target, ~mask & mask).item() == 0
    normalised = (target - target.mean(2, keepdim=True)) / (target.var(2, keepdim=True) + 1e-6).sqrt()
    assert reconstruction(normalised, target, mask).item() == pytest.approx(0)


def test_discrimination_by_hand() -> None:
    # cos of 0 and 60 degrees: 1 and 1/2; -1/2 of their mean is -0.375.
    predicted = torch.tensor([[2.0, 0.0], [0.0, 1.0]], requires_grad=True)
    target = torch.tensor([[1.0, 0.0], [math.sqrt(3), 1.0]], requires_grad=True)
    loss = discrimination(predicted, target)
    loss.backward()
    assert loss.item() == pytest.approx(-0.375)
    assert target.grad is None


@pytest.fixture
def small(one_thread: None) -> FSFM:
    torch.manual_seed(0)
    family = FAMILIES["objective"]
    made: FSFM = family.create("fsfm", family.card("fsfm").small)
    return made


def faces(count: int = 3) -> Views:
    """Noise: where the alignment puts a face, the masks suppose one."""
    image = torch.rand(count, 3, 64, 64)
    none = torch.full((count,), -1)
    return Views((image,), (torch.tensor([0.0, 0, 1, 1]).expand(count, -1),), torch.arange(count), none)


def test_the_target_has_no_gradient_and_follows_by_the_cosine(small: FSFM) -> None:
    sum(small.loss(faces()).values()).backward()  # type: ignore[union-attr]
    assert all(p.grad is None for p in small.target.parameters())
    assert all(p.grad is not None for p in small.online.parameters() if p.requires_grad)
    before = small.target.module.norm.weight.clone()
    with torch.no_grad():
        small.online.norm.weight.add_(1)
    small.updated(SimpleNamespace(done=0.5))  # type: ignore[arg-type]
    # Half-way from 0.996 to 1: 0.998.
    torch.testing.assert_close(small.target.module.norm.weight, before + 0.002)


def test_what_is_seen_does_not_depend_on_what_is_hidden(small: FSFM) -> None:
    batch = faces()
    mask, _ = small.masks(batch.images[0])
    index = visible(mask)
    shown = small.online.tokens(batch.images[0], index)
    pixels = patchify(batch.images[0], 8)
    other = unpatchify(torch.where(mask[..., None], torch.rand_like(pixels), pixels), 8)
    torch.testing.assert_close(small.online.tokens(other, index), shown)


def test_regions_follow_the_landmarker_and_fall_back_on_the_five_points(
    small: FSFM, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = torch.rand(2, 3, 64, 64)
    five = small.parsed(image)
    small.regions = "landmarks"
    assert not torch.equal(small.parsed(image), five)

    def blind(*_: object) -> None:
        raise UnmaskError("no face")

    monkeypatch.setattr(fsfm, "landmarks", blind)
    assert torch.equal(small.parsed(image), five)


def test_random_masks_are_the_control(small: FSFM) -> None:
    small.mask = "random"
    mask, covered = small.masks(torch.rand(64, 3, 64, 64))
    assert (mask.sum(1) == 48).all()
    assert not covered.any()
    assert mask.float().mean(0).std() < 0.12  # every place as often: sqrt(0.75 x 0.25 / 64) = 0.054
