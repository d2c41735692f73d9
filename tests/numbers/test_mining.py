"""UIA-ViT, CFM and SLADD: patches without masks, triplets, and a policy that plays against the detector, by hand."""

from __future__ import annotations

import pytest
import torch

from unmask.base.detector import Batch
from unmask.data.landmarks import aligned
from unmask.detectors import cfm, sladd, uia_vit
from unmask.types import InputSpec, UnmaskError


def test_patches_belong_to_the_nearer_cloud() -> None:
    # Variance 4 along the first axis, 1 along the second; the ridge is small. From (2, 1) to 0: 4/4 + 1 = 2.
    spread, zero = torch.diag(torch.tensor([4.0, 1.0])), torch.zeros(2)
    x = torch.tensor([[[2.0, 1.0], [0.0, 3.0]]])
    torch.testing.assert_close(uia_vit.mahalanobis(x, zero, spread), torch.tensor([[2.0, 9.0]]), rtol=3e-3, atol=0)
    kinds = uia_vit.patch_kinds(x.expand(2, 2, 2), torch.tensor([0, 1]), zero, torch.tensor([0.0, 4.0]), spread)
    assert kinds.tolist() == [[False, False], [False, True]]


def test_consistency_and_its_means_by_hand() -> None:
    kinds = torch.tensor([[False, True]])
    agree = torch.tensor([[[0.8, 0.4], [0.2, 0.5]]])
    # From 1, 0, 0, 1: 0.04, 0.16, 0.04, 0.25; their mean 0.1225.
    assert uia_vit.consistency_loss(agree, kinds).item() == pytest.approx(0.1225)
    # c1 0.8, c2 0.5, c3 0.3: 0.05 (1.25 + 2) + 0.5 0.3 = 0.3125.
    assert uia_vit.means_loss(agree, kinds, 0.05, 0.5).item() == pytest.approx(0.3125)
    assert uia_vit.means_loss(agree, torch.tensor([[True, True]]), 0.05, 0.5).item() == 0


def test_clouds_follow_the_batches_and_nothing_is_learnt_from_them_at_first() -> None:
    torch.manual_seed(0)
    detector = uia_vit.UIAViT("tiny-fsfm", 2, momentum=0.5, centre=0.5)
    batch = Batch(torch.rand(4, 3, 64, 64), torch.tensor([0, 0, 1, 1]))
    detector.done = 0.0
    terms = detector.train().loss(batch)
    assert terms["consistency"].item() == terms["means"].item() == 0
    detector.eval()
    _, tokens, agree = detector._seen(batch.image)
    torch.testing.assert_close(detector.real, tokens[:2].flatten(0, 1).mean(0) / 2, rtol=1e-3, atol=1e-4)
    middle = tokens[2:].unflatten(1, (8, 8))[:, 2:6, 2:6].flatten(0, 2)
    torch.testing.assert_close(detector.fake, middle.mean(0) / 2, rtol=1e-3, atol=1e-4)
    assert agree.shape == (4, 64, 64)
    with pytest.raises(UnmaskError, match="plain ViT"):
        uia_vit.UIAViT("tiny-vit")


def test_triplets_of_a_face_its_forgery_and_another() -> None:
    label, pair = torch.tensor([0, 1, 0, 1, 1]), torch.tensor([4, 4, 6, 6, -1])
    anchor, other, fake = cfm.triplets(label, pair)
    assert fake.tolist() == [1, 3, 4]
    assert anchor.tolist() == [0, 2, 0]  # the third has no original: it stands beside the real faces in turn
    assert other.tolist() == [2, 0, 2]
    assert all(len(part) == 0 for part in cfm.triplets(label[:2], pair[:2]))


