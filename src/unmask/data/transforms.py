"""What training does to crops at random: the augmentations of the papers, built from a recipe's list of steps.

    transform = build([{"flip": {}}, {"affine": {"degrees": 10}}, {"jpeg": {"quality": [40, 100]}}])
    image = transform(image, np.random.default_rng(0))

A transform is a function of the image and the generator: the same draw for a real face and its forgery, or for one
row in another worker, is the same generator twice. Steps act on crops as they are stored, before they are cut to the
detector's input. Points move with the image. Geometry, blur and colour are torchvision's (transforms v2); JPEG really
is encoded and decoded.
"""

from __future__ import annotations

import difflib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any, Literal, final

import cv2
import numpy as np
import torch
from pydantic import AfterValidator, Field, ValidationError, ValidationInfo, field_validator
from torch import Tensor
from torchvision.transforms import InterpolationMode
from torchvision.transforms.v2 import functional as tv

from unmask.errors import RecipeError
from unmask.imageops.corruption import KINDS, degraded
from unmask.imageops.degradation import jpeg
from unmask.types import Floats, Pixels, Plain

Rng = np.random.Generator
Recipe = Sequence[Mapping[str, Mapping[str, Any] | None]]


def _upwards(ends: tuple[float, float]) -> tuple[float, float]:
    if not ends[0] <= ends[1]:
        raise ValueError("the lower end comes first")
    return ends


Positive = Annotated[float, Field(gt=0)]
Range = Annotated[tuple[Positive, Positive], AfterValidator(_upwards)]
Quality = Annotated[int, Field(ge=1, le=100)]
Share = Annotated[float, Field(ge=0, le=1)]
MIRRORED = [1, 0, 2, 4, 3]  # the five points of `Face.points` as seen in a mirror

PRESETS: dict[str, Recipe] = {
    "none": (),
    # GenD, arXiv 2508.06248, as its code has it
    "gend": (
        {"flip": {}},
        {"affine": {"degrees": 10, "translate": 0.1, "scale": (0.9, 1.1)}},
        {"blur": {"kernels": ((7, 7),), "sigma": (0.1, 2), "p": 0.1}},
        {"jitter": {"brightness": 0.1, "contrast": 0.1}},
        {"jpeg": {"quality": (40, 100)}},
    ),
    # its predecessor, arXiv 2503.19683: every image is blurred, by a kernel of 3 x 7
    "clip-ln": (
        {"flip": {}},
        {"affine": {"degrees": 10, "translate": 0.1, "scale": (0.9, 1.1)}},
        {"blur": {"kernels": ((3, 7),), "sigma": (0.1, 2)}},
        {"jitter": {"brightness": 0.1, "contrast": 0.1}},
        {"jpeg": {"quality": (40, 100)}},
    ),
    # DeepfakeBench, arXiv 2307.01426. Its choice of interpolations has no effect on crops of the network's size.
    "deepfakebench": (
        {"flip": {}},
        {"affine": {"degrees": 10, "translate": 0, "scale": (1, 1), "edge": "reflect", "p": 0.5}},
        {"blur": {"kernels": ((3, 3), (5, 5), (7, 7)), "sigma": None, "p": 0.5}},
        {"one_of": {"steps": [{"linear": {}}, {"pca": {}}, {"hsv": {}}], "p": 0.5}},
        {"jpeg": {"quality": (40, 100), "p": 0.5}},
    ),
    # Views of pre-training, at 224 pixels: SimCLR and SwAV; MoCo v2, SimSiam and the hallucinator (milder colours).
    "simclr": (
        {"jitter": {"brightness": 0.8, "contrast": 0.8, "saturation": 0.8, "hue": 0.2, "p": 0.8}},
        {"grey": {"p": 0.2}},
        {"blur": {"kernels": ((23, 23),), "sigma": (0.1, 2), "p": 0.5}},
    ),
    "moco-v2": (
        {"jitter": {"brightness": 0.4, "contrast": 0.4, "saturation": 0.4, "hue": 0.1, "p": 0.8}},
        {"grey": {"p": 0.2}},
        {"blur": {"kernels": ((23, 23),), "sigma": (0.1, 2), "p": 0.5}},
    ),
}


