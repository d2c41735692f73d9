"""Losses of the objectives that hold two views, or labels, against each other: values by hand, and their floors."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.nn.contrastive import nt_xent, queue_nce, supervised_contrastive
from unmask.nn.predictive import negative_cosine
from unmask.objectives.facenet import facenet_loss, harmonic_loss
from unmask.objectives.hallucinator import Hallucination, extrapolate, published_nt_xent
from unmask.objectives.selfcon import selfcon_loss
from unmask.objectives.simlap import pairing, simlap_loss
from unmask.objectives.swav import swav_loss


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


EYE = torch.eye(16, dtype=torch.float64)


def test_simclr_of_two_images_by_hand() -> None:
    # Views at right angles between images, equal within: each has its twin at cos 1 and two others at cos 0.
    two = torch.eye(2)
    assert nt_xent(two, two, 0.5).item() == pytest.approx(math.log(math.exp(2) + 2) - 2, abs=1e-6)


def test_moco_by_hand() -> None:
    # One query, its key at cos 0.6, two queued at cos 1 and 0, T = 0.2.
    query, key = torch.tensor([[5.0, 0.0]]), torch.tensor([[0.6, 0.8]])
    loss = queue_nce(query, key, torch.tensor([[1.0, 0.0], [0.0, 1.0]]), 0.2)
    assert loss.item() == pytest.approx(math.log(math.exp(3) + math.exp(5) + 1) - 3, abs=1e-5)


def test_supcon_by_hand_and_rows_without_a_label() -> None:
    # Anchors of class 0 have one positive at cos 1 and one negative at cos 0; the one of class 1 has no positive.
    z = torch.tensor([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]])
    want = math.log(math.e + 1) - 1
    assert supervised_contrastive(z, torch.tensor([0, 0, 1]), 1.0).item() == pytest.approx(want, abs=1e-6)
    more = torch.cat([z, randn(2, 2).float()])
    assert supervised_contrastive(more, torch.tensor([0, 0, 1, -1, -1]), 1.0).item() == pytest.approx(want, abs=1e-6)


def test_swav_by_hand() -> None:
    # Two crops, T = 1; each predicts the other's code. softmax(log 3, log 1) = (3/4, 1/4).
    scores = [torch.tensor([[3.0, 1.0]]).log(), torch.tensor([[1.0, 1.0]]).log()]
    codes = [torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]])]
    # Crop 2 predicts (1, 0): -log 1/2. Crop 1 predicts (0, 1): -log 1/4. Their mean:
    assert swav_loss(scores, codes, 1.0).item() == pytest.approx((math.log(2) + math.log(4)) / 2, abs=1e-6)


# --- hallucinator -----------------------------------------------------------------------------------------------------


class Same(Hallucination):
    """No extrapolation and no perceptron: what is hallucinated is the query."""

    def forward(self, query: Tensor, partner: Tensor) -> Tensor:
        return extrapolate(query, partner, 0.0)


def test_extrapolation_by_hand() -> None:
    # 1.1 * (1, 0) - 0.1 * (0, 1)
    torch.testing.assert_close(
        extrapolate(torch.tensor([[1.0, 0.0]]), torch.tensor([[0.0, 1.0]]), 0.1), torch.tensor([[1.1, -0.1]])
    )


def test_the_share_is_drawn_anew_and_the_gradient_goes_through() -> None:
    made = Hallucination(4)
    query, partner = torch.randn(3, 4, requires_grad=True), torch.randn(3, 4, requires_grad=True)
    one, other = made(query, partner), made(query, partner)
    assert one.shape == (3, 4)
    assert not torch.equal(one, other)
    one.sum().backward()
    assert query.grad is not None
    assert partner.grad is not None
    assert all(p.grad is not None for p in made.parameters())


@pytest.mark.parametrize("host", ["simclr", "moco", "simsiam", "published"])
def test_a_hallucination_that_changes_nothing_leaves_the_hosts_loss_and_gradient(host: str) -> None:
    queue = randn(20, 6, seed=3)

    def loss(query: Tensor, key: Tensor) -> Tensor:
        if host == "moco":
            return queue_nce(query, key, queue)
        return negative_cosine(query, key) if host == "simsiam" else nt_xent(query, key)

    found = []
    for hallucinated in (False, True):
        query, key = randn(8, 6).requires_grad_(), randn(8, 6, seed=1).requires_grad_()
        value = loss(query, key)
        if hallucinated:
            further = Same(6)(query, key)
            value = (value + loss(further, key)) / 2
            if host == "published":
                value = published_nt_xent(query, further, key)
        value.backward()
        found.append((value.detach(), query.grad))
    equal = torch.allclose(found[0][0], found[1][0], atol=1e-12)
    assert equal == (host != "published")
    if host != "published":
        torch.testing.assert_close(found[0][1], found[1][1], atol=1e-12, rtol=0)


def test_the_published_form_has_a_floor_of_log_three() -> None:
    # Orthonormal, T = .1: of each anchor the positive, the other copy of it, and its own other copy are at cos 1.
    published = published_nt_xent(EYE, EYE, EYE, 0.1).item()
    assert published == pytest.approx(math.log(3 + 60 * math.exp(-10)), abs=1e-9)  # 60 others of 64 rows at cos 0
    assert published == pytest.approx(math.log(3), abs=0.01)
    assert (nt_xent(EYE, EYE, 0.1) + nt_xent(EYE, EYE, 0.1)).item() / 2 < 0.01


# --- SimLAP -----------------------------------------------------------------------------------------------------------


def test_simlap_of_three_images_by_hand() -> None:
    # Anchor 0 (class 0), y2 = 1: positive 1, negative 2. Others have y2 of no image or no negative.
    z = torch.tensor([[1.0, 1.0], [1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    label, other = torch.tensor([0, 1, 2]), torch.tensor([1, 7, 7])
    # The gate (1, 0) leaves cos 1 to the positive and 0 to the negative: log(e + 1) - 1 at T = 1.
    closed = torch.tensor([[1.0, 0.0]] * 3, dtype=torch.float64)
    assert simlap_loss(z, label, other, closed, 1.0).item() == pytest.approx(math.log(math.e + 1) - 1, abs=1e-9)
    # No gate: both at cos 45 degrees, log 2.
    assert simlap_loss(z, label, other, torch.ones_like(z), 1.0).item() == pytest.approx(math.log(2), abs=1e-9)
    # Unit length before the gate (1, 0): 1 / sqrt 2 to the positive, 0 to the negative.
    half = math.sqrt(0.5)
    want = math.log(math.exp(half) + 1) - half
    assert simlap_loss(z, label, other, closed, 1.0, "before").item() == pytest.approx(want, abs=1e-9)


@pytest.mark.parametrize("form", ["after", "before"])
def test_simlap_is_the_plain_loop(form: str) -> None:
    z, gate, label = randn(24, 5), randn(24, 5, seed=1).sigmoid(), torch.arange(24) % 4
    torch.manual_seed(0)
    other, terms = pairing(label, 4), []
    for a in range(24):
        if form == "after":
            gated = F.normalize(z * gate[a], dim=1)
            s = gated @ gated[a] / 0.1
        else:
            unit = F.normalize(z, dim=1)
            s = (unit * gate[a].square()) @ unit[a] / 0.1
        negative = [n for n in range(24) if label[n] not in (label[a], other[a])]
        for p in range(24):
            if label[p] == other[a] and p != a:
                terms.append(torch.stack([s[p], *(s[n] for n in negative)]).logsumexp(0) - s[p])
    loss = simlap_loss(z, label, other, gate, form=form)  # type: ignore[arg-type]
    torch.testing.assert_close(loss, torch.stack(terms).mean(), atol=1e-9, rtol=0)


def test_how_classes_are_paired() -> None:
    label = torch.arange(300) % 5
    assert torch.equal(pairing(label, 5, "identical"), label)
    assert torch.equal(pairing(label, 5, "arbitrary").sort().values, label.sort().values)
    distinct = pairing(label, 5, "distinct")
    assert (distinct != label).all()
    assert set(distinct.tolist()) == set(range(5))


# --- SelfCon ----------------------------------------------------------------------------------------------------------


def test_exits_may_change_places_and_two_equal_exits_are_two_views() -> None:
    early, late, label = randn(10, 6), randn(10, 6, seed=1), torch.arange(10) % 2
    one = selfcon_loss([early, late], label)
    torch.testing.assert_close(selfcon_loss([late, early], label), one, atol=1e-12, rtol=0)
    torch.testing.assert_close(supervised_contrastive(torch.cat([early, late]), label.repeat(2), 0.07), one)
    assert selfcon_loss([early, late], torch.full_like(label, -1)).item() == 0  # no synthetic image in the batch


# --- FaceNet ----------------------------------------------------------------------------------------------------------

# On the unit circle at 0, 60, 90 and 180 degrees: d^2 = 2 - 2 cos = 1 (60), 2 (90), 4 (180), 2 - sqrt 3 (30).
CIRCLE = torch.tensor([[1.0, 0.0], [0.5, math.sqrt(0.75)], [0.0, 1.0], [-1.0, 0.0]], dtype=torch.float64)


def test_facenet_by_hand() -> None:
    # Persons (0, 0, 1, 1). d(a, p): 1 for the first, 2 for the second. Semi-hard with a margin of 1.2:
    # (0, 1, n): n = 2 at 2 (1 < 2 < 2.2): loss 1 - 2 + 1.2 = .2; n = 3 at 4: too far.
    # (1, 0, n): n = 2 at .27 is nearer, n = 3 at 2 - 2 cos 120 = 3 is too far. (2, 3, n): n = 0 at 2 is not farther.
    # (3, 2, n): n = 0 at 4 is too far, n = 1 at 3 (2 < 3 < 3.2): 2 - 3 + 1.2 = .2.
    loss, count = facenet_loss(2 * CIRCLE, torch.tensor([0, 0, 1, 1]), margin=1.2)
    assert count == 2
    assert loss.item() == pytest.approx(0.2, abs=1e-9)


def test_harmonic_triplets_by_hand() -> None:
    # The new network's embeddings are the old one's: each triplet comes in all mixtures of old and new, but old alone.
    # d(a, p) = 0 to the same face in the other space: (a old, a new, n) is semi-hard for 0 < d(a, n) < margin.
    identity = torch.tensor([0, 0, 1, 1])
    loss, count = harmonic_loss(CIRCLE, CIRCLE, identity, margin=1.2)
    # Of the two triplets above 2^3 mixtures each, without old alone: 14, each .2.
    # (1, 1', 2): d^2 = .268 to both spaces of 2, and (2, 2', 1) likewise: 2 anchors' spaces x 2 negatives' each: 8,
    # each 0 - .268 + 1.2. All other d(a, n) are 2 or more.
    assert count == 22
    want = (14 * 0.2 + 8 * (1.2 - (2 - math.sqrt(3)))) / 22
    assert loss.item() == pytest.approx(want, abs=1e-9)


def test_the_old_network_has_no_gradient() -> None:
    old, new = randn(12, 4).requires_grad_(), randn(12, 4, seed=1).requires_grad_()
    loss, count = harmonic_loss(old, new, torch.arange(12) % 3)
    loss.backward()
    assert count > 0
    assert old.grad is None
    assert new.grad is not None
    assert new.grad.any()
