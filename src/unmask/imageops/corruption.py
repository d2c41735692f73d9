"""Corruption in five levels: what a test set is put through to see where a detector breaks.

`degraded` is a pure function of frames, name, level and seed. All frames of one call are one clip: a parameter is
drawn once for all of them, and a forgery and its original that are given the same seed get the same draw. Level 0 gives
the frames back as they came.

Presets are fixed lists of kinds under a version: "deeperforensics-v1" is the seven types and five levels of
DeeperForensics-1.0 (Jiang et al., CVPR 2020, `perturbation/`), which LipForensics' table also uses;
"imaginet-social-v1" the one chain of ImagiNet's test set (arXiv 2407.20020); "net-v1" what the net does to files, at
levels of our own. Where the published code and its name differ, the code is followed and the name is not: its
"JPEG" pixelates, its contrast darkens.
"""

from __future__ import annotations

import itertools
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np

from unmask.errors import InputError
from unmask.imageops.degradation import blurred, jpeg, levels, pixelated, webp
from unmask.imageops.reencoding import reencoded
from unmask.types import Floats, Pixels

LUMA = np.array([0.299, 0.587, 0.114], np.float32)  # BT.601
# Columns: what one unit of Y', Cb and Cr of studio range adds to R, G and B of full range (BT.601).
FROM_YCC = np.array([[1.164, 0, 1.596], [1.164, -0.392, -0.813], [1.164, 2.017, 0]], np.float32)
GREY, SQUARE, SHORT = 128, 8, 256  # of "block": value, side of a square, and the short side that gives one more each
IMAGINET = 256  # side of ImagiNet's test images
Rng = np.random.Generator
One = Callable[[Pixels], Pixels]  # a frame -> a frame of the same size


@dataclass(frozen=True)
class Kind:
    """One kind of corruption. `steps`: its parameter at level 1, 2 ...; `about`: what the parameter is.

    `clip`: whole videos at a time, each frame leaning on those before: all frames of the file are needed.
    """

    steps: tuple[float | tuple[float, float], ...]
    about: str
    clip: Literal["", "h264", "h265"] = ""


KINDS = {
    "saturation": Kind((0.4, 0.3, 0.2, 0.1, 0.0), "chroma scaled by the factor; 0 = grey"),
    "contrast_dark": Kind((0.85, 0.725, 0.6, 0.475, 0.35), "every value times the factor: it darkens"),
    "contrast_mean": Kind((0.85, 0.725, 0.6, 0.475, 0.35), "distance from the mean of the first frame, times it"),
    "block": Kind((16, 32, 48, 64, 80), "grey 8 x 8 squares for each whole 256 pixels of the short side"),
    "noise": Kind((0.001, 0.002, 0.005, 0.01, 0.05), "variance in Y', Cb and Cr on a scale of 0 to 1"),
    "blur": Kind((7, 9, 13, 17, 21), "side of the Gaussian kernel, pixels; sigma is a sixth of it"),
    "pixelate": Kind((2, 3, 4, 5, 6), "both sides divided by it and back"),
    "h264": Kind((30, 32, 35, 38, 40), "CRF of libx264", "h264"),
    # x265 means its 28 to look like x264's 23
    "h265": Kind((35, 37, 40, 43, 45), "CRF of libx265", "h265"),
    "jpeg": Kind((95, 80, 60, 40, 20), "quality of a JPEG"),
    "webp": Kind((95, 80, 60, 40, 20), "quality of a WebP"),
    "social": Kind(
        ((0.9, 90), (0.75, 80), (0.6, 70), (0.5, 60), (0.4, 50)),
        "shrunk by the factor, JPEG of the quality, shown at the old size, and JPEG of that quality once more",
    ),
    "imaginet_social": Kind((IMAGINET,), "random crop, Lanczos to this side, then for 3 of 4 JPEG or WebP 60-100"),
}
PRESETS: dict[str, tuple[str, ...]] = {
    "deeperforensics-v1": ("saturation", "contrast_dark", "block", "noise", "blur", "pixelate", "h264"),
    "imaginet-social-v1": ("imaginet_social",),
    "net-v1": ("jpeg", "webp", "h264", "h265", "social", "contrast_mean"),
}


