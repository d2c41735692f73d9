"""Losses of images and captions by hand."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.objective import Views
from unmask.errors import InputError
from unmask.nn.cached import cached_backward_of
from unmask.nn.captioning import caption_loss, greedy
from unmask.nn.contrastive import paired_nce
from unmask.objectives.clip_rocket import barlip_loss, rocket_loss, siamlip_loss, swalip_loss
from unmask.objectives.close import Bridge, linear_of, noised, root_of, shift_of
from unmask.objectives.coca import CoCa
from unmask.objectives.cua import cross_uniformity, cua_terms, pair_alignment
from unmask.registry import FAMILIES

EYE = torch.eye(2)
pytestmark = pytest.mark.usefixtures("one_thread")


def create(name: str, **options: object) -> nn.Module:
    torch.manual_seed(0)
    family = FAMILIES["objective"]
    made: nn.Module = family.create(name, family.card(name).small | options)
    return made


def test_pairs_find_each_other() -> None:
    # Logits [[ln 3, 0], [0, ln 3]]: -log(3 / (3 + 1)) in each row and each column.
    torch.testing.assert_close(paired_nce(EYE * 5, EYE * 2, math.log(3)), torch.tensor(math.log(4 / 3)))
    # With a smoothing of 0.1: 0.9 ln(4/3) + 0.1 (ln 4 - mean of ln 3 and 0).
    smoothed = 0.9 * math.log(4 / 3) + 0.1 * (math.log(4) - math.log(3) / 2)
    torch.testing.assert_close(paired_nce(EYE, EYE, math.log(3), label_smoothing=0.1), torch.tensor(smoothed))


@pytest.mark.parametrize(("batch", "least"), [(16, 0.565), (256, 0.876), (4096, 1.157)])
def test_smoothing_has_a_least_loss_that_grows_with_the_batch(batch: int, least: float) -> None:
    # Entropy of a target of 0.9 + 0.1 / B at one place and 0.1 / B at the others.
    right, wrong = 0.9 + 0.1 / batch, 0.1 / batch
    entropy = -right * math.log(right) - (batch - 1) * wrong * math.log(wrong)
    assert entropy == pytest.approx(least, abs=6e-4)
    if batch == 16:  # orthonormal pairs at the scale log(right / wrong) reach it
        eye = torch.eye(16, dtype=torch.float64)
        best = paired_nce(eye, eye, math.log(right / wrong), label_smoothing=0.1)
        assert best.item() == pytest.approx(entropy, abs=1e-12)


def test_clip_rockets_terms() -> None:
    torch.testing.assert_close(rocket_loss(torch.tensor(1.0), torch.tensor(4.0), 2), torch.tensor(3.0))  # (1 + 8) / 3
    same, apart = (EYE, EYE), (EYE, EYE.flip(0))
    torch.testing.assert_close(siamlip_loss([same], [same]), torch.tensor(0.0))
    torch.testing.assert_close(siamlip_loss([same, same], [same, apart]), torch.tensor(0.5))  # 0, 0, 2 and 0
    # C = x^T y / 2 = [[0.5, 0.5], [0, 2]]: 0.25 + 1 on the diagonal, 0.25 off it.
    x, y = torch.tensor([[1.0, 0], [0, 2]]), torch.tensor([[1.0, 1], [0, 2]])
    torch.testing.assert_close(barlip_loss(x, y), torch.tensor(1.25 + 0.005 * 0.25))
    # Orthonormal pairs, S = 1: Sinkhorn at 0.05 gives near one-hot targets, and softmax([ln 3, 0]) predicts them.
    views = [torch.eye(2, dtype=torch.float64)] * 2
    torch.testing.assert_close(
        swalip_loss(views, views, math.log(3)), torch.tensor(math.log(4 / 3)).double(), atol=1e-6, rtol=0
    )


def test_cuas_terms() -> None:
    # Two orthogonal pairs: distances 0 within, sqrt 2 between: log of exp(-2 * 2) = -4.
    found = cua_terms(EYE * 3, EYE, cross=True)
    torch.testing.assert_close(found["alignment"], torch.tensor(0.0))
    torch.testing.assert_close(found["uniformity"], torch.tensor(-4.0))
    torch.testing.assert_close(found["cross_uniformity"], torch.tensor(-4.0))
    assert found["contrastive"].item() == pytest.approx(0, abs=1e-6)
    torch.testing.assert_close(pair_alignment(EYE, -EYE), torch.tensor(4.0))
    # Of i != j alone: x_1 = y_2 would be exp 0 = 1, x_2 and y_1 are opposite: exp(-8).
    x, y = torch.tensor([[1.0, 0], [0, -1]]), torch.tensor([[0.0, 1], [1, 0]])
    torch.testing.assert_close(cross_uniformity(x, y), torch.tensor((1 + math.exp(-8)) / 2).log())
    with pytest.raises(InputError, match="two pairs"):
        cua_terms(EYE[:1], EYE[:1])


def test_captions_are_counted_over_their_own_tokens() -> None:
    ids = torch.tensor([[2, 0, 1, 3], [2, 1, 3, 0]])
    mask = torch.tensor([[1, 1, 1, 1], [1, 1, 1, 0]]).bool()
    logits = torch.zeros(2, 4, 4)
    torch.testing.assert_close(caption_loss(logits, ids, mask), torch.tensor(math.log(4)))
    logits[0, 0, 0] = math.log(5)  # of one of five targets: 5 / 8 instead of 1 / 4
    torch.testing.assert_close(caption_loss(logits, ids, mask), torch.tensor((4 * math.log(4) + math.log(8 / 5)) / 5))
    logits[1, 2] = torch.tensor([9.0, 0, 0, 0])  # behind the end: nothing changes
    torch.testing.assert_close(caption_loss(logits, ids, mask), torch.tensor((4 * math.log(4) + math.log(8 / 5)) / 5))


def test_greedy_decoding_stops_at_the_end_of_each_sentence() -> None:
    following = {2: 0, 0: 1, 1: 3, 3: 3}  # 2 0 1 3

    def logits(ids: Tensor) -> Tensor:
        return F.one_hot(torch.tensor([[following[int(i)] for i in row] for row in ids]), 4).float()

    assert greedy(logits, 2, 2, 3, 9, "cpu").tolist() == [[2, 0, 1, 3]] * 2
    assert greedy(logits, 1, 2, 3, 2, "cpu").tolist() == [[2, 0]]


def test_coca_does_not_look_ahead_nor_at_what_fills_up() -> None:
    coca = create("coca").double().eval()
    assert isinstance(coca, CoCa)
    image = torch.rand(1, 3, 32, 32, dtype=torch.float64)
    ids, mask = coca.towers.text.tokens(["a red circle"])
    other = ids.clone()
    other[:, 5:] = 40  # all tokens from the fifth on
    with torch.no_grad():
        _, seen = coca.seen(image)
        one, two = (coca.decoder(coca.said(x, mask)[1], seen) for x in (ids, other))
        torch.testing.assert_close(one[:, :5], two[:, :5], atol=1e-12, rtol=0)
        assert (one[:, 5:] - two[:, 5:]).abs().max() > 1e-3
        padded, wider = F.pad(ids, (0, 3), value=7), F.pad(mask, (0, 3))
        torch.testing.assert_close(coca.said(ids, mask)[0], coca.said(padded, wider)[0], atol=1e-12, rtol=0)


def test_each_of_cocas_losses_can_be_left_out() -> None:
    image, said = torch.rand(3, 3, 32, 32), ("a red circle", "two", "a dog runs")
    batch = Views((image,), (), torch.arange(3), torch.zeros(3), texts=(said,))
    coca = create("coca", captioning=0.0)
    terms = coca.loss(batch)  # type: ignore[operator]
    assert terms.keys() == {"contrastive"}
    torch.testing.assert_close(terms["contrastive"], paired_nce(coca(image), coca(said), 1 / 0.07))
    coca = create("coca", contrastive=0.0)
    (term,) = coca.loss(batch).values()  # type: ignore[operator]
    term.backward()
    unused = {n for n, p in coca.named_parameters() if p.grad is None}
    assert unused == {"cls", "temperature.log_scale", "towers.image_head.weight", "towers.text_head.weight"}
    assert coca.captions(image)[0] == coca.captions(image)[0]  # type: ignore[operator]


def test_closes_adapters() -> None:
    torch.manual_seed(0)
    text = F.normalize(torch.randn(4000, 6, dtype=torch.float64), dim=1)
    turn = torch.linalg.qr(torch.randn(6, 6, dtype=torch.float64)).Q
    image = text @ turn
    torch.testing.assert_close(linear_of(image, text), torch.cat([turn, torch.zeros(1, 6)]), atol=1e-10, rtol=0)
    torch.testing.assert_close(shift_of(image, text), image.mean(0) - text.mean(0))
    root, difference = root_of(image, text), image - text
    torch.testing.assert_close(root.T @ root, torch.cov(difference.T), atol=1e-10, rtol=0)
    # The noise before normalisation has a squared length of w^2 D: 0.08^2 * 6 on average.
    noise = 0.08 * torch.randn(200_000, 6)
    assert noise.square().sum(1).mean().item() == pytest.approx(0.08**2 * 6, rel=0.02)
    torch.testing.assert_close(noised(text, 0.08).norm(dim=1), torch.ones(4000, dtype=torch.float64))
    for kind in ("mean", "random", "linear", "covariance"):
        bridge = Bridge(kind, 6, 0.0).double()  # type: ignore[arg-type]
        bridge.fit(image, text)
        torch.testing.assert_close(bridge(text).norm(dim=1), torch.ones(4000, dtype=torch.float64))
        torch.testing.assert_close(bridge.eval()(3 * text), text)
    bridge = Bridge("linear", 6, 0.0).double()
    with pytest.raises(InputError, match="fitted to pairs"):
        bridge(text)
    bridge.fit(image, text)
    torch.testing.assert_close(bridge(text), image, atol=1e-10, rtol=0)
    # Covariance: v + shift + 3 R^T e has the covariance cov(v) + 9 Sigma.
    wide = text + shift_of(image, text) + 3.0 * torch.randn_like(text) @ root
    torch.testing.assert_close(torch.cov(wide.T), torch.cov(text.T) + 9 * root.T @ root, atol=0.25, rtol=0)


def test_a_pair_of_encoders_in_chunks_learns_what_whole_batches_teach() -> None:
    one, other = nn.Linear(5, 3).double(), nn.Linear(4, 3).double()
    x, y = torch.randn(7, 5, dtype=torch.float64), torch.randn(7, 4, dtype=torch.float64)
    whole = paired_nce(one(x), other(y), 3.0)
    whole.backward()
    want = [p.grad.clone() for m in (one, other) for p in m.parameters() if p.grad is not None]
    for module in (one, other):
        module.zero_grad()
    value = cached_backward_of([(one, x.split(3)), (other, y.split(2))], lambda a, b: paired_nce(a, b, 3.0), "cpu")
    torch.testing.assert_close(value, whole.detach())
    found = [p.grad for m in (one, other) for p in m.parameters()]
    torch.testing.assert_close(found, want, atol=1e-12, rtol=0)


@pytest.mark.parametrize("extra", ["siamlip", "byolip", "barlip", "swalip"])
def test_clip_rockets_further_losses_train_what_they_add(extra: str) -> None:
    method = create("clip_rocket", extra=extra, widths=(8, 8))
    said = ("a red circle", "two blue squares", "a cross", "rain")
    views = tuple(torch.rand(4, 3, 32, 32) for _ in range(3))
    batch = Views(views, (), torch.arange(4), torch.zeros(4), texts=(said,) * 3)
    terms = method.loss(batch)  # type: ignore[operator]
    assert terms.keys() == {"clip", extra}
    sum(terms.values()).backward()
    assert not [n for n, p in method.named_parameters() if p.requires_grad and p.grad is None]
    if extra == "byolip":
        before = method.teacher.module["towers"].image_head.weight.clone()  # type: ignore[union-attr,index]
        with torch.no_grad():
            method.towers.image_head.weight += 1.0  # type: ignore[union-attr,operator]
        method.updated(None)  # type: ignore[operator]
        after = method.teacher.module["towers"].image_head.weight  # type: ignore[union-attr,index]
        torch.testing.assert_close(after, before + 0.01)  # 1 - 0.99
