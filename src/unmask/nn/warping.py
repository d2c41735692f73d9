"""One face's picture in another face's shape."""

from __future__ import annotations

import cv2
import numpy as np
from scipy.spatial import Delaunay, QhullError

from unmask.nouns import Floats, Pixels, UnmaskError


def similarity(have: Floats, want: Floats) -> Floats:
    """(2, 3): the turn, scale and shift that takes points `have` (P, 2) nearest to `want`, in the least squares."""
    z, w = (np.asarray(p, np.float64) @ (1, 1j) for p in (have, want))
    centre = z.mean()
    a = np.vdot(z - centre, w - w.mean()) / max(float(np.sum(np.abs(z - centre) ** 2)), 1e-12)
    b = w.mean() - a * centre
    return np.array([[a.real, -a.imag, b.real], [a.imag, a.real, b.imag]], np.float32)


def moved(image: Pixels, matrix: Floats, side: int) -> Pixels:
    """The picture under a (2, 3) map, (side, side, 3); its edge is repeated outside."""
    size = (side, side)
    return np.asarray(cv2.warpAffine(image, matrix, size, borderMode=cv2.BORDER_REPLICATE), np.uint8)


def piecewise(image: Pixels, have: Floats, want: Floats, side: int) -> tuple[Pixels, Floats]:
    """What stands at points `have` of a picture, moved to points `want`: one affine map for each triangle of them.

    Args:
        image: uint8 (H, W, 3).
        have, want: (P, 2), P >= 3, in pixels.
        side: of the new picture.
    Returns:
        uint8 (side, side, 3), black outside of the triangles, and float32 (side, side), 1 inside of them.
    Raises: UnmaskError for points on one line.
    """
    try:
        mesh = Delaunay(want.astype(np.float64))
    except QhullError:
        raise UnmaskError("these landmarks span no area: they belong to no face") from None
    x0, y0 = np.clip(np.floor(want.min(0)).astype(int), 0, side)
    x1, y1 = np.clip(np.ceil(want.max(0)).astype(int) + 1, 0, side)
    out, inside = np.zeros((side, side, 3), np.uint8), np.zeros((side, side), np.float32)
    if x0 >= x1 or y0 >= y1:
        return out, inside
    y, x = np.mgrid[y0:y1, x0:x1]
    pixels = np.stack([x.ravel(), y.ravel()], 1).astype(np.float64)
    at = mesh.find_simplex(pixels)
    to = mesh.transform[at]
    first = np.einsum("nij,nj->ni", to[:, :2], pixels - to[:, 2])
    shares = np.column_stack([first, 1 - first.sum(1)])
    source = np.einsum("ni,nij->nj", shares, have.astype(np.float64)[mesh.simplices[at]])
    u, v = (source[:, k].reshape(x.shape).astype(np.float32) for k in (0, 1))
    found = (at >= 0).reshape(x.shape)
    picture = cv2.remap(image, u, v, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)
    out[y0:y1, x0:x1] = np.where(found[..., None], picture, 0)
    inside[y0:y1, x0:x1] = found
    return out, inside