def test_losses_of_triplets_by_hand() -> None:
    one = torch.tensor([[1.0, 0]])
    # cos 0.6 to the fake, 0 to the other, margin 0.1: 0.7. The other way round: max(0, -0.5).
    fake, other = torch.tensor([[3.0, 4]]), torch.tensor([[0.0, 1]])
    assert cfm.instance_loss(one, other, fake, 0.1).item() == pytest.approx(0.7)
    assert cfm.instance_loss(one, fake, other, 0.1).item() == 0
    assert cfm.instance_loss(one[:0], other[:0], fake[:0], 0.1).item() == 0
    # Two places; the fake differs more at the second (0 against 0.6), where the other's cosine is 1: 0 - 1 + 1.5.
    anchor = torch.tensor([[[[1.0, 1.0]], [[0.0, 0.0]]]])
    forged = torch.tensor([[[[3.0, 0.0]], [[4.0, 1.0]]]])
    assert cfm.local_loss(anchor, anchor, forged, 1.5, 0.5).item() == pytest.approx(0.5)


def test_the_controller_shows_the_leading_components_first() -> None:
    # Orthogonal rows of lengths 3, 2, 1: at a third of the rank only the first is seen, at all of it everything.
    features = torch.diag(torch.tensor([3.0, 2.0, 1.0]))
    torch.testing.assert_close(cfm.principal(features, 0.3), torch.diag(torch.tensor([3.0, 0, 0])))
    torch.testing.assert_close(cfm.principal(features, 0.6), torch.diag(torch.tensor([3.0, 2.0, 0])))
    assert torch.equal(cfm.principal(features, 1.0), features)


def test_blends_by_hand() -> None:
    target, reference = torch.full((3, 3, 8, 8), 0.2), torch.full((3, 3, 8, 8), 0.6)
    mask = torch.zeros(3, 8, 8)
    mask[:, :4] = 1
    made = sladd.blended(target, reference, mask, torch.tensor([0, 1, 2]), torch.tensor([0.5, 1.0, 1.0]))
    assert (made[:, :, 4:] == 0.2).all()
    torch.testing.assert_close(made[0, :, :4], torch.full((3, 4, 8), 0.4))  # 0.2 + 0.5 (0.6 - 0.2)
    torch.testing.assert_close(made[1, :, :4], torch.full((3, 4, 8), 0.2))  # the target's mean colour
    torch.testing.assert_close(made[2, :, :4], torch.full((3, 4, 8), 0.2))  # a flat image has no detail


def test_the_policy_follows_what_the_detector_finds_hard() -> None:
    # log P of two choices; rewards 3 and 1, mean 2: -(log P0 - log P1) / 2.
    log_p = torch.tensor([-1.0, -2.0], requires_grad=True)
    none = torch.zeros(2, dtype=torch.long)
    choice = sladd.Choice(none, none, none, log_p, torch.tensor([1.0, 3.0]))
    loss = sladd.policy_loss(choice, torch.tensor([3.0, 1.0]), 0.1)
    assert loss.item() == pytest.approx(-0.5 - 0.2)
    loss.backward()
    assert log_p.grad is not None
    assert log_p.grad.tolist() == [-0.5, 0.5]


def test_regions_are_nested_and_unknown_faces_are_whole() -> None:
    five = torch.from_numpy(aligned(InputSpec(size=64, margin=1.3)))
    masks = sladd.region_masks(torch.stack([five, torch.full((5, 2), float("nan"))]), 64)
    assert masks.shape == (2, len(sladd.REGIONS), 64, 64)
    area = masks[0].sum((1, 2))
    assert (area > 0).all()
    assert area.argmax() == len(sladd.REGIONS) - 1
    assert area[4] > area[0]
    assert (masks[1] == 1).all()


def test_terms_of_sladd_and_where_the_policys_gradient_goes() -> None:
    torch.manual_seed(0)
    detector = sladd.SLADD("tiny-xception", 32)
    five = torch.from_numpy(aligned(detector.input)).expand(4, 5, 2)
    batch = Batch(torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 0, 1]), points=five)
    terms = detector.loss(batch)
    assert set(terms) == {"cls", "drawing", "kind", "ratio", "policy"}
    terms["policy"].backward()
    assert {k.partition(".")[0] for k, p in detector.named_parameters() if p.grad is not None} == {"policy"}
    with pytest.raises(UnmaskError, match="points: true"):
        detector.loss(Batch(batch.image, batch.label))
    assert set(detector.loss(Batch(batch.image, torch.ones_like(batch.label), points=five))) == {"cls"}
    assert sladd.known_error(torch.tensor([0.5, 9.0]), torch.tensor([1.0, float("nan")])).item() == pytest.approx(0.25)
