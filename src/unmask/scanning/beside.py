"""Several detectors side by side: what each says of a file, and the one number that a fusion makes of them.

A fusion (`unmask eval fuse`) is a logistic regression on the detectors' logits. Its calibration comes from leakage
groups that it was not fitted on, so its verdict is reached as that on a face is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np

from unmask.bundles import Scorer
from unmask.bundles.fusion import FusionFile, read
from unmask.errors import InputError
from unmask.scanning.verdict import SURE, face_verdict, weight
from unmask.types import Calibration, FileReport, Opinion


def opinion(report: FileReport) -> Opinion:
    """What a report says in its detector's own question."""
    whole = report.whole if report.face_state is None else None
    found = whole or report
    return Opinion(
        name=found.detector.name if found.detector else "",
        weights_sha256=found.detector.weights_sha256 if found.detector else "",
        about="whole" if whole else "faces",
        state=whole.state if whole else report.face_state or report.state,
        score=found.score,
        low=found.low,
        high=found.high,
        likelihood_ratio=found.likelihood_ratio,
        reasons=found.reasons,
    )


@dataclass(frozen=True)
class Fused:
    """A fusion, ready for the answers of its members.

    Attributes:
        sha256: of its file.
        order: of each member its place among the detectors of the scan.
        calibrations: of each member, which lead from its P(fake) back to its logit.
    """

    fusion: FusionFile
    sha256: str
    order: tuple[int, ...]
    calibrations: tuple[Calibration, ...]

    @classmethod
    def read(cls, path: Path, scorers: Sequence[Scorer]) -> Fused:
        """Raises: UnmaskError for what is no fusion, and unless its members are the detectors of the scan."""
        fusion, sha256 = read(path)
        there, columns = [scorer.weights_sha256 for scorer in scorers], fusion.columns
        if foreign := [column.name for column in columns if column.kind == "scores"]:
            raise InputError(
                f"{path} needs the scores of {', '.join(foreign)}, which a scan does not have: fuse bundles"
            )
        missing = [column.name for column in columns if column.sha256 not in there]
        more = [s.card.name for s in scorers if s.weights_sha256 not in {c.sha256 for c in columns}]
        if missing or more:
            lacks = [f"its {', '.join(missing)} (these very weights) is not asked"] * bool(missing)
            over = [f"{', '.join(more)} is no part of it"] * bool(more)
            raise InputError(
                f"{path} does not fit the detectors of this scan: {'; '.join(lacks + over)}. Name its members, and "
                "only these, as --detector A,B"
            )
        order = tuple(there.index(column.sha256) for column in columns)
        held = [scorers[place].card.calibration for place in order]
        return cls(fusion, sha256, order, tuple(c for c in held if c is not None))  # a scan has no detector without one

    def __call__(self, first: Opinion, others: Sequence[Opinion], error_rate: float) -> Opinion:
        """The answer of all; without a number where one of them has none."""
        given = [(first, *others)[place] for place in self.order]
        about: Literal["faces", "whole"] = "whole" if all(one.about == "whole" for one in given) else "faces"
        name = "fusion of " + ", ".join(one.name for one in given)
        silent = [one.name for one in given if one.score is None]
        if silent:
            why = f"no number is given: there is none of {', '.join(silent)}"
            return Opinion(name=name, weights_sha256=self.sha256, about=about, state="not_applicable", reasons=(why,))
        logits = [_logit(c, one.score or 0.0) for c, one in zip(self.calibrations, given, strict=True)]
        calibration = self.fusion.calibration
        verdict = face_verdict(calibration, np.array([self.fusion(logits)], np.float32), error_rate)
        return Opinion(
            name=name,
            weights_sha256=self.sha256,
            about=about,
            state=verdict.state,
            score=verdict.score,
            low=verdict.low,
            high=verdict.high,
            likelihood_ratio=weight(calibration, verdict),
            reasons=verdict.texts,
        )


def _logit(calibration: Calibration, score: float) -> float:
    """The raw logit whose calibrated P(fake) is `score`."""
    p = min(max(score, SURE), 1 - SURE)
    return (math.log(p / (1 - p)) - calibration.intercept) / calibration.slope
