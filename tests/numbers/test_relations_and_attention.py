"""LRL, SIA, RFM and IID: their distinctive formulas by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from unmask.base.detector import Batch
from unmask.detectors import iid, lrl, rfm, sia
from unmask.nn.frequency import bands, dct_matrix
from unmask.types import UnmaskError


def test_self_information_by_hand() -> None:
    # A flat map is fully likely. In one with a bright place, a 3 x 3 patch about it differs from its neighbours: with
    # radius 1 each of the 8 shifted maps moves the bright place by one, so that within the patch about it two places
    # differ by 1 (the old and the new one): d = 2 / 9, h = 1: -log exp(-1 / 9) = 1 / 9.
    flat = torch.full((1, 1, 7, 7), 0.3)
    torch.testing.assert_close(sia.self_information(flat, 1, 1.0), torch.zeros_like(flat), atol=1e-6, rtol=0)
    bright = torch.zeros(1, 1, 7, 7)
    bright[0, 0, 3, 3] = 1
    found = sia.self_information(bright, 1, 1.0)
    assert found[0, 0, 3, 3].item() == pytest.approx(1 / 9, abs=1e-5)
    assert found[0, 0, 0, 0].item() == pytest.approx(0, abs=1e-6)
    assert found.argmax() == 3 * 7 + 3


def test_attention_adds_what_it_weighs() -> None:
    attend = sia._Attention(4, 1, 1.0)
    for module in (attend.place, attend.channel[2]):
        torch.nn.init.zeros_(module.weight)  # type: ignore[arg-type]
        torch.nn.init.zeros_(module.bias)  # type: ignore[arg-type]
    x = torch.rand(2, 4, 6, 6)
    torch.testing.assert_close(attend(x), 1.25 * x)  # sigmoid(0) twice


def test_high_pass_keeps_the_high_half_of_a_cosine() -> None:
    d = dct_matrix(8)
    high = bands(8, (3.0, 16.0))[0]
    slow, fast = d[1][:, None] * d[1], d[2][:, None] * d[3]  # coefficients (1, 1) and (2, 3)
    x = (slow + fast)[None, None]
    torch.testing.assert_close(lrl.high_pass(x, d, high)[0, 0], fast, atol=1e-5, rtol=0)


def test_relations_of_regions_by_hand() -> None:
    # Four regions of one place: (1, 0), (0, 1), (1, 1), (-1, 0).
    maps = torch.tensor([[[[1.0, 0], [1, -1]], [[0.0, 1], [1, 0]]]])
    found = lrl.relations(maps, 2)[0]
    half = math.sqrt(0.5)
    want = torch.tensor([[1, 0, half, -1], [0, 1, half, 0], [half, half, 1, -half], [-1, 0, -half, 1]])
    torch.testing.assert_close(found, want)


def test_lrl_learns_from_known_masks_alone() -> None:
    torch.manual_seed(0)
    detector = lrl.LRL("tiny-efficientnet", 64, 2, relation=2.0, drawing=3.0).eval()
    image, label = torch.rand(2, 3, 64, 64), torch.tensor([0, 1])
    mask = torch.zeros(2, 64, 64)
    mask[1] = float("nan")
    terms = detector.loss(Batch(image, label, mask=mask))
    _, maps = detector._seen(image)
    torch.testing.assert_close(terms["relation"], 2 * (lrl.relations(maps, 2)[0] - 1).square().mean())
    drawn = F.interpolate(detector.draw(maps), (64, 64), mode="bilinear")[0, 0]
    torch.testing.assert_close(terms["drawing"], 3 * F.softplus(drawn).mean())  # cross-entropy to an empty mask
    with pytest.raises(UnmaskError, match="masks: true"):
        detector.loss(Batch(image, label))


def test_the_attention_of_a_linear_model_is_its_weights() -> None:
    torch.manual_seed(0)
    detector = rfm.RFM("tiny-xception", 32).train()
    detector.body = _Pool()  # type: ignore[assignment]
    detector.head = torch.nn.Linear(3, 2)
    weight = (detector.head.weight[1] - detector.head.weight[0]).abs().max() / 32**2
    attention = detector.attention(torch.rand(2, 3, 32, 32))
    torch.testing.assert_close(attention, weight.expand(2, 32, 32))
    assert detector.training


class _Pool(torch.nn.Module):
    def pooled(self, image: torch.Tensor) -> torch.Tensor:
        return image.mean((2, 3))


def test_blocks_cover_the_highest_places() -> None:
    torch.manual_seed(0)
    attention = torch.zeros(3, 20, 20)
    attention[:, 4, 5], attention[:, 15, 16] = 2, 1
    image = torch.full((3, 3, 20, 20), 2.0)  # noise lies below 1
    gone = rfm.erased(image, attention, 2, 0.25)[:, 0] < 2
    assert gone[:, 4, 5].all()
    assert gone[:, 15, 16].all()  # the second block lies beyond the first, which is 5 pixels wide at most
    assert (gone.sum((1, 2)) <= 2 * 25).all()
    assert torch.equal(rfm.erased(image, attention, 0, 0.25), image)


def test_identity_contrast_by_hand() -> None:
    # Real: cosines 1 and 0 to the shown identity: mean of 0 and 1. Forged: 0.6 and -1: mean of 0.6 and 0.
    shown = torch.tensor([[1.0, 0], [1, 0], [1, 0], [1, 0]])
    embedding = torch.tensor([[3.0, 0], [0, 2], [3, 4], [-1, 0]])
    found = iid.identity_contrast(embedding, shown, torch.tensor([0, 0, 1, 1]))
    assert found.item() == pytest.approx(0.5 + 0.3)


def test_a_forgery_has_the_identity_of_its_original() -> None:
    image = torch.zeros(4, 3, 1, 1)
    batch = Batch(
        image,
        torch.tensor([0, 1, 1, 1]),
        pair=torch.tensor([7, 7, -1, 9]),
        identity=torch.tensor([5, -1, 3, -1]),
    )
    assert iid.target_identity(batch).tolist() == [5, 5, 3, -1]
    assert iid.target_identity(Batch(image, batch.label)).tolist() == [-1] * 4


def test_the_recogniser_stays_as_it_is() -> None:
    torch.manual_seed(0)
    detector = iid.IID("tiny-xception", 32, "tiny-iresnet", 32, people=2).train()
    before = {k: v.clone() for k, v in detector.recogniser.state_dict().items()}
    batch = Batch(torch.rand(4, 3, 32, 32), torch.tensor([0, 1, 0, 1]), identity=torch.tensor([0, 1, 1, -1]))
    torch.stack(list(detector.loss(batch).values())).sum().backward()
    assert all(torch.equal(v, before[k]) for k, v in detector.recogniser.state_dict().items())
    assert all(p.grad is None for p in detector.recogniser.parameters())
    with pytest.raises(UnmaskError, match=r"options\.people"):
        detector.loss(Batch(batch.image, batch.label, identity=torch.full((4,), 2)))