class Step(Plain, ABC):
    """One change, done with probability `p`."""

    p: Share = 1.0

    @final
    def __call__(self, image: Pixels, points: Floats | None, rng: Rng) -> tuple[Pixels, Floats | None]:
        """uint8 (H, W, 3) and points (N, 2), x and y in pixels, (0, 0) being the corner of the image -> the same."""
        return self.run(image, points, rng) if rng.random() < self.p else (image, points)

    @abstractmethod
    def run(self, image: Pixels, points: Floats | None, rng: Rng) -> tuple[Pixels, Floats | None]:
        """The change itself."""


class InPlace(Step):
    """A step that leaves everything where it is."""

    def run(self, image: Pixels, points: Floats | None, rng: Rng) -> tuple[Pixels, Floats | None]:
        return self.change(image, rng), points

    @abstractmethod
    def change(self, image: Pixels, rng: Rng) -> Pixels:
        """uint8 (H, W, 3) -> the same."""


class Flip(Step):
    """Mirrored, left for right; five points swap their names too, because they are named as seen in the image."""

    p: Share = 0.5

    def run(self, image: Pixels, points: Floats | None, rng: Rng) -> tuple[Pixels, Floats | None]:
        mirrored = np.asarray(cv2.flip(image, 1), np.uint8)
        if points is None:
            return mirrored, None
        moved = points * np.array([-1, 1], np.float32) + np.array([image.shape[1], 0], np.float32)
        return mirrored, moved[MIRRORED] if len(moved) == len(MIRRORED) else moved


class Affine(Step):
    """Turned and scaled about the middle, then shifted, each by a uniform draw.

    `degrees`: up to that, either way; `translate`: up to that share of each side; `edge`: what stands outside.
    """

    degrees: float = Field(10, ge=0, le=180)
    translate: Share = 0.1
    scale: Range = (0.9, 1.1)
    edge: Literal["black", "repeat", "reflect"] = "black"

    def run(self, image: Pixels, points: Floats | None, rng: Rng) -> tuple[Pixels, Floats | None]:
        height, width = image.shape[:2]
        angle, scale = rng.uniform(-self.degrees, self.degrees), rng.uniform(*self.scale)
        shift = [float(round(rng.uniform(-1, 1) * self.translate * side)) for side in (width, height)]
        cos, sin = scale * np.cos(np.radians(angle)), scale * np.sin(np.radians(angle))
        room = 0 if self.edge == "black" else self._room(max(height, width), max(map(abs, shift)), cos, sin)

        def turn(x: Tensor) -> Tensor:
            if room:
                x = tv.pad(x, [room], padding_mode={"repeat": "edge"}.get(self.edge, self.edge))
            x = tv.affine(x, angle, shift, scale, [0.0, 0.0], interpolation=InterpolationMode.BILINEAR)
            return x[..., room : room + height, room : room + width]

        if points is not None:
            middle = np.array([width / 2, height / 2])
            turned = (points - middle) @ np.array([[cos, sin], [-sin, cos]]) + middle + shift
            points = turned.astype(np.float32)
        return _torch(turn, image), points

    def _room(self, side: int, shift: float, cos: float, sin: float) -> int:
        """How far the corners of the new image look beyond the old one; a reflection reaches one side at most."""
        far = (abs(cos) + abs(sin)) / (cos**2 + sin**2) * (side / 2 + shift) - side / 2
        return min(max(0, int(np.ceil(far)) + 1), side - 1)


class Blur(InPlace):
    """Gaussian. `kernels`: width and height of the kernel, odd, one is drawn; `sigma`: None = by OpenCV's rule."""

    kernels: tuple[tuple[int, int], ...] = ((7, 7),)
    sigma: Range | None = (0.1, 2.0)

    @field_validator("kernels")
    @classmethod
    def _odd(cls, kernels: tuple[tuple[int, int], ...]) -> tuple[tuple[int, int], ...]:
        if not kernels or any(side < 1 or side % 2 == 0 for k in kernels for side in k):
            raise ValueError("sides of kernels are odd")
        return kernels

    def change(self, image: Pixels, rng: Rng) -> Pixels:
        kernel = list(self.kernels[int(rng.integers(len(self.kernels)))])
        sigma = [0.15 * k + 0.35 for k in kernel] if self.sigma is None else [rng.uniform(*self.sigma)] * 2
        return _torch(lambda x: tv.gaussian_blur(x, kernel, sigma), image)


