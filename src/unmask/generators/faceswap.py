"""The classical face swap: another person's face, warped to the landmarks, recoloured, and blended in seamlessly.

What FaceForensics++ calls FaceSwap fits the face of one person to the landmarks of another, corrects its colours and
blends it in. Here the fit is one affine map for each triangle of the landmarks instead of a 3D model, colours are
transferred in Lab, and the seam is Poisson's or a feathered edge. Poses must be alike for that, so the donor is drawn
from the nearest by five points.

Rössler et al., "FaceForensics++", ICCV 2019 (arXiv 1901.08971), describe the method; Pérez, Gangnet and Blake, "Poisson
Image Editing", SIGGRAPH 2003; Reinhard et al., "Color Transfer between Images", IEEE CG&A 2001.
"""

from __future__ import annotations

import numpy as np

from unmask.base.generator import Forgery, Generator, Unforgeable
from unmask.data.donors import Donors
from unmask.data.landmarks import BROWS, JAW, Landmarks, filled
from unmask.errors import InputError
from unmask.imageops.blending import blend, blur, poisson
from unmask.imageops.colour import transferred
from unmask.imageops.warping import piecewise
from unmask.types import Floats, Pixels

CARD = {
    "title": "Landmark-warped face swap",
    "paper": "FaceSwap as in Rössler et al., ICCV 2019, arXiv 1901.08971",
    "task": "a real face and another person's -> the face exchanged",
    "licence": "Apache-2.0; no weights",
    "verified": "warp, colour statistics and blend by hand; not the data set's own images, whose fit is a 3D model",
}


class FaceSwap(Generator):
    """Jaw, brows and all between them come from the donor."""

    needs_donors = True

    def __init__(self, *, among: int = 20, seamless: float = 0.6) -> None:
        """
        Args:
            among: draw the donor from so many whose five points lie nearest.
            seamless: share of Poisson's blending; the rest has a feathered edge.
        """
        if among < 1 or not 0 <= seamless <= 1:
            raise InputError(f"among is 1 or more and seamless a share, not {among} and {seamless}")
        self.among, self.seamless = among, seamless

    def run(self, image: Pixels, face: Landmarks, rng: np.random.Generator, donors: Donors | None) -> Forgery:
        assert donors is not None
        side = image.shape[0]
        drawn = donors.draw(rng, side, among=self.among)
        if not drawn:
            raise Unforgeable("there is nobody to swap with: no other real face of this split and another group")
        donor = drawn[0]
        if len(donor.face.points) != len(face.points):
            raise InputError("donor and face have different landmarks: find both with one landmarker")
        warped, inside = piecewise(donor.image, donor.face.points, face.points, side)
        area = filled(_area(face, rng), side) * inside
        if area.sum() < 16:
            raise Unforgeable("the face lies outside of the image")
        warped = np.where(inside[..., None] > 0, warped, image)
        warped = transferred(warped, image, area)
        edge = face.eyes * rng.uniform(0.03, 0.12)
        way = "poisson" if rng.random() < self.seamless else "feather"
        source = poisson(image, warped, area) if way == "poisson" else warped
        alpha = _within(area, edge)
        return Forgery(blend(image, source, alpha), alpha, details={"donor": donor.name, "seam": way})


def _area(face: Landmarks, rng: np.random.Generator) -> Floats:
    """Points round what is swapped: the jaw, drawn in a little, and the brows, with some of the forehead above."""
    up = (face.points[27] - face.points[33]) * np.float32(rng.uniform(0.05, 0.45))
    rim = np.concatenate([face.at(JAW), face.at(BROWS) + up])
    centre = rim.mean(0)
    drawn_in: Floats = centre + (rim - centre) * np.float32(rng.uniform(0.9, 0.98))
    return drawn_in


def _within(area: Floats, edge: float) -> Floats:
    """A soft edge, `edge` pixels wide, that falls to 0 inside the area and not beyond it."""
    soft = blur(area, edge)
    return np.asarray(((soft - 0.5) * 2).clip(0, 1) * area, np.float32)
