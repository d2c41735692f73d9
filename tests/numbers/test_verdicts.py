"""Hard verdicts by hand, and the identity that a table of them must not hide."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.measure.metrics import auroc
from unmask.measure.verdicts import graded_auroc, hard_verdicts
from unmask.types import UnmaskError


def test_unreadable_replies_are_errors_of_their_class() -> None:
    found = hard_verdicts([0, 0, 1, 1, 1], ["real", "fake", "fake", "fake", None])
    # real 1/2, fake 2/3, balanced 7/12; precision 2/3; F1 = 2 2 / (3 + 3)
    assert (found.real_accuracy, found.fake_accuracy) == pytest.approx((1 / 2, 2 / 3))
    assert (found.balanced, found.precision, found.f1) == pytest.approx((7 / 12, 2 / 3, 2 / 3))
    assert found.unreadable == 1


def test_the_auroc_of_hard_verdicts_is_their_balanced_accuracy() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        label = np.r_[0, 1, rng.integers(0, 2, 30)]
        fake = rng.integers(0, 2, 32)
        verdict = ["fake" if v else "real" for v in fake]
        assert auroc(label, fake) == pytest.approx(hard_verdicts(label, verdict).balanced, abs=1e-12)


def test_an_auroc_needs_a_graded_score_of_every_image() -> None:
    assert graded_auroc([0, 1], [0.2, 0.7]) == 1
    with pytest.raises(UnmaskError, match="balanced accuracy"):
        graded_auroc([0, 1], [0.2, None])
