"""Margins -> verdicts, against values worked out by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest

from unmask.bundles.calibration import p_values
from unmask.scanning import checks, closer
from unmask.scanning.evidence import note
from unmask.scanning.person import Seen
from unmask.scanning.verdict import Verdict, decide, face_verdict, file_verdict, unsure_between
from unmask.types import Calibration, Evidence, Face


def calibration() -> Calibration:
    """p = sigmoid(x), band p -+ 0.1; nine real examples at -8..0 and nine forged ones at 0..8."""
    knots = tuple(float(k) for k in range(-8, 9))
    p = [1 / (1 + math.exp(-k)) for k in knots]
    return Calibration(
        slope=1,
        intercept=0,
        knots=knots,
        low=tuple(max(v - 0.1, 0) for v in p),
        high=tuple(min(v + 0.1, 1) for v in p),
        real=tuple(float(x) for x in range(-8, 1)),
        fake=tuple(float(x) for x in range(9)),
        data="by hand",
    )


def face(score: float, state: str = "uncertain", low: float | None = None, high: float | None = None) -> Verdict:
    assert state in ("fake", "real", "uncertain")
    return Verdict(state, score, score if low is None else low, score if high is None else high)  # type: ignore[arg-type]


def test_a_face_is_the_mean_margin_of_its_frames() -> None:
    # x = (1 + 3) / 2 = 2; p = 1 / (1 + e^-2) = 0.880797. sd = sqrt(2), spread = sqrt(2) / sqrt(2) = 1:
    # the band is read at 2 - 1.645 and 2 + 1.645. At 0.355 between knots 0 and 1: sigmoid 0.5 and 0.731059,
    # low = 0.4 + 0.355 * 0.231059 = 0.482026; at 3.645 between 3 and 4 the upper end is already 1.
    verdict = face_verdict(calibration(), np.array([1, 3], np.float32), 0.1)
    assert verdict.score == pytest.approx(0.880797, abs=1e-5)
    assert verdict.low == pytest.approx(0.482026, abs=1e-5)
    assert verdict.high == 1


def test_one_frame_has_no_spread() -> None:
    # x = 2: the band at knot 2 is 0.780797 .. 0.980797.
    verdict = face_verdict(calibration(), np.array([2], np.float32), 0.1)
    assert (verdict.low, verdict.high) == pytest.approx((0.780797, 0.980797), abs=1e-5)


@pytest.mark.parametrize(
    ("x", "rate", "k", "state"),
    [
        # p_real = (1 + #{real >= x}) / 10, p_fake = (1 + #{fake <= x}) / 10.
        (0.5, 0.1, 1, "fake"),  # 0.1 and 0.2
        (-0.5, 0.1, 1, "real"),  # 0.2 and 0.1
        (0.5, 0.1, 2, "uncertain"),  # among two faces p_real 0.1 > 0.1 / 2
        (-0.5, 0.1, 2, "real"),  # nothing is divided for "real": the file is real only if every face is
        (0.5, 0.09, 1, "uncertain"),
        (0.0, 0.2, 1, "uncertain"),  # 0.2 and 0.2: neither is the larger, and the score is one half
        (-1.5, 0.3, 1, "real"),  # 0.3 and 0.1
        (1.5, 0.3, 1, "fake"),  # 0.1 and 0.3
    ],
)
def test_states(x: float, rate: float, k: int, state: str) -> None:
    assert decide(calibration(), x, rate, k)[0] == state


def test_many_faces_never_make_a_forged_looking_one_real() -> None:
    # At k = 10 neither x is rare enough for "fake", but p_real < p_fake: not "real" either, although p_fake <= 0.3.
    assert p_values(calibration(), 1.5) == (0.1, 0.3)
    assert decide(calibration(), 1.5, 0.3, 10)[0] == "uncertain"


def test_a_call_has_its_score_on_its_own_side() -> None:
    # Platt's line says 0.27 at x = 1 where the examples say forged: evidence that contradicts itself.
    odd = calibration().model_copy(update={"intercept": -2.0})
    assert p_values(odd, 1.0) == (0.1, 0.3)
    assert decide(odd, 1.0, 0.1)[0] == "uncertain"


def test_a_file_averages_odds() -> None:
    # Odds 9 and 1/9: mean 41/9 = 4.5556; score = 4.5556 / 5.5556 = 41/50 = 0.82.
    verdict = file_verdict([face(0.9, "fake"), face(0.1, "real")])
    assert verdict.score == pytest.approx(0.82)
    assert verdict.state == "fake"


def test_a_face_counts_by_how_long_it_is_in_sight() -> None:
    # Odds 1/4 in 30 frames and 9 in 2, as of a false detection: (30 / 4 + 2 * 9) / 32 = 0.796875, and equally 4.625.
    brief, long = face(0.9, "uncertain"), face(0.2, "real")
    assert file_verdict([long, brief], [30, 2]).score == pytest.approx(0.796875 / 1.796875)
    assert (
        file_verdict([long, brief], [7, 7]).score == file_verdict([long, brief]).score == pytest.approx(4.625 / 5.625)
    )


def test_the_interval_of_a_file_is_that_of_its_faces() -> None:
    # Lows 0.8 and 0: odds 4 and (clipped) 1e-6, mean 2, 2/3. Highs 0.95 and 0.5: odds 19 and 1, mean 10, 10/11.
    verdict = file_verdict([face(0.9, "fake", 0.8, 0.95), face(0.1, "real", 0.0, 0.5)])
    assert verdict.low == pytest.approx(2 / 3, abs=1e-5)
    assert verdict.high == pytest.approx(10 / 11, abs=1e-5)


def test_one_face_is_the_file() -> None:
    only = face(0.7, "uncertain", 0.6, 0.8).because(note("too dark"))
    verdict = file_verdict([only])
    assert verdict.texts == ("too dark",)
    assert (verdict.score, verdict.low, verdict.high) == pytest.approx((0.7, 0.6, 0.8))


def test_more_faces_do_not_raise_the_score_of_a_real_crowd() -> None:
    # A maximum would: of k faces at 0.2 it stays 0.2 here, whatever k.
    assert file_verdict([face(0.2, "real")] * 20).score == pytest.approx(0.2)


def test_states_of_a_file() -> None:
    assert file_verdict([face(0.1, "real"), face(0.2, "real")]).state == "real"
    assert file_verdict([face(0.1, "real"), face(0.4, "uncertain")]).state == "uncertain"
    assert file_verdict([face(0.99, "fake"), face(0.4, "uncertain"), face(0.1, "real")]).state == "fake"


def test_a_face_that_stands_out_a_little_in_a_crowd_is_not_a_forged_file() -> None:
    # Odds 1.5 and three times 1/9: mean 0.4583, score 0.314: on the other side of one half.
    verdict = file_verdict([face(0.6, "fake"), *[face(0.1, "real")] * 3])
    assert verdict.score == pytest.approx(0.3143, abs=1e-4)
    assert verdict.state == "uncertain"
    assert any("among 4 faces" in reason for reason in verdict.texts)


def test_certainty_has_a_floor() -> None:
    verdict = file_verdict([face(1.0, "fake"), face(0.0, "real")])
    assert verdict.score is not None
    assert 0.999 < verdict.score < 1


def test_reasons_say_which_face() -> None:
    verdict = file_verdict([face(0.99, "fake"), face(0.1, "real"), face(0.2, "real")])
    assert verdict.texts == (
        "face 1: likely forged", "faces 2, 3: no known sign of forgery", "the number rests most on face 1",
    )  # fmt: skip
    assert verdict.rests_on == 1


def test_a_face_that_is_not_fit_to_be_judged_has_no_part_in_the_number() -> None:
    # A presenter at 0.2 in 30 frames, an image of 39 px on the wall at 0.95 in 30: with it odds (1/4 + 19) / 2 = 9.6.
    presenter, picture = face(0.2, "real"), face(0.95, "fake").unfit(note("too small"))
    verdict = file_verdict([presenter, picture], [30, 30])
    assert verdict.score == pytest.approx(0.2)
    assert (verdict.low, verdict.high) == (pytest.approx(presenter.low), pytest.approx(presenter.high))
    assert verdict.state == "uncertain"  # one face is not known
    assert verdict.rests_on == 1
    assert "the number rests on face 1 alone" in verdict.texts
    assert "face 2 has no part in the number: not fit to be judged, see there" in verdict.texts
    # A forged face stays one, whatever else cannot be judged.
    assert file_verdict([face(0.97, "fake"), picture]).state == "fake"


def test_where_no_face_counts_there_is_no_number() -> None:
    verdict = file_verdict([face(0.95, "fake").unfit(note("the face is 31 px in size"))])
    assert (verdict.state, verdict.score, verdict.low, verdict.high) == ("uncertain", None, None, None)
    assert verdict.texts[0] == "the face is 31 px in size"
    assert verdict.rests_on is None
    two = file_verdict([face(0.95, "fake").unfit(note("small")), face(0.1, "real").unfit(note("small"))])
    assert (two.state, two.score) == ("uncertain", None)


def test_what_took_an_answer_back_comes_first() -> None:
    assert face(0.9, "fake").because(note("rare in real ones")).doubted(note("it turns round")).texts == (
        "it turns round", "rare in real ones",
    )  # fmt: skip


def test_doubt_keeps_the_score() -> None:
    verdict = face(0.9, "fake").doubted(note("tiny"))
    assert (verdict.state, verdict.score, verdict.texts) == ("uncertain", 0.9, ("tiny",))
    assert face(0.9, "fake").doubted() == face(0.9, "fake")


def test_unsure_between_is_where_decide_is_uncertain() -> None:
    # Rate 0.1: real below 0 (p_fake = 0.1 needs x < 0), fake above 0. Rate 0.05: nine examples never reach it.
    low, high = unsure_between(calibration(), 0.1)
    assert (low, high) == pytest.approx((0.5, 0.5), abs=1e-5)
    assert unsure_between(calibration(), 0.05) == (0, 1)
    # Reals up to 3, forgeries from -3 (each nine, steps of one): real needs x < -3, fake x > 3.
    overlapping = calibration().model_copy(
        update={"real": tuple(float(x) for x in range(-5, 4)), "fake": tuple(float(x) for x in range(-3, 6))}
    )
    low, high = unsure_between(overlapping, 0.1)
    assert (low, high) == pytest.approx((1 / (1 + math.exp(3)), 1 / (1 + math.exp(-3))), abs=1e-5)
    for x in np.linspace(-6, 6, 97):
        state, p = decide(overlapping, float(x), 0.1)[0], 1 / (1 + math.exp(-x))
        assert (state == "uncertain") == (low < p < high), x


def test_conformal_error_rates_hold() -> None:
    # The promise behind the states: of new real faces at most a tenth are called fake, and the other way round.
    rng = np.random.default_rng(5)
    wrong = {"fake": 0, "real": 0}
    rounds = 4000
    for _ in range(rounds // 40):
        c = calibration().model_copy(
            update={"real": tuple(np.sort(rng.normal(-1, 1, 50))), "fake": tuple(np.sort(rng.normal(1, 1, 50)))}
        )
        wrong["fake"] += sum(decide(c, float(x), 0.1)[0] == "fake" for x in rng.normal(-1, 1, 40))
        wrong["real"] += sum(decide(c, float(x), 0.1)[0] == "real" for x in rng.normal(1, 1, 40))
    assert 0.05 < wrong["fake"] / rounds <= 0.115
    assert 0.05 < wrong["real"] / rounds <= 0.115


def test_bonferroni_keeps_a_crowd_of_real_faces() -> None:
    # Ten real faces: the file is called forged at most a tenth of the time, not 1 - 0.9^10 = 65 %. The promise is over
    # files and validation sets alike: one set of 200 may be lucky or not.
    rng = np.random.default_rng(7)
    called = 0
    for _ in range(100):
        c = calibration().model_copy(
            update={"real": tuple(np.sort(rng.normal(-1, 1, 200))), "fake": tuple(np.sort(rng.normal(1, 1, 200)))}
        )
        for _ in range(10):
            called += any(decide(c, float(x), 0.1, 10)[0] == "fake" for x in rng.normal(-1, 1, 10))
    assert 0.05 < called / 1000 <= 0.12


# --- checks ----------------------------------------------------------------------------------------------------------


def texts(pieces: list[Evidence]) -> list[str]:
    return [one.text for one in pieces]


def test_evenly() -> None:
    assert checks.evenly(3, 8).tolist() == [0, 1, 2]
    assert checks.evenly(32, 8).tolist() == [0, 4, 9, 13, 18, 22, 27, 31]
    assert checks.evenly(1, 8).tolist() == [0]


def test_a_verdict_that_turns_round_is_named() -> None:
    # x = 2 is fake; minus 3 gives -1: real, 0.27. Minus 1 gives 1: still fake.
    reasons = checks.unstable(calibration(), 2.0, {"JPEG 70": -3.0, "half size": -1.0}, 0.1, 1)
    assert texts(reasons) == ["the verdict changes under JPEG 70: from 0.88 to 0.27"]


def test_a_score_that_crosses_one_half_must_cross_it_clearly() -> None:
    # Ten faces, so that no state is decided either way: 0.3 -> -0.3 is 0.574 -> 0.426, not a change of mind;
    # -0.5 is 0.378, more than 0.1 beyond.
    assert checks.unstable(calibration(), 0.3, {"mild blur": -0.6}, 0.05, 10) == []
    assert len(checks.unstable(calibration(), 0.3, {"mild blur": -0.8}, 0.05, 10)) == 1


def test_what_is_not_fit_to_be_judged() -> None:
    def reasons(sides: list[float], distances: list[float] | None = None) -> list[str]:
        far = None if distances is None else np.array(distances, np.float32)
        return texts(checks.unfit(checks.fitness(np.array(sides, np.float32), far, 5.0)))

    assert reasons([40, 41, 42]) == []
    assert reasons([39.6])[0].startswith("the face is 39 px in size; below 40 px")
    assert "31 px" in reasons([31, 30, 200, 31, 31])[0]
    assert reasons([80] * 3, [4, 6, 5]) == []
    assert "unlike" in reasons([80] * 3, [4, 6, 6])[0]


def test_faces_that_few_frames_show() -> None:
    assert texts(checks.seldom(2, 8)) == ["the face was seen in only 2 of 8 frames"]
    assert checks.seldom(1, None) == []  # an image
    assert texts(checks.seldom(7, 32)) == ["the face was seen in only 7 of 32 frames"]  # less than a quarter
    assert checks.seldom(8, 32) == []
    assert checks.seldom(8, 256) == []  # eight will do, however many frames there are
    assert texts(checks.seldom(1, 1)) == ["only 1 frame of the video could be looked at"]
    assert texts(checks.seldom(2, 2)) == ["only 2 frames of the video could be looked at"]


def sighting(t: float, margin: float) -> Seen:
    return Seen(Face(0, t, (0.0, 0.0, 60.0, 60.0), np.zeros((5, 2), np.float32), 1.0), np.eye(2, 3), margin, None, None)


def test_seldom_faces_of_long_videos_are_looked_at_again() -> None:
    long = [sighting(9.0 + 18 * i, -2.0) for i in range(32)]
    assert closer.moments([long], 32, 18.0, 576.0) == []
    again = closer.moments([long, [sighting(189.0, 3.0)]], 32, 18.0, 576.0)
    assert again == pytest.approx([186, 187.5, 188.2, 188.4, 188.6, 188.8, 189.2, 189.4, 189.6, 189.8, 190.5, 192])
    assert closer.moments([long, [sighting(189.0, 3.0)]], 32, 0.9, 28.8) == []  # frames lie close already
    # Half way to the next frame is far enough, and nothing lies before the beginning.
    assert closer.moments([[sighting(0.5, 3.0)]], 32, 1.4, 44.0) == pytest.approx([0.1, 0.3, 0.7, 0.9, 1.1])
    # Of many, the most forged.
    many = [[sighting(20.0 * i, float(i))] for i in range(10)]
    assert {round(t / 20) for t in closer.moments(many, 32, 18.0, 576.0)} == {6, 7, 8, 9}


def test_alone_means_without_a_second_look() -> None:
    assert closer.alone(10.0, [0.0, 10.0, 20.0])
    assert not closer.alone(10.0, [0.0, 9.2, 10.0, 20.0])


def test_unread_frames() -> None:
    assert checks.unread(26, 6) == []  # 18.75 %
    assert texts(checks.unread(25, 7)) == ["7 of 32 frames could not be read"]  # 21.9 %
    assert texts(checks.unread(10, 0, "over the limit")) == ["reading stopped after 10 frames: over the limit"]


def test_brief_finds_count_only_without_long_ones() -> None:
    assert checks.without_brief([32, 1, 2, 1]) == [0, 2]
    assert checks.without_brief([7, 1]) == [0, 1]
    assert checks.without_brief([1, 1, 1]) == [0, 1, 2]
    assert checks.without_brief([]) == []


def test_changes_change_little() -> None:
    rng = np.random.default_rng(1)
    crops = np.kron(rng.integers(0, 255, (2, 16, 16, 3)), np.ones((1, 8, 8, 1))).astype(np.uint8)
    for how in checks.CHANGES:
        after = checks.changed(crops, how)
        assert after.shape == crops.shape
        assert after.dtype == np.uint8
        difference = np.abs(after.astype(float) - crops).mean()
        assert 0.1 < difference < 30, how