class Jitter(InPlace):
    """Brightness, contrast and saturation times up to that share from 1, hue by that share of the circle; any order."""

    brightness: Share = 0.1
    contrast: Share = 0.1
    saturation: Share = 0
    hue: float = Field(0, ge=0, le=0.5)

    def change(self, image: Pixels, rng: Rng) -> Pixels:
        ways: list[tuple[Callable[[Tensor, float], Tensor], float]] = [
            (tv.adjust_brightness, 1 + rng.uniform(-self.brightness, self.brightness)),
            (tv.adjust_contrast, 1 + rng.uniform(-self.contrast, self.contrast)),
            (tv.adjust_saturation, 1 + rng.uniform(-self.saturation, self.saturation)),
            (tv.adjust_hue, rng.uniform(-self.hue, self.hue)),
        ]
        used = (self.brightness, self.contrast, self.saturation, self.hue)

        def change(x: Tensor) -> Tensor:
            for n in order:
                if used[n]:
                    x = ways[n][0](x, ways[n][1])
            return x

        order = rng.permutation(4).tolist()
        return _torch(change, image)


class Linear(InPlace):
    """All values times up to that share from 1, plus up to that share of white."""

    gain: Share = 0.1
    offset: Share = 0.1

    def change(self, image: Pixels, rng: Rng) -> Pixels:
        gain, offset = 1 + rng.uniform(-self.gain, self.gain), 255 * rng.uniform(-self.offset, self.offset)
        return _bytes(image * np.float32(gain) + np.float32(offset))


class Pca(InPlace):
    """A step along the axes of the image's own colours, of normal length times their variances (AlexNet, 2012)."""

    sigma: float = Field(0.1, ge=0)

    def change(self, image: Pixels, rng: Rng) -> Pixels:
        variances, axes = np.linalg.eigh(np.cov(image.reshape(-1, 3).T / 255))
        return _bytes(image + np.float32(255) * (axes @ (rng.normal(0, self.sigma, 3) * variances)).astype(np.float32))


class Hsv(InPlace):
    """Hue in degrees, saturation and value in levels of 255, each up to that, either way (albumentations' defaults)."""

    hue: float = Field(40, ge=0, le=180)
    saturation: float = Field(30, ge=0, le=255)
    value: float = Field(20, ge=0, le=255)

    def change(self, image: Pixels, rng: Rng) -> Pixels:
        by = rng.uniform(-1, 1, 3) * (self.hue / 2, self.saturation, self.value)  # OpenCV's hue counts by two degrees
        hsv = cv2.cvtColor(image, cv2.COLOR_RGB2HSV) + by
        hsv[..., 0] %= 180
        return np.asarray(cv2.cvtColor(_bytes(hsv), cv2.COLOR_HSV2RGB), np.uint8)


class Grey(InPlace):
    """Without colour: luma in all three channels."""

    def change(self, image: Pixels, rng: Rng) -> Pixels:
        luma = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        return np.repeat(luma[..., None], 3, 2)


class Solarise(InPlace):
    """Levels of `threshold` or more are turned round, 255 minus them."""

    threshold: int = Field(128, ge=0, le=256)

    def change(self, image: Pixels, rng: Rng) -> Pixels:
        return np.where(image >= self.threshold, 255 - image, image)


class Jpeg(InPlace):
    """Encoded and decoded; `quality`: lowest and highest, both drawn too."""

    quality: Annotated[tuple[Quality, Quality], AfterValidator(_upwards)] = (40, 100)

    def change(self, image: Pixels, rng: Rng) -> Pixels:
        return jpeg(image, int(rng.integers(self.quality[0], self.quality[1] + 1)))


