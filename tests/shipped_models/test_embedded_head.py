"""The embedded detector's head: what the detector says is the fitted line on standardised features."""

from __future__ import annotations

import numpy as np
import torch

from training.embedded_head import head
from training.sources import Rows
from unmask.data.manifest import FaceRow
from unmask.detectors.mobilenet import MobileNet
from unmask.nn.mobilenet import FEATURES


def row(n: int, dataset: str, label: int, split: str = "train") -> FaceRow:
    return FaceRow(
        dataset=dataset, item_id=str(n), relpath=f"{n}.png", media_type="image", label=label, group_id=str(n),
        media_id=str(n), frame=0, t=0.0, split=split,
    )  # fmt: skip


def test_it_separates_swaps_and_does_not_read_generated_or_held_out_rows() -> None:
    """Feature 0 tells swaps; feature 1 tells StyleGAN's and test rows, and must not be learnt from them."""
    features = np.random.default_rng(0).standard_normal((120, FEATURES)).astype(np.float32) * 0.1
    rows = [row(n, "dfdc_faces224", n % 2) for n in range(80)]
    rows += [row(n, "140k_stylegan256", 1) for n in range(80, 100)] + [
        row(n, "dfdc_faces224", 1, "test") for n in range(100, 120)
    ]
    features[:80:2, 0] -= 1
    features[1:80:2, 0] += 1
    features[80:, 1] += 5
    detector = MobileNet()
    head(Rows(tuple(rows)), features, detector)
    with torch.no_grad():
        logit = (detector.head(torch.from_numpy(features)) @ torch.tensor([-1.0, 1.0])).numpy()
    assert (logit[1:80:2] > 0).all()
    assert (logit[:80:2] < 0).all()
    weight = (detector.head.weight[1] - detector.head.weight[0]).detach().numpy() * features[:100].std(0)
    assert abs(weight[0]) == np.abs(weight).max()
    assert abs(weight[1]) < 0.2 * abs(weight[0])
