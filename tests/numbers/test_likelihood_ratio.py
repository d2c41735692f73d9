"""Likelihood ratios by hand."""

from __future__ import annotations

from tests.scanning.make import calibration
from unmask.bundles.calibration import likelihood_ratio
from unmask.scanning.words import weighs
from unmask.types import DetectorInfo, FileReport, WholeReport


def test_the_ratio_is_the_odds_at_equal_priors_and_no_larger_than_the_data_allow() -> None:
    known = calibration(n=99)  # 99 validation items of each class: no ratio beyond 100
    # 0.8 / 0.2 = 4, 0.5 / 0.5 = 1, 0.9 / 0.1 = 9: 0.602, 0, 0.954
    found = likelihood_ratio(known, 0.8, 0.5, 0.9)
    assert (found.log10, found.low, found.high, found.bounded) == (0.602, 0.0, 0.954, False)
    sure = likelihood_ratio(known, 0.9999, 0.9, 1.0)
    assert (sure.log10, sure.high, sure.bounded) == (2.0, 2.0, True)
    assert likelihood_ratio(known, 0.0, 0.0, 0.001).log10 == -2.0


def test_it_is_said_in_a_sentence_about_its_own_question() -> None:
    ratio = likelihood_ratio(calibration(), 0.2, 0.1, 0.5)
    file = FileReport(path="a", state="uncertain", score=0.2, likelihood_ratio=ratio)
    assert "about 4 times as probable if none is as if at least one face is forged" in weighs(file)
    assert "log10: -0.6, 90\u00a0% interval -1.0 to 0.0" in weighs(file)
    sure = likelihood_ratio(calibration(), 0.9999, 0.9, 1.0)
    detector = DetectorInfo(name="d", weights_sha256="")
    whole = WholeReport(state="fake", score=0.9999, likelihood_ratio=sure, detector=detector)
    assert "at least 100 times as probable if it was generated as a whole" in weighs(whole)
    assert weighs(FileReport(path="a", state="failed")) == ""