class Corruption(InPlace):
    """A kind of `unmask.imageops.corruption` at one of its levels, whose draw is the image's own."""

    kind: str = "jpeg"
    level: int = Field(3, ge=0)

    @field_validator("kind")
    @classmethod
    def _stays(cls, kind: str) -> str:
        able = [k for k in KINDS if k != "imaginet_social"]  # that one cuts out a part
        if kind not in able:
            raise ValueError(
                f"no kind of corruption {kind!r} that leaves an image in its place; there are {', '.join(able)}"
            )
        return kind

    @field_validator("level")
    @classmethod
    def _known(cls, level: int, info: ValidationInfo) -> int:
        last = len(KINDS[info.data["kind"]].steps) if "kind" in info.data else level
        if level > last:
            raise ValueError(f"{info.data['kind']} has levels 0 to {last}, not {level}")
        return level

    def change(self, image: Pixels, rng: Rng) -> Pixels:
        return next(degraded([image], self.kind, self.level, int(rng.integers(2**31))))


class OneOf(Step):
    """One of several steps, whose own `p` are weights."""

    steps: tuple[Any, ...] = Field(min_length=1)

    @field_validator("steps", mode="before")
    @classmethod
    def _built(cls, steps: Recipe) -> tuple[Step, ...]:
        built = tuple(_step(s) for s in steps)
        if not any(s.p for s in built):
            raise ValueError("at least one step has p > 0")
        return built

    def run(self, image: Pixels, points: Floats | None, rng: Rng) -> tuple[Pixels, Floats | None]:
        weights = np.array([s.p for s in self.steps])
        chosen: Step = self.steps[int(rng.choice(len(self.steps), p=weights / weights.sum()))]
        return chosen.run(image, points, rng)


STEPS: dict[str, type[Step]] = {
    "flip": Flip, "affine": Affine, "blur": Blur, "jitter": Jitter, "linear": Linear, "pca": Pca, "hsv": Hsv,
    "grey": Grey, "solarise": Solarise, "jpeg": Jpeg, "corruption": Corruption, "one_of": OneOf,
}  # fmt: skip


@dataclass(frozen=True)
class Chain:
    """Steps one after another; what `FaceSet` and `ShardSet` take as `transform`."""

    steps: tuple[Step, ...]

    def __call__(self, image: Pixels, rng: Rng) -> Pixels:
        """uint8 (H, W, 3) -> the same shape."""
        return self.with_points(image, None, rng)[0]

    def with_points(self, image: Pixels, points: Floats | None, rng: Rng) -> tuple[Pixels, Floats | None]:
        """The same draw, with points (N, 2) in pixels of the image that move with it."""
        for step in self.steps:
            image, points = step(image, points, rng)
        return image, points


def build(recipe: str | Recipe) -> Chain:
    """
    Args:
        recipe: a name of `PRESETS`, or a list of {name of a step: its options}.
    Raises: UnmaskError for an unknown name, with the nearest known one, and for options that do not fit.
    """
    if isinstance(recipe, str):
        _known(recipe, PRESETS, "preset of transforms")
        recipe = PRESETS[recipe]
    return Chain(tuple(_step(one) for one in recipe))


def _step(one: object) -> Step:
    if not isinstance(one, Mapping) or len(one) != 1:
        raise RecipeError(f"a step of transforms is one name and its options, as {{flip: {{p: 0.5}}}}, not {one!r}")
    name, options = next(iter(one.items()))
    _known(name, STEPS, "transform")
    try:
        return STEPS[name].model_validate(options or {})
    except ValidationError as error:
        first = error.errors()[0]
        raise RecipeError(f"transform {name}: {'.'.join(map(str, first['loc']))}: {first['msg']}") from None


def _known(name: str, among: Mapping[str, object], kind: str) -> None:
    if name not in among:
        near = difflib.get_close_matches(str(name), among, n=1)
        raise RecipeError(
            f"no {kind} {name!r}; " + (f"did you mean {near[0]!r}?" if near else f"there is {', '.join(among)}")
        )


def _torch(change: Callable[[Tensor], Tensor], image: Pixels) -> Pixels:
    """A change of uint8 (3, H, W) done to uint8 (H, W, 3)."""
    changed = change(torch.from_numpy(np.ascontiguousarray(image.transpose(2, 0, 1))))
    return np.asarray(cv2.merge(list(changed.numpy())), np.uint8)  # planes to pixels, ten times as fast as numpy


def _bytes(x: np.typing.NDArray[np.floating]) -> Pixels:
    return np.asarray(x.round().clip(0, 255), np.uint8)
