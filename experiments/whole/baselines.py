"""What a linear model makes of a set without any forensics: its power spectrum, its files' sizes. Cross-validated.

Both are fitted on the very set that they are tested on (by group, five parts), which no detector here is: a detector
held out from a set that lies above them has not merely learnt the codec or the format.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from experiments.whole.material import Row
from unmask.measure.spectrum import radial_spectrum

Numbers = NDArray[np.float64]


def spectra(rows: Sequence[Row], tiles: NDArray[np.uint8], chosen: Sequence[int]) -> tuple[list[Row], Numbers]:
    """Radial spectrum of each file, the mean over its tiles. Returns: a row for each file, and (files, 64)."""
    at: dict[str, list[int]] = {}
    for i in chosen:
        at.setdefault(rows[i].path, []).append(i)
    return (
        [rows[own[0]] for own in at.values()],
        np.stack([np.mean([radial_spectrum(tiles[i]) for i in own], axis=0) for own in at.values()]),
    )


def metadata(rows: Sequence[Row]) -> Numbers:
    """(files, 4): width, height, bytes and bytes by pixel, as logarithms."""
    found = []
    for row in rows:
        path = row.path.split("#")[0]
        if path.endswith(".mp4"):
            video = cv2.VideoCapture(path)
            width, height = video.get(cv2.CAP_PROP_FRAME_WIDTH), video.get(cv2.CAP_PROP_FRAME_HEIGHT)
        else:
            height, width = cv2.imread(path, cv2.IMREAD_UNCHANGED).shape[:2]
        size = Path(path).stat().st_size
        found.append(np.log([width, height, size, size / (width * height)]))
    return np.array(found)


def cross_validated(x: Numbers, label: NDArray[np.int64], group: NDArray[np.str_]) -> Numbers:
    """Scores (N,) of logistic regression on standardised features, each part scored by the others' fit."""
    scores = np.zeros(len(x))
    for train, test in StratifiedGroupKFold(5, shuffle=True, random_state=0).split(x, label, group):
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000))
        scores[test] = model.fit(x[train], label[train]).decision_function(x[test])
    return scores
