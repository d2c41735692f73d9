"""The head on CLIP: thresholds of the worst source, by hand; a head that is fitted says what the detector says."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from training.clip.features import Faces
from training.clip.probe import head
from training.sources import worst_source
from unmask.data.manifest import FaceRow
from unmask.detectors.gend import GenD


def row(n: int, label: int) -> FaceRow:
    return FaceRow(
        dataset="forged", item_id=str(n), relpath=f"{n}.png", media_type="image", label=label, group_id=str(n),
        media_id=str(n), frame=0, t=0.0, split="train",
    )  # fmt: skip


def test_a_threshold_of_the_worst_source_holds_for_each() -> None:
    score = np.array([0.0, 1.0, 10.0, 0.0, 4.0, 4.0, 99.0])
    source = np.array(["a", "a", "a", "b", "b", "b", "b"])
    real = np.array([True] * 6 + [False])  # the last one is a forgery and sets no threshold
    found = np.array(worst_source(score, source, real))
    # at the median "a" has 1 and "b" has 4; near the end "a" has 10 and "b" has 4
    assert found[len(found) // 2] == pytest.approx(4.0, abs=0.05)
    assert found[-1] == pytest.approx(10.0, abs=0.05)
    assert (np.diff(found) >= 0).all()


def test_the_head_is_the_fitted_line() -> None:
    detector = GenD("tiny-vit", adaptation="probe", pool="patches")
    features = np.random.default_rng(0).standard_normal((40, 192)).astype(np.float32)
    features[:20, 0] += 3
    rows = tuple(row(n, int(n < 20)) for n in range(40))
    score = head(Faces(rows, features), detector)
    logits = detector.head(F.normalize(torch.from_numpy(features), dim=1))
    np.testing.assert_allclose((logits[:, 1] - logits[:, 0]).detach().numpy(), score, atol=1e-3)
    assert score[:20].min() > score[20:].max()
