"""Reasons to doubt a verdict: small changes that must not flip it, and circumstances in which no detector is reliable.

A forged face stays forged when the file is sent through a messenger. A verdict that turns round under a mild change of
the crops hangs on the file's encoding, not on the face, and is not reported as decided.
"""

from __future__ import annotations

import io
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from unmask.bundles.calibration import probability
from unmask.scanning.evidence import number, piece
from unmask.scanning.verdict import decide
from unmask.types import Calibration, Evidence, Floats, Pixels

CROPS_CHECKED = 8  # frames per face: three changes of eight crops cost less than the 32 crops of the scan itself
CLEARLY_ACROSS = 0.1  # a score near one half crosses it under any change; only 0.1 beyond it is a change of mind
TINY = 40.0  # pixels: detection was validated above 32 px, and most of a crop of a smaller face is interpolation
FEW = 3  # frames: one or two frames of a video may be a transition, a poster or a false detection
SELDOM = 0.25  # share of a video's frames: false detections in a background come and go; a person mostly stays
UNREAD = 0.2  # share of frames: beyond, what was not seen may well be what matters
BRIEF, LONG = 1, 8  # frames: a face seen once, in a video that follows another for eight, is mostly a false detection


def jpeg70(picture: Image.Image) -> Image.Image:
    """Compressed as a messenger would."""
    out = io.BytesIO()
    picture.save(out, "JPEG", quality=70)
    return Image.open(io.BytesIO(out.getvalue())).convert("RGB")


def half_size(picture: Image.Image) -> Image.Image:
    """Half the size and back."""
    small = picture.resize((max(1, picture.width // 2), max(1, picture.height // 2)), Image.Resampling.BILINEAR)
    return small.resize(picture.size, Image.Resampling.BILINEAR)


def mild_blur(picture: Image.Image) -> Image.Image:
    """Gaussian, standard deviation 1/200 of the side: hardly visible."""
    return picture.filter(ImageFilter.GaussianBlur(picture.width / 200))


CHANGES: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "JPEG 70": jpeg70,
    "half size": half_size,
    "mild blur": mild_blur,
}


def changed(crops: Pixels, how: str) -> Pixels:
    """`crops` (..., size, size, 3) under the change of that name in `CHANGES`."""
    change, flat = CHANGES[how], crops.reshape(-1, *crops.shape[-3:])
    return np.stack([np.asarray(change(Image.fromarray(crop))) for crop in flat]).reshape(crops.shape)


def evenly(count: int, most: int) -> NDArray[np.int64]:
    """At most `most` of the positions 0..count-1, evenly spaced, in order, without repeats."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).round().astype(np.int64))


def unstable(
    calibration: Calibration, x: float, shifts: Mapping[str, float], error_rate: float, k: int
) -> list[Evidence]:
    """Reasons from the changes under which the verdict turns round.

    Args:
        x: mean logit of the face.
        shifts: change -> by how much it moves the mean logit of the checked crops. The shift is added to x, so that
            only the change counts, not which crops were checked.
    """
    before, p_before = decide(calibration, x, error_rate, k)[0], probability(calibration, x)
    opposite = {"fake": "real", "real": "fake"}.get(before)
    reasons = []
    for how, shift in shifts.items():
        after, p_after = decide(calibration, x + shift, error_rate, k)[0], probability(calibration, x + shift)
        crossed = (p_before - 0.5) * (p_after - 0.5) < 0 and abs(p_after - 0.5) >= CLEARLY_ACROSS
        if after == opposite or crossed:
            reasons.append(piece("turns", "face", {"change": how, "before": p_before, "after": p_after}))
    return reasons


def stable(
    calibration: Calibration, x: float, shifts: Mapping[str, float], turns: Sequence[Evidence]
) -> list[Evidence]:
    """What the other changes did to the score; arguments as those of `unstable`, and what it found."""
    turned_round = {one.facts["change"] for one in turns}
    scores = {how: probability(calibration, x + shift) for how, shift in shifts.items() if how not in turned_round}
    if not scores:
        return []
    lowest, highest = min(scores.values()), max(scores.values())
    facts = {"before": probability(calibration, x), "lowest": lowest, "highest": highest}
    return [piece("holds", "face", {"changes": listed(list(scores)), **facts})]


def listed(names: Sequence[str]) -> str:
    """ "a, b and c"."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def fitness(sides: Floats, distances: Floats | None, ood_threshold: float | None, what: str = "face") -> list[Evidence]:
    """How large one face is, and how far from what the detector was trained on.

    Args:
        sides: (frames,) face sizes in pixels of the frame.
        distances: (frames,) from the training features, or None when the bundle carries no such model.
        ood_threshold: the card's border for them.
    """
    found = [piece("size", what, {"pixels": float(np.median(sides)), "least": TINY})]
    if distances is not None and ood_threshold is not None:
        found.append(piece("distance", what, {"distance": float(np.median(distances)), "limit": ood_threshold}))
    return found


def unfit(fitness: Sequence[Evidence]) -> list[Evidence]:
    """Those for which one face cannot be judged at all: its number has no part in that of the file."""
    return [
        one
        for one in fitness
        if (one.kind == "size" and number(one.facts, "pixels") < number(one.facts, "least"))
        or (one.kind == "distance" and number(one.facts, "distance") > number(one.facts, "limit"))
    ]


def turned(degrees: Sequence[int]) -> list[Evidence]:
    """Reasons from the turns that a face was found under, one for each sighting; 0 = as the image is."""
    turns = [d for d in degrees if d]
    if 2 * len(turns) < len(degrees):
        return []
    most = max(set(turns), key=turns.count)
    return [piece("turned", "face", {"degrees": min(most, 360 - most)})]


def enough(frames: int) -> float:
    """Frames in which a face must be seen, of so many that were read. However many these are, eight will do."""
    return max(FEW, min(LONG, SELDOM * frames))


def seldom(seen: int, frames: int | None, what: str = "face") -> list[Evidence]:
    """Reasons from the number of frames in which one face was seen.

    Args:
        frames: that were read of a video; None for an image, where one sighting is all there can be.
    """
    if frames is None or seen >= enough(frames):
        return []
    return [piece("seldom", what, {"seen": seen, "frames": frames})]


def unread(read: int, failed: int, broken: str = "") -> list[Evidence]:
    """Reasons from frames that could not be read; `broken`: why reading stopped before its end, if it did."""
    total = read + failed
    reasons = [piece("unread", "file", {"failed": failed, "frames": total})] if failed > UNREAD * total else []
    return [*reasons, piece("stopped", "file", {"frames": total, "why": broken})] if broken else reasons


def without_brief(lengths: list[int]) -> list[int]:
    """Positions of the faces that have a part in the verdict, from the number of frames in which each was seen."""
    if max(lengths, default=0) < LONG:
        return list(range(len(lengths)))
    return [i for i, length in enumerate(lengths) if length > BRIEF]
