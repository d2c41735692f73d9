"""From logits to a verdict: frames -> face -> file. Pure functions on numbers.

A *log-odds* is logit(fake) - logit(real) of one crop. Three steps lead from logits to the words of a report:

1. **Face.** x = mean of the logits over the frames in which one person was seen; score = calibrated P(fake) at x.
2. **State** of a face, by split-conformal p-values (Vovk et al. 2005): `p_real` is the share of real validation faces
   that score as high as x, `p_fake` the share of forged ones that score as low. At error rate a, among k faces:
   fake if p_real <= a / k, real if p_fake <= a, each only if the other p-value is the larger; otherwise uncertain. The
   division by k is Bonferroni's: whoever looks at k real faces and calls the file forged if any one stands out must ask
   for k times less, because a maximum over faces grows with their number.
3. **File.** Only faces that are fit to be judged count: one that is too small, or unlike what the detector was trained
   on, says nothing in numbers. Assumption: with prior 1/2 the file is forged, and if it is, exactly one of its k faces
   that count is, the likelier the longer it is in sight: w_i is its share of all sightings, 1/k each in an image. Then
   the likelihood ratio of the file is L = sum of w_i p_i / (1 - p_i), and its score is L / (1 + L). A false detection
   of two frames thus weighs little against the face of a whole video. Where no face counts there is no score. The
   state is fake if any face is fake, real if all are real, those that do not count among them, otherwise uncertain.

A decided state must also have its score on its own side of one half; evidence that contradicts itself is uncertain.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from unmask.bundles.calibration import interval, likelihood_ratio, p_values, probability
from unmask.scanning.evidence import piece
from unmask.types import Calibration, Evidence, Floats, LikelihoodRatio, State

SURE = 1e-6  # no score is closer than this to 0 or 1 when odds are taken: no calibration set can tell one in a million


@dataclass(frozen=True)
class Verdict:
    """State, calibrated P(fake) with its 90 % interval, and the reasons, those that decided it first.

    Attributes:
        measured: what else was measured.
        counted: of a face: whether it is fit to enter the number of its file.
        rests_on: of a file: position, from 1, of the face that weighs most in its number.
    """

    state: State
    score: float | None = None
    low: float | None = None
    high: float | None = None
    reasons: tuple[Evidence, ...] = ()
    measured: tuple[Evidence, ...] = ()
    counted: bool = True
    rests_on: int | None = None

    def because(self, *reasons: Evidence) -> Verdict:
        """The same verdict with more reasons."""
        return replace(self, reasons=self.reasons + reasons)

    def doubted(self, *reasons: Evidence) -> Verdict:
        """The same score, but no longer decided, with these reasons first. Unchanged when there are none."""
        return replace(self, state="uncertain", reasons=reasons + self.reasons) if reasons else self

    def beside(self, *measured: Evidence) -> Verdict:
        """The same verdict with more that was measured."""
        return replace(self, measured=self.measured + measured)

    def of(self, about: str) -> Verdict:
        """The same verdict, with evidence about this one: "face 2"."""
        reasons, measured = (
            tuple(one.model_copy(update={"about": about}) for one in pieces) for pieces in (self.reasons, self.measured)
        )
        return replace(self, reasons=reasons, measured=measured)

    @property
    def texts(self) -> tuple[str, ...]:
        """The reasons in words."""
        return tuple(one.text for one in self.reasons)

    def unfit(self, *reasons: Evidence) -> Verdict:
        """`doubted`, and of no weight for the file."""
        return replace(self.doubted(*reasons), counted=False) if reasons else self


def face_verdict(calibration: Calibration, margins: Floats, error_rate: float, k: int = 1) -> Verdict:
    """The verdict on one person.

    Args:
        margins: (frames,) of this person, at least one.
        error_rate: share of real faces that may be called fake, and of forged ones that may be called real; 0..0.5.
        k: number of faces in the file.
    """
    x = float(np.mean(margins))
    spread = float(np.std(margins, ddof=1) / np.sqrt(len(margins))) if len(margins) > 1 else 0.0
    low, high = interval(calibration, x, spread)
    score = probability(calibration, x)
    state, reason = decide(calibration, x, error_rate, k)
    return Verdict(state, score, low, high, (reason,))


def decide(calibration: Calibration, x: float, error_rate: float, k: int = 1) -> tuple[State, Evidence]:
    """State of a face with mean logit x among k faces, and the evidence for it."""
    p_real, p_fake = p_values(calibration, x)
    score = probability(calibration, x)
    if p_real <= error_rate / k and p_fake > p_real and score > 0.5:
        return "fake", piece("rare_real", "face", {"share": p_real})
    if p_fake <= error_rate and p_real > p_fake and score < 0.5:
        return "real", piece("rare_forged", "face", {"share": p_fake})
    facts = {"real": p_real, "forged": p_fake, "needed": error_rate / k, "faces": k}
    return "uncertain", piece("undecided", "face", facts)


def weight(calibration: Calibration | None, verdict: Verdict) -> LikelihoodRatio | None:
    """What the finding weighs, where there is a number."""
    if calibration is None or verdict.score is None or verdict.low is None or verdict.high is None:
        return None
    return likelihood_ratio(calibration, verdict.score, verdict.low, verdict.high)


def file_verdict(faces: Sequence[Verdict], seen: Sequence[int] = ()) -> Verdict:
    """The verdict on a file from those on its faces, each with a score; at least one.

    Args:
        seen: in how many frames each face was seen; empty = all equally often.
    """
    seen = seen or (1,) * len(faces)
    states = Counter(face.state for face in faces)
    state: State = "fake" if states["fake"] else "real" if states["real"] == len(faces) else "uncertain"
    counted = [i for i, face in enumerate(faces) if face.counted]
    if not counted:
        return Verdict("uncertain", reasons=(*_in_short(faces), piece("none_fit", "file", {})))
    weights = [seen[i] for i in counted]
    score = _any_of([faces[i].score for i in counted], weights)
    low = _any_of([faces[i].low for i in counted], weights)
    high = _any_of([faces[i].high for i in counted], weights)
    shares = _odds([faces[i].score for i in counted]) * weights
    most = counted[int(np.argmax(shares))]
    reasons = _in_short(faces)
    if len(faces) > 1:
        reasons = (*reasons, *_resting(faces, most + 1, float(shares.max() / shares.sum())))
    verdict = Verdict(state, score, low, high, reasons, rests_on=most + 1)
    if state == "fake" and score <= 0.5:
        return verdict.doubted(piece("stands_out", "file", {"faces": len(faces)}))
    return verdict


def file_state(answers: Sequence[State]) -> State:
    """The state of a file from those of the questions that were asked of it, at least one.

    fake where an answer is fake, else uncertain where one is, else real where one is: a question that does not apply
    (no face in it) decides nothing. Each question keeps its error rate; a real file of which two are asked may be
    called fake by either.
    """
    order: tuple[State, ...] = ("fake", "uncertain", "real", "not_applicable", "failed")
    return min(answers, key=order.index)


def unsure_between(calibration: Calibration, error_rate: float) -> tuple[float, float]:
    """The scores between which a single face is `uncertain` at this error rate, as (low, high).

    A band that reaches 0 or 1 says that the detector is never sure enough on that side.
    """
    values = np.unique(np.array([*calibration.real, *calibration.fake], np.float64))
    # p-values only change at validation scores; a hair to either side of each shows every value that they take.
    xs = np.sort(np.concatenate([values - 1e-6, values + 1e-6])).tolist()
    # All three conditions of a call are monotonous in x: calls of "real" come first, those of "fake" last.
    reals = bisect_left(xs, True, key=lambda x: decide(calibration, x, error_rate)[0] != "real")
    fakes = bisect_left(xs, True, key=lambda x: decide(calibration, x, error_rate)[0] == "fake")
    low = probability(calibration, xs[reals - 1]) if reals else 0.0
    high = probability(calibration, xs[fakes]) if fakes < len(xs) else 1.0
    return low, high


def _odds(p: Sequence[float | None]) -> NDArray[np.float64]:
    clipped = np.clip(np.asarray(p, np.float64), SURE, 1 - SURE)
    return np.asarray(clipped / (1 - clipped), np.float64)


def _any_of(p: Sequence[float | None], seen: Sequence[int]) -> float:
    """P(one of the faces is forged): odds are averaged by sightings, see the module's third step."""
    ratio = float(np.average(_odds(p), weights=seen))
    return ratio / (1 + ratio)


def _in_short(faces: Sequence[Verdict]) -> tuple[Evidence, ...]:
    """Reasons of a file: those of its only face, or which of its faces are what."""
    if len(faces) == 1:
        return faces[0].reasons
    states: tuple[State, ...] = ("fake", "uncertain", "real")
    found = {state: [i for i, face in enumerate(faces, 1) if face.state == state] for state in states}
    return tuple(
        piece("answers", "file", {"faces": _numbers(numbers), "state": state})
        for state, numbers in found.items()
        if numbers
    )


def _resting(faces: Sequence[Verdict], most: int, share: float) -> list[Evidence]:
    """Which faces the number of a file rests on, and which have no part in it."""
    others = [i for i, face in enumerate(faces, 1) if not face.counted]
    counted = len(faces) - len(others)
    pieces = []
    if counted == 1 or share > 0.5:
        pieces.append(piece("rests_on", "file", {"face": most, "counted": counted}))
    if others:
        pieces.append(piece("left_out", "file", {"faces": _numbers(others)}))
    return pieces


def _numbers(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers))
