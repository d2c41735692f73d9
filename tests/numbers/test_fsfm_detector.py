"""FSFM's fine-tuning: soft labels of mixed images by hand, and the published layout, whose index 0 is fake."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from tests.exporting.test_import_fsfm import pretrained, vit, written
from unmask.base.detector import Batch
from unmask.detectors import fsfm
from unmask.exporting.checkpoints.published import published
from unmask.nn.contrastive import soft_cross_entropy
from unmask.types import UnmaskError


def test_soft_labels_by_hand() -> None:
    target = fsfm.smoothed(torch.tensor([0, 1]), 2, 0.1)
    torch.testing.assert_close(target, torch.tensor([[0.95, 0.05], [0.05, 0.95]]))
    # 0.8 of the own, 0.2 of the other: 0.8 0.95 + 0.2 0.05 = 0.77.
    torch.testing.assert_close(fsfm.mixed(target, 0.8), torch.tensor([[0.77, 0.23], [0.23, 0.77]]))


def test_a_cut_by_hand() -> None:
    # Of 8 x 8 pixels a share of 0.75 leaves a box of side 8 sqrt(0.25) = 4; about (0.25, 0.5) that is rows 0..3,
    # columns 2..5: 16 of 64 pixels from the other image.
    image = torch.stack([torch.zeros(3, 8, 8), torch.ones(3, 8, 8)])
    target = torch.eye(2)
    patched, soft = fsfm.cut_and_mixed(image, target, 0.75, [0.25, 0.5])
    assert patched[0, 0].sum() == 16
    assert patched[0, 0, :4, 2:6].sum() == 16
    torch.testing.assert_close(soft, torch.tensor([[0.75, 0.25], [0.25, 0.75]]))
    # At the corner three quarters of the box lie outside: 4 pixels.
    patched, soft = fsfm.cut_and_mixed(image, target, 0.75, [0.0, 0.0])
    assert patched[0, 0].sum() == 4
    assert soft[0, 1].item() == pytest.approx(4 / 64)


def test_in_training_labels_are_soft_and_in_use_nothing_is_mixed() -> None:
    torch.manual_seed(0)
    detector = fsfm.FSFM("tiny-fsfm", drop_path=0, mixup=0, cutmix=0, smoothing=0.2)
    batch = Batch(torch.rand(2, 3, 64, 64), torch.tensor([0, 1]))
    want = soft_cross_entropy(detector(batch.image).logits, fsfm.smoothed(batch.label, 2, 0.2))
    torch.testing.assert_close(detector.loss(batch)["cls"], want)
    want = torch.nn.functional.cross_entropy(detector.eval()(batch.image).logits, batch.label)
    torch.testing.assert_close(detector.loss(batch)["cls"], want)
    with pytest.raises(UnmaskError, match="plain ViT"):
        fsfm.FSFM("tiny-vit")


def test_published_weights_have_their_classes_turned_round(tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = vit(2).eval()
    state = {k: torch.randn_like(v) * 0.05 for k, v in theirs.state_dict().items()}
    theirs.load_state_dict(state)
    detector = published("fsfm", written(tmp_path, state))
    image = torch.rand(3, 3, 64, 64)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.54822, 0.42341, 0.36547), (0.27892, 0.24385, 0.23494)))
    with torch.no_grad():
        want = theirs((image - mean) / std)  # index 0 = fake
        torch.testing.assert_close(detector(image).logits, want.flip(1), atol=1e-4, rtol=1e-4)
    with pytest.raises(UnmaskError, match="no fine-tuned FSFM"):
        published("fsfm", written(tmp_path, pretrained()))