def preset(name: str) -> tuple[str, ...]:
    """The kinds of a preset. Raises: UnmaskError for another name."""
    if name not in PRESETS:
        raise InputError(f"no preset {name!r}; there are {', '.join(PRESETS)}")
    return PRESETS[name]


def degraded(
    frames: Iterable[Pixels], name: str, level: int, seed: int = 0, *, flicker: bool = False, rate: float = 25.0
) -> Iterator[Pixels]:
    """The frames of one video (or one still), corrupted; as many as came, in their order.

    Args:
        frames: uint8 (H, W, 3) RGB, all of one size. For "h264" and "h265" every frame of the video, in its order.
        level: 0 (as they came) up to the kind's last.
        seed: of whatever is drawn; equal seeds draw equal parameters.
        flicker: "block" draws its places anew for each frame, as the published code does.
        rate: frames a second, for the codecs' rate control.
    Raises: UnmaskError for an unknown kind or level.
    """
    kind = _kind(name, level)
    if level == 0:
        yield from frames
        return
    rest = iter(frames)
    first = next(rest, None)
    if first is None:
        return
    whole = itertools.chain([first], rest)
    step = kind.steps[level - 1]
    if kind.clip:
        yield from reencoded(whole, kind.clip, int(_number(step)), rate)
        return
    # The level is no part of the seed: a higher one adds to the same draw, so that curves do not jump by luck.
    fixed = _fixed(name, step, first, _rng(name, seed))
    for i, frame in enumerate(whole):
        if name == "noise":  # fresh in each frame, as a sensor's
            yield _noisy(frame, _number(step), _rng(name, seed, i))
        elif name == "block" and flicker:
            yield _fixed(name, step, first, _rng(name, seed, i))(frame)
        else:
            yield fixed(frame)


def moved(name: str, level: int, seed: int, height: int, width: int) -> Floats:
    """Where pixels go: (2, 3), from a frame of this size to the corrupted one, in the coordinates of `faces.align`.

    The identity for all kinds but "imaginet_social", which cuts out a part and resizes it.
    """
    _kind(name, level)
    if level == 0 or name != "imaginet_social":
        return np.eye(2, 3, dtype=np.float32)
    cut = _imaginet(height, width, _rng(name, seed))
    scale = IMAGINET / cut.side
    return np.array([[scale, 0, scale * (cut.pad - cut.x)], [0, scale, scale * (cut.pad_y - cut.y)]], np.float32)


def _fixed(name: str, step: float | tuple[float, float], first: Pixels, rng: Rng) -> One:
    """The step that all frames of a video get, its parameters drawn."""
    height, width = first.shape[:2]
    if name == "imaginet_social":
        return _imaginet(height, width, rng)
    if name == "social":
        factor, quality = step if isinstance(step, tuple) else (step, 75)
        return lambda frame: jpeg(_shared(frame, factor, int(quality)), int(quality))
    p = _number(step)
    if name == "block":
        places = _places(height, width, int(p), rng)
        return lambda frame: _blocked(frame, places)
    if name == "contrast_mean":
        pivot = float(first.mean())
        return lambda frame: levels(frame, p, (1 - p) * (pivot - 128))
    steps: dict[str, One] = {
        "saturation": lambda frame: _saturated(frame, p),
        "contrast_dark": lambda frame: levels(frame, p, (p - 1) * 128),  # p x: nothing is added
        "blur": lambda frame: blurred(frame, p / 6, int(p)),
        "pixelate": lambda frame: pixelated(frame, int(p)),
        "jpeg": lambda frame: jpeg(frame, int(p)),
        "webp": lambda frame: webp(frame, int(p)),
        "noise": lambda frame: frame,  # drawn for each frame by itself
    }
    return steps[name]


