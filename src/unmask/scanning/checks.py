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
from unmask.scanning.verdict import decide
from unmask.types import Calibration, Floats, Pixels

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


def unstable(calibration: Calibration, x: float, shifts: Mapping[str, float], error_rate: float, k: int) -> list[str]:
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
            reasons.append(f"the verdict changes under {how}: from {p_before:.2f} to {p_after:.2f}")
    return reasons


def unfit(sides: Floats, distances: Floats | None, ood_threshold: float | None, what: str = "face") -> list[str]:
    """Reasons for which one face cannot be judged at all: its number has no part in that of the file.

    Args:
        sides: (frames,) face sizes in pixels of the frame.
        distances: (frames,) from the training features, or None when the bundle carries no such model.
        ood_threshold: the card's border for them.
    """
    reasons = []
    side = float(np.median(sides))
    if side < TINY:  # rounded down: 39.6 is not "40, below 40"
        reasons.append(f"the {what} is {int(side)} px in size; below {TINY:.0f} px there is too little to judge")
    if distances is not None and ood_threshold is not None and float(np.median(distances)) > ood_threshold:
        reasons.append(f"the {what} is unlike those this detector was trained on")
    return reasons


def turned(degrees: Sequence[int]) -> list[str]:
    """Reasons from the turns that a face was found under, one for each sighting; 0 = as the image is."""
    turns = [d for d in degrees if d]
    if 2 * len(turns) < len(degrees):
        return []
    most = max(set(turns), key=turns.count)
    how = "stands on its head" if most == 180 else "lies on its side"
    return [f"the image {how}: the face was found after turning it by {min(most, 360 - most)}°; turn it, scan it again"]


def enough(frames: int) -> float:
    """Frames in which a face must be seen, of so many that were read. However many these are, eight will do."""
    return max(FEW, min(LONG, SELDOM * frames))


def seldom(seen: int, frames: int | None, what: str = "face") -> list[str]:
    """Reasons from the number of frames in which one face was seen.

    Args:
        frames: that were read of a video; None for an image, where one sighting is all there can be.
    """
    if frames is None or seen >= enough(frames):
        return []
    if seen >= frames:
        return [f"only {seen} {'frame' if seen == 1 else 'frames'} of the video could be looked at"]
    return [f"the {what} was seen in only {seen} of {frames} frames"]


def unread(read: int, failed: int, broken: str = "") -> list[str]:
    """Reasons from frames that could not be read; `broken`: why reading stopped before its end, if it did."""
    total = read + failed
    reasons = [f"{failed} of {total} frames could not be read"] if failed > UNREAD * total else []
    return [*reasons, f"reading stopped after {total} frames: {broken}"] if broken else reasons


def without_brief(lengths: list[int]) -> list[int]:
    """Positions of the faces that have a part in the verdict, from the number of frames in which each was seen."""
    if max(lengths, default=0) < LONG:
        return list(range(len(lengths)))
    return [i for i, length in enumerate(lengths) if length > BRIEF]
