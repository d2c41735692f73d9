"""The one contrastive loss: values by hand, torch's cross-entropy, and a plain loop over anchors."""

from __future__ import annotations

import math
from typing import Literal

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.nn.contrastive import Temperature, cosines, info_nce, soft_cross_entropy
from unmask.nn.heads import head
from unmask.types import UnmaskError

Mode = Literal["shared", "own", "set"]
# exp(logits) of one anchor: 4 and 2 are its positives, 3 and 1 its negatives.
ONE = torch.tensor([[4.0, 2.0, 3.0, 1.0]], dtype=torch.float64).log()
POSITIVE = torch.tensor([[True, True, False, False]])


def some(rows: int = 6, columns: int = 9, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    g = torch.Generator().manual_seed(seed)
    logits = torch.randn(rows, columns, generator=g, dtype=torch.float64)
    return logits, torch.rand(rows, columns, generator=g) < 0.3, torch.rand(rows, columns, generator=g) < 0.8


@pytest.mark.parametrize(
    ("mode", "value"),
    [
        ("shared", (math.log(10 / 4) + math.log(10 / 2)) / 2),  # each positive beside all: 4 + 2 + 3 + 1 = 10
        ("own", (math.log(8 / 4) + math.log(6 / 2)) / 2),  # beside itself and 3 + 1: 4 + 4 and 2 + 4
        ("set", math.log(10 / 6)),  # both together, 4 + 2, beside all
    ],
)
def test_one_anchor_by_hand(mode: Mode, value: float) -> None:
    assert info_nce(ONE, POSITIVE, positives=mode).item() == pytest.approx(value, abs=1e-12)


def test_the_mean_over_negatives_by_hand() -> None:
    # The negatives 3 and 1 count as their mean 2: the denominators are 4 + 2 + 2 = 8, or 4 + 2 and 2 + 2.
    shared = info_nce(ONE, POSITIVE, negatives="mean").item()
    own = info_nce(ONE, POSITIVE, positives="own", negatives="mean").item()
    assert shared == pytest.approx((math.log(8 / 4) + math.log(8 / 2)) / 2, abs=1e-12)
    assert own == pytest.approx((math.log(6 / 4) + math.log(4 / 2)) / 2, abs=1e-12)


def test_what_is_not_valid_is_in_neither_sum() -> None:
    # Without the positive 2 and the negative 3: 4 beside 4 + 1.
    valid = torch.tensor([[True, False, False, True]])
    assert info_nce(ONE, POSITIVE, valid).item() == pytest.approx(math.log(5 / 4), abs=1e-12)


def test_anchors_and_pairs_are_two_means() -> None:
    # Row 1 has two positives (log 10/4, log 10/2), row 2 one (log 10/3), row 3 none.
    logits, positive = ONE.repeat(3, 1), torch.tensor([[1, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 0]]).bool()
    one, two = (math.log(10 / 4) + math.log(10 / 2)) / 2, math.log(10 / 3)
    assert info_nce(logits, positive).item() == pytest.approx((one + two) / 2, abs=1e-12)
    assert info_nce(logits, positive, reduction="pairs").item() == pytest.approx((2 * one + two) / 3, abs=1e-12)
    each = info_nce(logits, positive, reduction="none")
    torch.testing.assert_close(each, torch.tensor([one, two, 0.0], dtype=torch.float64))


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_one_positive_a_row_is_torchs_cross_entropy(smoothing: float) -> None:
    logits, _, _ = some()
    target = torch.tensor([3, 0, 8, 8, 1, 5])
    mine = info_nce(logits, F.one_hot(target, 9).bool(), label_smoothing=smoothing)
    torch.testing.assert_close(mine, F.cross_entropy(logits, target, label_smoothing=smoothing), atol=1e-12, rtol=0)


@pytest.mark.parametrize("mode", ["shared", "own", "set"])
@pytest.mark.parametrize("negatives", ["sum", "mean"])
def test_it_is_the_plain_loop(mode: Mode, negatives: Literal["sum", "mean"]) -> None:
    logits, positive, valid = some()
    rows = []
    for r in range(6):
        p = [logits[r, c] for c in range(9) if positive[r, c] and valid[r, c]]
        n = [logits[r, c] for c in range(9) if not positive[r, c] and valid[r, c]]
        if not p:
            continue
        spread = sum(x.exp() for x in n) / (len(n) if negatives == "mean" else 1)
        together = sum(x.exp() for x in p)
        alone = {"shared": together, "set": together}
        if mode == "set":
            rows.append(-(together / (together + spread)).log())
        else:
            rows.append(sum(-(x.exp() / (alone.get(mode, x.exp()) + spread)).log() for x in p) / len(p))
    mine = info_nce(logits, positive, valid, positives=mode, negatives=negatives)
    torch.testing.assert_close(mine, torch.stack(rows).mean(), atol=1e-12, rtol=0)


@pytest.mark.parametrize("mode", ["shared", "own", "set"])
def test_its_gradient_is_that_of_finite_differences_and_order_does_not_matter(mode: Mode) -> None:
    logits, positive, valid = some(3, 5)
    assert torch.autograd.gradcheck(lambda x: info_nce(x, positive, valid, positives=mode), logits.requires_grad_())
    order = torch.tensor([2, 4, 0, 1, 3])
    turned = info_nce(logits[:, order], positive[:, order], valid[:, order], positives=mode)
    torch.testing.assert_close(info_nce(logits, positive, valid, positives=mode), turned, atol=1e-12, rtol=0)


@pytest.mark.parametrize("mode", ["shared", "own", "set"])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_rows_of_nothing_give_neither_nan_nor_gradient(mode: Mode, dtype: torch.dtype) -> None:
    logits = (torch.randn(4, 5, generator=torch.Generator().manual_seed(0)) * 3).to(dtype).requires_grad_()
    positive, valid = torch.eye(4, 5).bool(), torch.ones(4, 5).bool()
    valid[0], valid[1], positive[2] = False, positive[1], False  # nothing at all; no negative left; no positive
    loss = info_nce(logits, positive, valid, positives=mode)
    loss.backward()
    assert loss.dtype == torch.float32
    assert logits.grad is not None
    assert torch.isfinite(loss)
    assert torch.isfinite(logits.grad).all()
    assert not logits.grad[:3].any()
    assert logits.grad[3].any()
    nothing = info_nce(logits, torch.zeros(4, 5).bool(), positives=mode)
    nothing.backward()
    assert nothing.item() == 0


def test_two_classes_teach_nothing_where_positives_leave_each_other_out() -> None:
    # SimLAP's case: an anchor of class 0 with positives of class 1 has no negative of a third class.
    logits, label = torch.randn(6, 6, dtype=torch.float64, requires_grad=True), torch.tensor([0, 1] * 3)
    other = label[:, None] != label
    loss = info_nce(logits, other, other, positives="own", reduction="pairs")
    loss.backward()
    assert loss.item() == 0
    assert logits.grad is not None
    assert not logits.grad.any()


def test_soft_targets_by_hand() -> None:
    # softmax = (.4, .2, .3, .1), target (.5, .5, 0, 0): -(log .4 + log .2) / 2
    target = torch.tensor([[0.5, 0.5, 0.0, 0.0]], dtype=torch.float64)
    assert soft_cross_entropy(ONE, target).item() == pytest.approx(-(math.log(0.4) + math.log(0.2)) / 2, abs=1e-12)


def test_cosines_ignore_lengths_and_autocast() -> None:
    a, b = torch.tensor([[3.0, 0.0], [2.0, 2.0]]), torch.tensor([[0.0, 5.0], [0.1, 0.1]])
    with torch.autocast("cpu", torch.bfloat16):
        found = cosines(a, b)
    torch.testing.assert_close(found, torch.tensor([[0, math.sqrt(0.5)], [math.sqrt(0.5), 1.0]]))


def test_a_learnt_temperature_starts_where_it_should_and_has_an_end() -> None:
    temperature = Temperature(0.07)
    assert temperature(torch.ones(())).item() == pytest.approx(1 / 0.07, rel=1e-6)
    with torch.no_grad():
        temperature.log_scale.fill_(50)
    assert temperature(torch.ones(())).item() == pytest.approx(100, rel=1e-5)
    with pytest.raises(UnmaskError, match=r"choose 0\.01"):
        Temperature(0.001)


def test_wrong_shapes_and_smoothing_where_there_is_none_are_refused() -> None:
    with pytest.raises(UnmaskError, match="must be the same"):
        info_nce(ONE, POSITIVE[:, :3])
    with pytest.raises(UnmaskError, match="label smoothing"):
        info_nce(ONE, POSITIVE, positives="own", label_smoothing=0.1)


def test_heads_have_the_layers_that_they_are_asked_for() -> None:
    swav = head((2048, 2048, 128), unit=True)
    assert [type(m).__name__ for m in swav] == ["Linear", "BatchNorm1d", "ReLU", "Linear", "Unit"]
    assert [tuple(p.shape) for p in swav.parameters()] == [(2048, 2048), (2048,), (2048,), (128, 2048), (128,)]
    simlap = head((512, 2048, 256), last_norm="layer")
    assert [type(m).__name__ for m in simlap] == ["Linear", "BatchNorm1d", "ReLU", "Linear", "LayerNorm"]
    clip = head((768, 512), last_bias=False)
    assert [tuple(p.shape) for p in clip.parameters()] == [(512, 768)]
    pixpro = head((64, 32, 16), maps=True)
    assert pixpro(torch.rand(2, 64, 7, 7)).shape == (2, 16, 7, 7)
    selfcon = head((8, 8, 4), norm="none", unit=True)
    torch.testing.assert_close(selfcon(torch.randn(3, 8)).norm(dim=1), torch.ones(3))
    with pytest.raises(UnmaskError, match="two positive widths"):
        head((8,))
