"""One face's image in another face's shape."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.spatial import Delaunay, QhullError

from unmask.errors import InputError
from unmask.types import Floats, Pixels

Float64s = NDArray[np.float64]


def similarity(have: Floats, want: Floats) -> Floats:
    """(2, 3): the turn, scale and shift that takes points `have` (P, 2) nearest to `want`, in the least squares."""
    z, w = (np.asarray(p, np.float64) @ (1, 1j) for p in (have, want))
    centre = z.mean()
    a = np.vdot(z - centre, w - w.mean()) / max(float(np.sum(np.abs(z - centre) ** 2)), 1e-12)
    b = w.mean() - a * centre
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]], np.float32)


def moved(image: Pixels, matrix: Floats, side: int) -> Pixels:
    """The image under a (2, 3) map, (side, side, 3); its edge is repeated outside."""
    size = (side, side)
    return np.asarray(cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def piecewise(image: Pixels, have: Floats, want: Floats, side: int) -> tuple[Pixels, Floats]:
    """What stands at points `have` of an image, moved to points `want`: one affine map for each triangle of them.

    Args:
        image: uint8 (H, W, 3).
        have, want: (P, 2), P >= 3, in pixels.
        side: of the new image.
    Returns:
        uint8 (side, side, 3), black outside of the triangles, and float32 (side, side), 1 inside of them.
    Raises: UnmaskError for points on one line.
    """
    mesh = _triangles(want)
    x0, y0 = np.clip(np.floor(want.min(0)).astype(int), 0, side)
    x1, y1 = np.clip(np.ceil(want.max(0)).astype(int) + 1, 0, side)
    out, inside = np.zeros((side, side, 3), np.uint8), np.zeros((side, side), np.float32)
    if x0 >= x1 or y0 >= y1:
        return out, inside
    y, x = np.mgrid[y0:y1, x0:x1]
    source, found = _carried(mesh, have, np.stack([x.ravel(), y.ravel()], 1).astype(np.float64))
    u, v = (source[:, k].reshape(x.shape).astype(np.float32) for k in (0, 1))
    found = found.reshape(x.shape)
    picture = cv2.remap(image, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    out[y0:y1, x0:x1] = np.where(found[..., None], picture, 0)
    inside[y0:y1, x0:x1] = found
    return out, inside


def carried(points: Floats, have: Floats, want: Floats) -> Floats:
    """Points (N, 2) moved as the triangles between `have` (P, 2) move to `want`; those outside of them stay."""
    moved, found = _carried(_triangles(have), want, points.astype(np.float64))
    return np.asarray(np.where(found[:, None], moved, points), np.float32)


def _triangles(points: Floats) -> Delaunay:
    try:
        return Delaunay(points.astype(np.float64))
    except QhullError:
        raise InputError("these landmarks span no area: they belong to no face") from None


def _carried(mesh: Delaunay, want: Floats, points: Float64s) -> tuple[Float64s, NDArray[np.bool_]]:
    """Where points (N, 2) go when the corners of a mesh go to `want`; and which of them lie in a triangle."""
    at = mesh.find_simplex(points)
    to = mesh.transform[at]
    first = np.einsum("nij,nj->ni", to[:, :2], points - to[:, 2])
    shares = np.column_stack([first, 1 - first.sum(1)])
    return np.einsum("ni,nij->nj", shares, want.astype(np.float64)[mesh.simplices[at]]), at >= 0
