"""What can be measured of a face and said in words: proportions by 81 points, and colours. Pure functions.

Lengths are in distances of the eyes' centres, on the face turned upright. A photo says little about the depth of a
face: a turned head is narrower, an open mouth fuller. That is why a difference counts in deviations of the enrolled
photos, and why words about a few of them prove nothing.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from unmask.errors import InputError
from unmask.faces import regions
from unmask.types import Floats, Pixels

# name -> region, and the words for less and for more of it
WORDS = {
    "face width": ("outer face", "narrower", "wider"),
    "face height": ("outer face", "shorter", "longer"),
    "jaw width": ("outer face", "narrower", "wider"),
    "chin length": ("outer face", "shorter", "longer"),
    "brow height": ("eyes", "lower", "higher"),
    "eye width": ("eyes", "narrower", "wider"),
    "eye opening": ("eyes", "less open", "more open"),
    "nose length": ("nose", "shorter", "longer"),
    "nose width": ("nose", "narrower", "wider"),
    "mouth width": ("mouth", "narrower", "wider"),
    "lip height": ("mouth", "thinner", "fuller"),
    "skin lightness": ("skin", "darker", "lighter"),
    "skin redness": ("skin", "less red", "redder"),
}
NAMES = tuple(WORDS)
# Least deviation over photos of one person: fewer photos, or photos of one day, would show less than there is.
SPREAD = dict.fromkeys(NAMES, 0.06) | {"eye opening": 0.04, "skin lightness": 8.0, "skin redness": 0.03}
NOTABLE = 2.0  # deviations from which on a difference is put into words


@dataclass(frozen=True)
class Difference:
    """One attribute that is unlike the enrolled photos, by so many of their standard deviations."""

    name: str
    region: str
    deviations: float

    def __str__(self) -> str:
        _, less, more = WORDS[self.name]
        word = more if self.deviations > 0 else less
        return f"{self.name}: {word} than in the enrolled photos ({self.deviations:+.1f} standard deviations)"


def attributes(image: Pixels, points: Floats) -> Floats:
    """(A,), in the order of NAMES, of a face.

    Args:
        image: uint8 (H, W, 3) RGB. points: (81, 2) in its pixels, see `unmask.faces.regions`.
    Raises: UnmaskError for points that span no face.
    """
    p = upright(points)
    lightness, redness = skin(image, points)
    found = {
        "face width": _gap(p[1], p[15]),
        "face height": float(p[8, 1] - p[74, 1]),
        "jaw width": _gap(p[4], p[12]),
        "chin length": float(p[8, 1] - p[57, 1]),
        "brow height": float(-p[[*regions.RIGHT_BROW, *regions.LEFT_BROW], 1].mean()),
        "eye width": (_gap(p[36], p[39]) + _gap(p[42], p[45])) / 2,
        "eye opening": (_open(p[list(regions.RIGHT_EYE)]) + _open(p[list(regions.LEFT_EYE)])) / 2,
        "nose length": _gap(p[27], p[33]),
        "nose width": _gap(p[31], p[35]),
        "mouth width": _gap(p[48], p[54]),
        "lip height": float(p[57, 1] - p[51, 1]),
        "skin lightness": lightness,
        "skin redness": redness,
    }
    return np.array([found[name] for name in NAMES], np.float32)


def differences(enrolled: Floats, query: Floats) -> tuple[Difference, ...]:
    """What of `query` (A,) lies NOTABLE deviations or more from the enrolled (N, A), the farthest first."""
    least = np.array([SPREAD[name] for name in NAMES])
    spread = np.maximum(enrolled.std(0, ddof=1) if len(enrolled) > 1 else 0.0, least)
    z = (query - enrolled.mean(0)) / spread
    order = np.argsort(-np.abs(z), kind="stable")
    return tuple(Difference(NAMES[i], WORDS[NAMES[i]][0], float(z[i])) for i in order if abs(z[i]) >= NOTABLE)


def upright(points: Floats) -> NDArray[np.float64]:
    """Points turned, shifted and scaled: the eyes' centres at (-1/2, 0) and (1/2, 0), y downwards."""
    p = np.asarray(points, np.float64)
    right, left = p[list(regions.RIGHT_EYE)].mean(0), p[list(regions.LEFT_EYE)].mean(0)
    axis = left - right
    scale = float(np.hypot(*axis))
    if p.shape != (regions.COUNT, 2) or not np.isfinite(p).all() or scale < 1:
        raise InputError("these points span no face: its attributes cannot be measured")
    x = axis / scale
    turned = (p - (left + right) / 2) @ np.array([[x[0], -x[1]], [x[1], x[0]]])
    return np.asarray(turned / scale, np.float64)


def skin(image: Pixels, points: Floats) -> tuple[float, float]:
    """Median lightness (0..100) and redness R / (R + G + B) of both cheeks, between eye, nose and mouth."""
    p = np.asarray(points, np.float64)
    eyes = p[[*regions.RIGHT_EYE, *regions.LEFT_EYE]].mean(0)
    size = float(np.hypot(*(p[45] - p[36])))
    pixels = []
    for corner, wing in ((36, 31), (45, 35)):
        x, y = (p[corner] + p[wing]) / 2 + 0.1 * (p[33] - eyes)
        half = max(1, round(0.07 * size))
        x, y = round(x), round(y)
        pixels.append(image[max(0, y - half) : y + half + 1, max(0, x - half) : x + half + 1].reshape(-1, 3))
    rgb = np.concatenate(pixels).astype(np.float64)
    if not len(rgb):
        raise InputError("the cheeks of this face lie outside the image: its colours cannot be measured")
    middle = np.median(rgb, axis=0)
    lightness = 100 * float(np.dot(middle / 255, (0.2126, 0.7152, 0.0722)))
    return lightness, float(middle[0] / max(1.0, middle.sum()))


def _gap(one: NDArray[np.float64], other: NDArray[np.float64]) -> float:
    return float(np.hypot(*(one - other)))


def _open(eye: NDArray[np.float64]) -> float:
    """Height of an eye: upper lid to lower lid, mean of both pairs of points."""
    return (_gap(eye[1], eye[5]) + _gap(eye[2], eye[4])) / 2
