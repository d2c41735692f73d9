"""UCF's terms by hand, which loss reaches which part, and what its batches must hold."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.base.detector import Batch
from unmask.detectors import ucf
from unmask.types import UnmaskError


def small(**options: object) -> ucf.UCF:
    torch.manual_seed(0)
    return ucf.UCF("tiny-resnet", size=64, width=64, **{"methods": 2, "dropout": 0.0, **options})  # type: ignore[arg-type]


def batch(label: tuple[int, ...] = (0, 1, 1, 0), method: tuple[int, ...] = (9, 0, 1, 9)) -> Batch:
    """Real rows may carry any code of a method: it is not looked at."""
    image = torch.rand(len(label), 3, 64, 64, generator=torch.Generator().manual_seed(1))
    return Batch(image, torch.tensor(label), method=torch.tensor(method))


def reached(term: Tensor, part: torch.nn.Module) -> bool:
    wanted = [p for p in part.parameters() if p.requires_grad]
    return any(g is not None and bool(g.any()) for g in torch.autograd.grad(term, wanted, allow_unused=True))


# --- terms -----------------------------------------------------------------------------------------------------------


def test_adain_by_hand() -> None:
    # content 0, 2: mean 1, unbiased variance 2; style 1, 7: mean 4, variance 18.
    # (0 - 1) / sqrt(2) * sqrt(18) + 4 = -3 + 4 = 1 and (2 - 1) * 3 + 4 = 7.
    content, style = torch.tensor([0.0, 2]).view(1, 1, 1, 2), torch.tensor([1.0, 7]).view(1, 1, 1, 2)
    torch.testing.assert_close(ucf.adain(content, style), style, atol=1e-4, rtol=0)
    torch.manual_seed(0)
    content, style = torch.randn(2, 3, 5, 4), 3 * torch.randn(2, 3, 5, 4) + 1
    made = ucf.adain(content, style)
    torch.testing.assert_close(made.mean((2, 3)), style.mean((2, 3)), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(made.std((2, 3)), style.std((2, 3)), atol=1e-4, rtol=1e-4)


def test_contrast_by_hand() -> None:
    # Two real at 0 and 3, two fake both at 5, on a line: each positive is the other of its kind, and wherever the
    # negative is drawn from among the fakes it is 5. Margin 3.
    # real: a = 0: d+ = 3, d- = 5: 3 - 5 + 3 = 1; a = 3: d+ = 3, d- = 2: 3 - 2 + 3 = 4. Mean 5/2.
    # fake: d+ = 0, d- is 5 or 2: 0 - 5 + 3 -> 0, or 0 - 2 + 3 = 1, each by chance: the mean is 0, 1/2 or 1.
    features, label = torch.tensor([[0.0], [3], [5], [5]]), torch.tensor([0, 0, 1, 1])
    found = set()
    for seed in range(20):
        torch.manual_seed(seed)
        found.add(round(ucf.contrast(features, label, label, 3.0).item(), 3))
    assert found == {2.5, 3.0, 3.5}


def test_a_positive_is_of_the_same_method_and_a_negative_of_another() -> None:
    kind = torch.tensor([0, 0, 0, 1, 1, 2])
    drawn = torch.zeros(2, 6, 6)
    for seed in range(200):
        torch.manual_seed(seed)
        for n, other in enumerate(ucf._partners(kind)):
            drawn[n, torch.arange(6), other] += 1
    same = kind[:, None] == kind
    alone = torch.zeros(6, 6, dtype=torch.bool)
    alone[5, 5] = True  # nobody else is of its kind
    assert torch.equal(drawn[0] > 0, same & ~torch.eye(6, dtype=torch.bool) | alone)
    assert torch.equal(drawn[1] > 0, ~same)


def test_the_terms_are_what_they_are_called_with_their_weights() -> None:
    detector = small(shuffle=0.0, margin=1.0, specific=0.1, reconstruction=0.3, contrast=0.05).eval()
    given = batch()
    terms = detector.loss(given)
    order = torch.tensor([0, 3, 1, 2])  # real ones first
    image, label, method = given.image[order], torch.tensor([0, 0, 1, 1]), torch.tensor([0, 0, 1, 2])
    f, c = detector.forgery(image), detector.content(image)
    common, specific = detector.common(f), detector.specific(f)
    torch.testing.assert_close(terms["common"], F.cross_entropy(detector(image).logits, label))
    logits = detector.specific_head(specific.mean((2, 3)))
    torch.testing.assert_close(terms["specific"], 0.1 * F.cross_entropy(logits, method))
    style = torch.cat([specific, common], 1)
    want = torch.tensor(0.0)
    for faces, forgeries in (((0, 1), (0, 1)), ((2, 3), (2, 3)), ((0, 1), (2, 3)), ((2, 3), (0, 1))):
        made = detector.decoder(style[list(forgeries)], c[list(faces)], (64, 64))
        want = want + (made - (2 * image[list(faces)] - 1)).abs().mean()
    torch.testing.assert_close(terms["reconstruction"], 0.3 * want)
    assert set(terms) == {"common", "specific", "reconstruction", "contrast"}
    assert small(methods=4).specific_head(torch.zeros(1, 32)).shape == (1, 5)


def test_an_untrained_head_guesses() -> None:
    # Logits of 0: -log 1/2 for two classes, -log 1/3 for real and two methods, times 0.1.
    detector = small()
    for head in (detector.common_head, detector.specific_head):
        for p in head.parameters():
            torch.nn.init.zeros_(p)
    terms = detector.loss(batch())
    assert terms["common"].item() == pytest.approx(math.log(2))
    assert terms["specific"].item() == pytest.approx(0.1 * math.log(3))


# --- which part learns what ------------------------------------------------------------------------------------------


def test_which_loss_reaches_which_part() -> None:
    detector = small()
    routes = {}
    for name in ("common", "specific", "reconstruction", "contrast"):
        parts = ("forgery", "content", "common", "specific", "common_head", "specific_head", "decoder")
        routes[name] = {p for p in parts if reached(detector.loss(batch())[name], getattr(detector, p))}
    assert routes == {
        "common": {"forgery", "common", "common_head"},
        "specific": {"forgery", "specific", "specific_head"},
        "reconstruction": {"forgery", "content", "common", "specific", "decoder"},
        "contrast": {"forgery", "common", "specific"},
    }


def test_only_the_common_part_decides() -> None:
    detector = small().eval()
    image = batch().image
    before = detector(image)
    with torch.no_grad():
        for part in (detector.content, detector.specific, detector.specific_head, detector.decoder):
            for p in part.parameters():
                p.fill_(float("nan"))
        after = detector(image)
        assert torch.equal(before.logits, after.logits)
        assert torch.equal(before.features, after.features)
        detector.common[4].bias.add_(torch.randn(32))  # type: ignore[operator]
    assert not torch.equal(before.logits, detector(image).logits)


def test_common_features_change_places_within_their_class_only() -> None:
    torch.manual_seed(0)
    seen = {tuple(ucf._shuffled(3).tolist()) for _ in range(300)}
    assert len(seen) == 36  # 3! x 3!
    assert all(sorted(s[:3]) == [0, 1, 2] and sorted(s[3:]) == [3, 4, 5] for s in seen)


def test_shuffling_moves_the_common_part_alone_and_keeps_both_classifications(monkeypatch: pytest.MonkeyPatch) -> None:
    detector = small(shuffle=0.0).eval()
    plain = detector.loss(batch())
    order = torch.tensor([1, 0, 3, 2])
    monkeypatch.setattr(ucf, "_shuffled", lambda half: order)
    seen = []
    detector.decoder.register_forward_pre_hook(lambda module, given: seen.append(given[:2]))
    detector.loss(batch())
    detector.shuffle = 1.0
    mixed = detector.loss(batch())
    for name in ("common", "specific"):
        torch.testing.assert_close(mixed[name], plain[name])
    (before, content), (after, same) = seen[0], seen[2]  # each loss decodes twice: own forgeries, then the other half's
    torch.testing.assert_close(same, content)
    torch.testing.assert_close(after[:, :32], before[:, :32])
    torch.testing.assert_close(after[:, 32:], before[order, 32:])
    assert not torch.allclose(after[:, 32:], before[:, 32:])


# --- batches ---------------------------------------------------------------------------------------------------------


def test_batches_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UnmaskError, match="has 3 real and 1 forged images: choose the sampler by_class"):
        small().loss(batch((0, 0, 1, 0)))
    with pytest.raises(UnmaskError, match="a forgery of method 2, counted from 0, and this ucf tells 2 apart: set opt"):
        small().loss(batch(method=(0, 1, 2, 0)))
    with pytest.raises(UnmaskError, match="has to know what made each forgery"):
        small().loss(Batch(batch().image, batch().label))
    with pytest.raises(UnmaskError, match="ucf needs 64 or more"):
        ucf.UCF("tiny-resnet", size=32)


def test_published_shapes() -> None:
    """256 pixels: 512 maps of 8 x 8, and a face of 256 pixels back."""
    with torch.device("meta"):
        detector = ucf.UCF()
        f = detector.forgery(torch.empty(2, 3, 256, 256))
        assert f.shape == (2, 512, 8, 8)
        assert detector.common(f).shape == detector.specific(f).shape == (2, 256, 8, 8)
        assert detector.decoder(f, f, (256, 256)).shape == (2, 3, 256, 256)
    assert detector.input.mean == detector.input.std == (0.5, 0.5, 0.5)
