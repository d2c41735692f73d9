"""GM-DF: it begins as CLIP, its meta-gradient is the analytic one, its parts by hand."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from unmask.base.detector import Batch
from unmask.detectors import gmdf
from unmask.nn.backbones import Encoder, save
from unmask.types import UnmaskError


def small(**options: object) -> gmdf.GMDF:
    torch.manual_seed(0)
    fixed = {"backbone": "face-vit-128", "experts": 3, "last": 1, "width": 8, "domains": 2, "painter": (1, 32, 2)}
    return gmdf.GMDF(**(fixed | options))  # type: ignore[arg-type]


def batch(n: int = 8) -> Batch:
    row = torch.arange(n)
    return Batch(torch.rand(n, 3, 128, 128), row % 2, domain=row // 2 % 2)


def test_before_training_it_is_its_encoder(tmp_path: Path) -> None:
    torch.manual_seed(1)
    encoder = Encoder("face-vit-128").eval()
    save(encoder, tmp_path / "encoder.safetensors")
    detector = small().eval()
    detector.load_pretrained(tmp_path / "encoder.safetensors")
    image = torch.rand(2, 3, 128, 128)
    with torch.no_grad():
        torch.testing.assert_close(detector(image).features, encoder(image))
        out = detector._answer(image, torch.tensor([0, 1]))
        torch.testing.assert_close(out.features, encoder(image))
    experts = [m for m in detector.encoder.modules() if isinstance(m, gmdf._Experts)]
    detector.train()._answer(image, None)
    torch.testing.assert_close(experts[0].routed.sum(1), torch.ones(2))
    trains = {n.split(".")[0] for n, p in detector.named_parameters() if p.requires_grad}
    assert trains == {"encoder", "norm", "directions", "painter", "mask_token"}
    assert not any(p.requires_grad for n, p in detector.encoder.named_parameters() if "ffn" in n or "attn" in n)


@pytest.mark.parametrize("second_order", [True, False])
def test_the_meta_gradient_of_a_quadratic(second_order: bool) -> None:
    # L_S = x^2 / 2 + 3 y^2 / 2, L_t = (x - 1)^2 / 2 + y^2 / 2, rate 0.1, at (2, 1): theta' = (0.9 2, 0.7 1), which is
    # (1.8, 0.7), grad L_t there = (0.8, 0.7). Through the step: times (0.9, 0.7) = (0.72, 0.49). And grad L_S = (2, 3).
    x, y = (torch.tensor(v, requires_grad=True) for v in (2.0, 1.0))
    source = x**2 / 2 + 3 * y**2 / 2
    moved = gmdf.inner_step(source, {"x": x, "y": y}, 0.1, second_order)
    (source + (moved["x"] - 1) ** 2 / 2 + moved["y"] ** 2 / 2).backward()
    want = (2.72, 3.49) if second_order else (2.8, 3.7)
    assert (x.grad.item(), y.grad.item()) == pytest.approx(want)  # type: ignore[union-attr]


def test_alignment_by_hand() -> None:
    # Class 0: means (1, 0) and (1, 2): 4; covariances diag(2, 0) and diag(2, 0). Class 1: one row on a side, nothing.
    one, label = torch.tensor([[0.0, 0], [2, 0], [7, 7]]), torch.tensor([0, 0, 1])
    other, other_label = torch.tensor([[0.0, 2], [2, 2], [1, 1], [2, 2]]), torch.tensor([0, 0, 1, 1])
    assert gmdf.alignment(one, label, other, other_label, 2).item() == pytest.approx(4)
    # Spread 2 instead of 1 about one mean: covariances 2 and 8 in one place: 36 / (4 4) = 2.25.
    wide = torch.tensor([[-1.0, 0], [3, 0]])
    assert gmdf.alignment(one[:2], label[:2], wide, label[:2], 2).item() == pytest.approx(2.25)
    order = torch.tensor([1, 0, 2])
    assert gmdf.alignment(one[order], label[order], one, label, 2).item() == 0


def test_routing_by_hand() -> None:
    routed = torch.tensor([[0.5, 0.3, 0.2], [0.1, 0.1, 0.8]])
    torch.testing.assert_close(gmdf.two_best(routed)[0], torch.tensor([0.625, 0.375, 0]))
    # Best: one row each for experts 0 and 2; means 0.3, 0.2, 0.5: 3 (0.5 0.3 + 0.5 0.5) = 1.2.
    assert gmdf.load_balance(routed).item() == pytest.approx(1.2)
    assert gmdf.load_balance(torch.tensor([[1.0, 0, 0]]).expand(4, 3)).item() == pytest.approx(3)


def test_a_step_puts_one_data_set_aside() -> None:
    class Engine:
        total = torch.zeros(())

        def autocast(self):  # type: ignore[no-untyped-def]
            return torch.autocast("cpu", enabled=False)

        def backward(self, loss: torch.Tensor) -> None:
            self.total = loss.detach()
            loss.backward()

        def update(self) -> bool:
            return False

    detector, engine = small(second_order=True).train(), Engine()
    terms = detector.step(batch(), engine)  # type: ignore[arg-type]
    assert {"cls", "paint", "balance", "held_cls", "held_paint", "held_balance", "held_align"} == set(terms)
    torch.testing.assert_close(engine.total, torch.stack(list(terms.values())).sum().detach())
    assert all(p.grad is not None for p in detector.parameters() if p.requires_grad)
    alone = batch()
    alone.domain = torch.zeros_like(alone.label)
    assert set(detector.step(alone, engine)) == {"cls", "paint", "balance"}  # type: ignore[arg-type]


def test_data_sets_must_be_named_and_known() -> None:
    with pytest.raises(UnmaskError, match="which data set"):
        small().loss(Batch(batch().image, batch().label))
    with pytest.raises(UnmaskError, match=r"options\.domains"):
        small(domains=1).loss(batch())
    with pytest.raises(UnmaskError, match="CLIP's image tower"):
        small(backbone="tiny-fsfm")