def _saturated(frame: Pixels, factor: float) -> Pixels:
    grey = (frame @ LUMA)[..., None]
    return np.asarray((grey + np.float32(factor) * (frame - grey)).round().clip(0, 255), np.uint8)


def _noisy(frame: Pixels, variance: float, rng: Rng) -> Pixels:
    planes = rng.standard_normal(frame.shape, np.float32) * np.float32(255 * variance**0.5)
    return np.asarray((frame + planes @ FROM_YCC.T).round().clip(0, 255), np.uint8)


def _places(height: int, width: int, squares: int, rng: Rng) -> list[tuple[int, int]]:
    """Corners (y, x) of the grey squares; none where the short side is under 256 pixels, as published."""
    draws = rng.random((min(height, width) // SHORT * squares, 2))
    return [(int(y * (height - SQUARE + 1)), int(x * (width - SQUARE + 1))) for y, x in draws.tolist()]


def _blocked(frame: Pixels, places: list[tuple[int, int]]) -> Pixels:
    out = frame.copy()
    for y, x in places:
        out[y : y + SQUARE, x : x + SQUARE] = GREY
    return out


def _shared(frame: Pixels, factor: float, quality: int) -> Pixels:
    """Shrunk and saved as JPEG by a site, and shown at the old size."""
    height, width = frame.shape[:2]
    small = cv2.resize(
        frame, (max(8, round(width * factor)), max(8, round(height * factor))), interpolation=cv2.INTER_AREA
    )
    shown = cv2.resize(jpeg(np.asarray(small, np.uint8), quality), (width, height), interpolation=cv2.INTER_LINEAR)
    return np.asarray(shown, np.uint8)


@dataclass(frozen=True)
class _Cut:
    """ImagiNet's test image: `pad` and `pad_y` pixels of reflection on the left and above, then a square."""

    side: int
    x: int
    y: int
    pad: int
    pad_y: int
    codec: One

    def __call__(self, frame: Pixels) -> Pixels:
        height, width = frame.shape[:2]
        more = (max(0, self.side - height - self.pad_y), max(0, self.side - width - self.pad))
        whole = cv2.copyMakeBorder(frame, self.pad_y, more[0], self.pad, more[1], cv2.BORDER_REFLECT_101)
        part = whole[self.y : self.y + self.side, self.x : self.x + self.side]
        small = cv2.resize(part, (IMAGINET, IMAGINET), interpolation=cv2.INTER_LANCZOS4)
        return self.codec(np.asarray(small, np.uint8))


def _imaginet(height: int, width: int, rng: Rng) -> _Cut:
    """The draws of ImagiNet's script: the side, uniform in 256..max(256, min(H, W, 1000)); the place; the codec."""
    side = int(rng.integers(IMAGINET, max(IMAGINET, min(height, width, 1000)) + 1))
    pad_y, pad = (max(0, side - n) // 2 for n in (height, width))
    y, x = (int(rng.integers(0, max(n, side) - side + 1)) for n in (height, width))
    coded, quality, way = rng.random() < 0.75, int(rng.integers(60, 101)), (jpeg, webp)[int(rng.integers(2))]
    return _Cut(side, x, y, pad, pad_y, (lambda f: way(f, quality)) if coded else lambda f: f)


def _rng(name: str, seed: int, *more: int) -> Rng:
    return np.random.default_rng([seed, zlib.crc32(name.encode()), *more])


def _kind(name: str, level: int) -> Kind:
    if name not in KINDS:
        raise InputError(f"no kind of corruption {name!r}; there are {', '.join(KINDS)}")
    kind = KINDS[name]
    if not 0 <= level <= len(kind.steps):
        raise InputError(f"{name} has levels 0 to {len(kind.steps)}, not {level}")
    return kind


def _number(step: float | tuple[float, float]) -> float:
    assert not isinstance(step, tuple)  # "social" alone has two
    return step
