"""Training images made of source images: one affine matrix moves the pixels and the labels of each piece alike.

Coordinates are continuous (pixel i spans i..i+1), so that scaling is a plain factor; OpenCV counts from pixel centres,
and `warp` is the one place that knows it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from training.face_detector.sources import SURE, Picture
from unmask.faces.refinement import MIRRORED
from unmask.types import Floats, Pixels

Texture = Callable[[Generator, int, int], Pixels]  # random numbers, height, width -> something without a face
SMALLEST = 7.0  # px: what is smaller is neither trained nor held against the net


@dataclass(frozen=True)
class Scene:
    """A training image with what is in it."""

    image: Pixels  # (S, S, 3) BGR
    boxes: Floats  # (G, 4) x0, y0, x1, y1
    points: Floats  # (G, 5, 2)
    ignore: Floats  # (I, 4): nothing is trained here


# --- geometry --------------------------------------------------------------------------------------------------------


def moved(matrix: Floats, faces: Floats) -> Floats:
    """Faces (G, 15) under an affine matrix (2, 3). A box stands for the ellipse in it, whose bounds are then exact."""
    linear, shift = matrix[:, :2], matrix[:, 2]
    centre = (faces[:, :2] + faces[:, 2:4]) / 2 @ linear.T + shift
    half = np.sqrt((((faces[:, 2:4] - faces[:, :2]) / 2)[:, None] * linear[None]).__pow__(2).sum(axis=2))
    points = faces[:, 4:14].reshape(-1, 5, 2) @ linear.T + shift
    if np.linalg.det(linear) < 0:
        points = points[:, MIRRORED]
    return np.concatenate([centre - half, centre + half, points.reshape(-1, 10), faces[:, 14:]], axis=1).astype(
        np.float32
    )


def placement(face: Floats, side: float, at: tuple[float, float], angle: float, aspect: float, mirror: bool) -> Floats:
    """The matrix (2, 3) that brings `face` to mean side `side`, turned by `angle` degrees, with its centre `at`."""
    scale = side / np.sqrt(max((face[2] - face[0]) * (face[3] - face[1]), 1.0))
    turn = np.deg2rad(angle)
    rotation = np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    linear = rotation @ np.diag([scale * aspect * (-1 if mirror else 1), scale / aspect])
    centre = np.array([face[0] + face[2], face[1] + face[3]]) / 2
    return np.column_stack([linear, np.asarray(at) - linear @ centre]).astype(np.float32)


def warp(image: Pixels, matrix: Floats, onto: Pixels) -> None:
    """Draw `image` under `matrix` into `onto` (in place), which shows through where the image ends."""
    scale = float(np.sqrt(abs(np.linalg.det(matrix[:, :2]))))
    matrix = matrix.astype(np.float64)
    if scale < 0.6:  # average before sampling sparsely, as the runtime does
        height, width = image.shape[:2]
        size = (max(2, round(width * scale)), max(2, round(height * scale)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        matrix[:, :2] = matrix[:, :2] @ np.diag([width / size[0], height / size[1]])
    centres = matrix.copy()
    centres[:, 2] += matrix[:, :2] @ [0.5, 0.5] - 0.5
    size = (onto.shape[1], onto.shape[0])
    cv2.warpAffine(image, centres, size, dst=onto, flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_TRANSPARENT)


# --- composition -----------------------------------------------------------------------------------------------------


class Composer:
    """Draws scenes from source images; the same seed gives the same scenes."""

    def __init__(self, pictures: list[Picture]) -> None:
        self.faces = [p for p in pictures if len(p.faces)]
        self.backgrounds = [p for p in pictures if not len(p.faces)]
        # A set counts by the square root of its size: thousands of crops must not drown a few hundred film frames.
        sets = [p.name.split("/")[0] for p in self.faces]
        sizes = {name: sets.count(name) for name in set(sets)}
        weights = np.array([1 / np.sqrt(sizes[name]) for name in sets])
        self.odds = weights.cumsum() / weights.sum()

    def scene(self, rng: Generator, size: int) -> Scene:
        canvas = np.zeros((size, size, 3), np.uint8)
        faces, blurred = [], []
        for x0, y0, x1, y1 in tiles(rng, size):
            piece = canvas[y0:y1, x0:x1]
            sure, doubtful = self._fill(rng, piece)
            offset = np.array([x0, y0] * 7 + [0], np.float32)
            faces.append(sure + offset)
            blurred.append(doubtful + offset)
        rows, doubts = np.concatenate(faces), np.concatenate(blurred)[:, :4]
        canvas = canvas.copy()
        hidden = occlude(rng, canvas, rows, self.texture) if rng.random() < 0.3 else np.zeros(len(rows), bool)
        tiny = (rows[:, 2:4] - rows[:, :2]).min(axis=1, initial=np.inf) < SMALLEST if len(rows) else np.zeros(0, bool)
        out = hidden | tiny
        ignore = np.concatenate([doubts, rows[out, :4]])
        kept = rows[~out]
        return Scene(distort(rng, canvas), kept[:, :4], kept[:, 4:14].reshape(-1, 5, 2), ignore)

    def _fill(self, rng: Generator, piece: Pixels) -> tuple[Floats, Floats]:
        """Paint one tile: background, then usually an image with faces. Returns its sure and its doubtful faces."""
        height, width = piece.shape[:2]
        piece[:] = self.texture(rng, height, width)
        none = np.zeros((0, 15), np.float32)
        if rng.random() < 0.18:
            return none, none
        picture = self.faces[int(np.searchsorted(self.odds, rng.random()))]
        image = picture.image
        faceless = rng.random() < 0.15
        if faceless:
            image = without_faces(rng, picture, self.texture)
        matrix = self._placed(rng, picture, width, height)
        warp(image, matrix, piece)
        if faceless:
            return none, none
        rows = moved(matrix, picture.faces)
        area = np.maximum((rows[:, 2:4] - rows[:, :2]).prod(axis=1), 1e-6)
        limits = np.array([width, height, width, height], np.float32)
        clipped = np.clip(rows[:, :4], 0, limits)
        visible = np.clip(clipped[:, 2:] - clipped[:, :2], 0, None).prod(axis=1) / area
        inside = (
            ((rows[:, 4:14].reshape(-1, 5, 2) > 0) & (rows[:, 4:14].reshape(-1, 5, 2) < limits[:2]))
            .all(axis=2)
            .sum(axis=1)
        )
        rows[:, :4] = clipped
        sure = (rows[:, 14] >= SURE) & (visible > 0.55) & (inside >= 4)
        return rows[sure], rows[~sure & (visible > 0.05)]

    def _placed(self, rng: Generator, picture: Picture, width: int, height: int) -> Floats:
        sure = picture.faces[picture.faces[:, 14] >= SURE]
        face = sure[rng.integers(len(sure))]
        natural = float(np.sqrt((face[2] - face[0]) * (face[3] - face[1])))
        fit = max(width / picture.image.shape[1], height / picture.image.shape[0])
        kind = rng.random()
        if kind < 0.5:  # the image about fills the tile: faces in their real surroundings
            side = natural * fit * rng.uniform(0.9, 1.5)
        else:
            side = float(np.exp(rng.uniform(np.log(9), np.log(max(min(1.1 * min(width, height), 3 * natural), 10)))))
        reach = np.clip(side / 2 * 0.8, 0, np.array([width, height]) / 2)
        at = (rng.uniform(reach[0], width - reach[0]), rng.uniform(reach[1], height - reach[1]))
        kind = rng.random()
        angle = rng.uniform(-15, 15) if kind < 0.65 else rng.uniform(-50, 50) if kind < 0.97 else rng.uniform(-180, 180)
        return placement(face, side, at, angle, float(np.exp(rng.normal(0, 0.06))), bool(rng.random() < 0.5))

    def texture(self, rng: Generator, height: int, width: int) -> Pixels:
        """Something without a face: part of a faceless image, a flat or shaded area, or coarse noise."""
        kind = rng.random()
        if self.backgrounds and kind < 0.6:
            source = self.backgrounds[rng.integers(len(self.backgrounds))].image
            zoom = float(np.exp(rng.uniform(np.log(0.6), np.log(2))))
            h, w = (int(np.clip(n / zoom, 2, limit)) for n, limit in zip((height, width), source.shape, strict=False))
            y, x = rng.integers(source.shape[0] - h + 1), rng.integers(source.shape[1] - w + 1)
            part = source[y : y + h, x : x + w, :: rng.choice([-1, 1])]
            return np.asarray(cv2.resize(part, (width, height), interpolation=cv2.INTER_LINEAR), dtype=np.uint8)
        colours = rng.integers(0, 256, (2, 3))
        if kind < 0.8:
            ramp = np.linspace(0, 1, width)[None, :, None] * rng.integers(0, 2) + np.zeros((height, 1, 1))
            return np.asarray(colours[0] * (1 - ramp) + colours[1] * ramp, dtype=np.uint8)
        cells = rng.integers(2, 24, 2)
        coarse = np.clip(colours[0] + rng.normal(0, 50, (*cells, 3)), 0, 255).astype(np.uint8)
        return np.asarray(cv2.resize(coarse, (width, height), interpolation=int(rng.choice([0, 1, 2]))), dtype=np.uint8)


def tiles(rng: Generator, size: int) -> list[tuple[int, int, int, int]]:
    """Cut a square into 1 to 9 rectangles x0, y0, x1, y1: split the largest across its longer side, again and again."""
    parts = [(0, 0, size, size)]
    for _ in range(int(rng.choice([1, 2, 3, 4, 6, 9], p=[0.25, 0.15, 0.1, 0.25, 0.15, 0.1])) - 1):
        x0, y0, x1, y1 = parts.pop(
            max(range(len(parts)), key=lambda i: (parts[i][2] - parts[i][0]) * (parts[i][3] - parts[i][1]))
        )
        share = rng.uniform(0.35, 0.65)
        if x1 - x0 >= y1 - y0:
            cut = int(x0 + share * (x1 - x0))
            parts += [(x0, y0, cut, y1), (cut, y0, x1, y1)]
        else:
            cut = int(y0 + share * (y1 - y0))
            parts += [(x0, y0, x1, cut), (x0, cut, x1, y1)]
    return parts


# --- what happens to images ----------------------------------------------------------------------------------------


def without_faces(rng: Generator, picture: Picture, texture: Texture) -> Pixels:
    """The image with each face, doubtful ones too, painted over: shoulders, hair and packages alone are no face."""
    image = picture.image.copy()
    for face in picture.faces:
        x0, y0, x1, y1 = face[:4]
        grow = 0.1 * (x1 - x0)
        box = np.clip(
            [x0 - grow, y0 - grow, x1 + grow, y1 + grow], 0, np.array([image.shape[1], image.shape[0]] * 2)
        ).astype(int)
        paint(rng, image, box, texture)
    return image


def paint(rng: Generator, image: Pixels, box: NDArray[np.integer], texture: Texture) -> None:
    """Cover a box (x0, y0, x1, y1) of `image` in place, or the ellipse in it, with a colour or a texture."""
    x0, y0, x1, y1 = (int(v) for v in box)
    if x1 - x0 < 2 or y1 - y0 < 2:
        return
    part = image[y0:y1, x0:x1]
    kind = rng.random()
    if kind < 0.35:
        cover = np.broadcast_to(part.reshape(-1, 3).mean(axis=0).astype(np.uint8), part.shape)
    elif kind < 0.7:
        cover = texture(rng, y1 - y0, x1 - x0)
    else:
        cover = np.broadcast_to(rng.integers(0, 256, 3).astype(np.uint8), part.shape)
    mask = np.zeros(part.shape[:2], np.uint8)
    if rng.random() < 0.5:
        mask[:] = 1
    else:
        centre, radii = ((x1 - x0) // 2, (y1 - y0) // 2), ((x1 - x0 + 1) // 2, (y1 - y0 + 1) // 2)
        cv2.ellipse(mask, centre, radii, 0, 0, 360, 1, -1)
    part[mask > 0] = cover[mask > 0]


def occlude(rng: Generator, image: Pixels, faces: Floats, texture: Texture) -> NDArray[np.bool_]:
    """Cover parts of faces in place, up to half of one. True for faces with more than two of five points covered."""
    hidden = np.zeros(len(faces), np.bool_)
    limits = np.array([image.shape[1], image.shape[0]] * 2)
    for face in faces:
        if rng.random() < 0.4:
            continue
        x0, y0, x1, y1 = face[:4]
        width, height = x1 - x0, y1 - y0
        if rng.random() < 0.5:  # one side: a hand, a scarf, a door, the edge of a hat
            share = rng.uniform(0.2, 0.55)
            across = rng.integers(4)
            box = [
                [x0 - width / 4, y0, x0 + share * width, y1],
                [x1 - share * width, y0, x1 + width / 4, y1],
                [x0, y0 - height / 4, x1, y0 + share * height],
                [x0, y1 - share * height, x1, y1 + height / 4],
            ][across]
        else:
            w, h = rng.uniform(0.15, 0.5, 2) * [width, height]
            x, y = rng.uniform(x0, x1 - w), rng.uniform(y0, y1 - h)
            box = [x, y, x + w, y + h]
        covered = np.clip(box, 0, limits).astype(int)
        paint(rng, image, covered, texture)
        for j, points in enumerate(faces[:, 4:14].reshape(-1, 5, 2)):
            hidden[j] |= ((points > covered[:2]) & (points < covered[2:])).all(axis=1).sum() > 2
    return hidden


def distort(rng: Generator, image: Pixels) -> Pixels:
    """Light, colour, blur, coarse resampling, noise and JPEG, each now and then; geometry stays."""
    values: NDArray[Any] = image.astype(np.float32)
    if rng.random() < 0.8:
        gain, shift = np.exp(rng.normal(0, 0.2)), rng.normal(0, 15)
        values = values * (gain * np.exp(rng.normal(0, 0.06, 3))).astype(np.float32) + np.float32(shift)
    if rng.random() < 0.15:
        values = np.repeat(values.mean(axis=2, keepdims=True), 3, axis=2)
    if rng.random() < 0.15:
        values = 255 * (np.clip(values, 0, 255) / 255) ** np.float32(np.exp(rng.normal(0, 0.4)))
    if rng.random() < 0.2:
        values = cv2.GaussianBlur(values, (0, 0), rng.uniform(0.4, 1.6))
    if rng.random() < 0.1:
        size, share = image.shape[0], rng.uniform(0.4, 0.9)
        coarse = cv2.resize(values, None, fx=share, fy=share, interpolation=cv2.INTER_AREA)
        values = cv2.resize(coarse, (size, size))
    if rng.random() < 0.25:
        values = values + rng.standard_normal(values.shape, dtype=np.float32) * np.float32(rng.uniform(1, 14))
    result: Pixels = np.clip(values, 0, 255).astype(np.uint8)
    if rng.random() < 0.3:
        coded = cv2.imencode(".jpg", result, [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 95))])[1]
        result = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR), dtype=np.uint8)
    return result
