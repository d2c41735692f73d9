"""DLIF's terms by hand, which network each reaches, and whose style an image takes."""

from __future__ import annotations

import math

import pytest
import torch
from torch.nn import functional as F

from unmask.base.detector import Batch
from unmask.detectors import dlif
from unmask.measure.cells import hter
from unmask.types import UnmaskError


def small(**options: object) -> dlif.DLIF:
    torch.manual_seed(0)
    return dlif.DLIF("tiny-resnet", 64, **{"identities": 3, **options})  # type: ignore[arg-type]


def batch(n: int = 8) -> Batch:
    row = torch.arange(n)
    image = torch.rand(n, 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return Batch(image, row % 2, identity=row // 2 % 3, domain=row // 4)


def test_margins_by_hand() -> None:
    # s = 2. Bona fide, cosines 0.9 and 0.1, m 0.4: e^{2 0.5} against e^{0.2}: log(1 + e^{-0.8}) = 0.37110.
    # Attack, cosines 0.2 and 0.6, m 0.1: e^{2 0.5} against e^{0.4}: log(1 + e^{-0.6}) = 0.43749.
    cosine = torch.tensor([[0.9, 0.1], [0.2, 0.6]])
    found = dlif.am_softmax(cosine, torch.tensor([0, 1]), (0.4, 0.1), 2.0)
    assert found.item() == pytest.approx((0.37110 + 0.43749) / 2, abs=1e-5)


def test_each_attack_is_a_class_of_its_own() -> None:
    # One view of two bona fide (1,0), (1,0) and two attacks (0,1), (0,1); temperature 1. An attack has no positive; a
    # bona fide face has one of cosine 1 and two negatives of 0: log(e + 2) - 1 = 0.55144.
    views = [torch.tensor([[1.0, 0], [1, 0], [0, 1], [0, 1]])]
    label = torch.tensor([0, 0, 1, 1])
    assert dlif.asymmetric_contrast(views, label, 1.0).item() == pytest.approx(0.55144, abs=1e-5)
    # With a second view like the first, an attack has its own other view (1), and the other attack's two (1 and 1) and
    # four bona fide (0): log(3 e + 4) - 1.
    alone = dlif.asymmetric_contrast(views * 2, torch.tensor([1, 1, 1, 1]), 1.0)
    e = math.e
    # Each row of four classes: itself left out, its twin, the like one twice, four of cosine 0.
    assert alone.item() == pytest.approx(math.log(3 * e + 4) - 1, abs=1e-5)


def test_overlap_and_ambiguity_by_hand() -> None:
    one, other = torch.tensor([[1.0, 0], [0, 1]]), torch.tensor([[1.0, 0], [0.6, 0.8]])
    # Products 1, 0.6, 0, 0.8: (1 + 0.36 + 0 + 0.64) / 4 = 0.5.
    assert dlif.overlap(one, other).item() == pytest.approx(0.5)
    # Cosines of (1, 0) with two directions 1 and 0, from 1/2: 0.25.
    assert dlif.ambiguity(one[:1], torch.tensor([[2.0, 0], [0, 3]])).item() == pytest.approx(0.25)


def test_partners_are_drawn_from_those_that_may() -> None:
    may = torch.tensor([[False, True, True], [False, False, False], [True, False, False]])
    drawn = torch.stack([dlif.partners(may) for _ in range(30)])
    assert set(drawn[:, 0].tolist()) == {1, 2}
    assert (drawn[:, 1] == 1).all()
    assert (drawn[:, 2] == 0).all()


def test_each_term_reaches_its_own_network() -> None:
    detector = small().train()
    liveness = {"live", "head"}
    reached = {
        "cls": liveness,
        "contrast": {"live"},
        "identity": {"who", "identity"},
        "identity_contrast": {"who"},
        "orthogonal": {"live", "who"},
        "ambiguity": {"live", "who"},
    }
    assert set(detector.loss(batch())) == set(reached)
    for name, parts in reached.items():
        detector.zero_grad(set_to_none=True)
        detector.loss(batch())[name].backward()
        assert {k.partition(".")[0] for k, p in detector.named_parameters() if p.grad is not None} == parts


def test_gates_and_styles() -> None:
    gate = dlif._Gate(4)
    torch.nn.init.zeros_(gate.weigh[2].weight)
    x = torch.rand(2, 4, 3, 3)
    torch.testing.assert_close(gate(x), x / 2)  # sigmoid(0)
    trunk, image = small().live.eval(), torch.rand(2, 3, 64, 64)
    itself = torch.arange(2)
    torch.testing.assert_close(trunk(image, itself, "high"), trunk(image), rtol=1e-3, atol=1e-3)
    assert not torch.allclose(trunk(image, itself.flip(0), "middle"), trunk(image), atol=1e-3)


def test_logits_are_scaled_cosines_and_the_baseline_needs_no_identities() -> None:
    detector = small(identities=0, levels=(), scale=10.0).eval()
    out = detector(batch().image)
    maps = detector.live(batch().image).flatten(1)
    want = F.cosine_similarity(maps[:, None], detector.head.weight[None], dim=2) * 10
    torch.testing.assert_close(out.logits, want, rtol=1e-4, atol=1e-4)
    assert set(detector.loss(Batch(batch().image, batch().label))) == {"cls"}
    with pytest.raises(UnmaskError, match=r"options\.identities=0"):
        small().loss(Batch(batch().image, batch().label))
    with pytest.raises(UnmaskError, match="holds identity 2"):
        small(identities=2).loss(batch())


def test_faces_of_unknown_people_teach_liveness_alone() -> None:
    held = batch()
    held.identity = torch.full_like(held.label, -1)
    terms = small().loss(held)
    assert terms["identity"].item() == terms["identity_contrast"].item() == 0
    assert all(bool(torch.isfinite(v)) for v in terms.values())


def test_hter_by_hand() -> None:
    # Of two attacks one is called bona fide (FAR 1/2), of four bona fide one is called an attack (FRR 1/4): 0.375.
    assert hter([1, 1, 0, 0, 0, 0], [1, 0, 1, 0, 0, 0]) == pytest.approx(0.375)
