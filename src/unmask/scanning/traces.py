"""What made it: the classes whose traces a face's resemble, as a set that may be empty or hold several.

A bundle of the task `classification` carries what is needed (`ClassCalibration`); of other bundles nothing is said. A
class is named only where enough validation items of it are known for the promise at this error rate, and nothing is
named of a face that is unlike all that the detector was trained on.
"""

from __future__ import annotations

import numpy as np

from unmask.bundles.classes import class_sets
from unmask.scanning.evidence import piece
from unmask.types import Card, Evidence, Floats, Traces

NAMED = ("method", "version", "source")  # kinds of classes that say what made an image


def traces_of(card: Card, logits: Floats, distance: float | None, error_rate: float) -> Traces | None:
    """None where the bundle does not say what made an image.

    Args:
        logits: (K,), the mean over the frames of one face.
        distance: from the training features, the mean likewise.
    """
    calibration = card.class_calibration
    if calibration is None or calibration.kind not in NAMED:
        return None
    known = np.array([len(row) + 1 >= 1 / error_rate for row in calibration.strangeness])
    unlike = card.ood_threshold is not None and distance is not None and distance > card.ood_threshold
    inside = class_sets(calibration, logits[None], error_rate)[0] & known & (not unlike)
    names = tuple(name for name, there in zip(card.classes, inside.tolist(), strict=True) if there)
    told = tuple(name for name, there in zip(card.classes, known.tolist(), strict=True) if there)
    return Traces(resemble=names, among=told, error_rate=error_rate)


def said(traces: Traces) -> str:
    """ "traces resemble: StyleGAN or swap", or that they resemble none that it knows. Never a name alone as a fact."""
    return evidence(traces, "face").text


def evidence(traces: Traces, about: str) -> Evidence:
    """What `said` says, with what it rests on."""
    made = ["an image without forgery" if name == "real" else name for name in traces.resemble]
    classes = " or ".join([", ".join(made[:-1]), made[-1]] if len(made) > 1 else made)
    return piece("traces", about, {"classes": classes, "among": len(traces.among)})
