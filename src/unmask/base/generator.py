"""What every generator of labelled forgeries is: a real face in, a forged one and its mask out. Needs no torch."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import Literal, final

import numpy as np

from unmask.data.donors import Donor, Donors, nearest
from unmask.data.landmarks import Landmarks
from unmask.errors import InputError, UnmaskError
from unmask.types import Floats, Pixels

SMALLEST = 32  # side of an image, pixels
Basis = Literal["not stated", "consent", "synthetic", "public domain", "licence"]  # on which a face may be forged


class Unforgeable(UnmaskError):  # noqa: N818 - a state of a picture, not a fault
    """This image gives no forgery of this kind: one flat colour, a face outside of it, nobody to take a face from."""


@dataclass(frozen=True)
class Forgery:
    """
    Attributes:
        image: uint8 (S, S, 3).
        mask: float32 (S, S) in 0..1, how much of each pixel is forged; 0 where nothing was touched.
        base: what was pasted into, where that is not the image itself but a copy that was changed as a whole; what is
            not masked is the base, bitwise.
        details: what chance and the generator chose, for the manifest: donors, steps, ...
    """

    image: Pixels
    mask: Floats
    base: Pixels | None = None
    details: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Origin:
    """What a generator makes its forgeries with, for the record.

    Attributes:
        weights: file -> sha256 of what it loads; none for one without weights.
        scheduler: of a diffusion model, its class and settings.
        prompt: the words that guide it.
    """

    weights: dict[str, str] = field(default_factory=dict)
    scheduler: str = ""
    prompt: str = ""


class Generator(ABC):
    """Makes labelled forgeries of real faces.

    Attributes:
        needs_donors: it takes something from images of other people.
        needs_basis: it can show a person in a way that they never were: files are made only where the basis is stated.
    """

    needs_donors: bool = False
    needs_basis: bool = False

    @final
    def __call__(
        self, image: Pixels, face: Landmarks, rng: np.random.Generator, donors: Donors | None = None
    ) -> Forgery:
        """One forgery of a face; the same arguments and the same state of `rng` give the same bytes.

        Args:
            image: uint8 (S, S, 3), an aligned crop of a real face, S >= 32; it is not changed.
            face: its landmarks, in pixels of `image`.
            donors: other people's faces, for generators that need them.
        Raises: Unforgeable; UnmaskError for an image of another form, and where donors are needed and not given.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.shape[0] != image.shape[1]:
            raise InputError(f"an image to forge is uint8 (S, S, 3), not {image.dtype} {image.shape}")
        side = image.shape[0]
        if side < SMALLEST:
            raise InputError(f"an image of {side} pixels is too small to forge: cut crops of {SMALLEST} or more")
        if not (face.five.mean(0) >= 0).all() or not (face.five.mean(0) < side).all() or face.eyes < 2:
            raise Unforgeable("the face lies outside of the image: do the landmarks belong to it?")
        if self.needs_donors and donors is None:
            raise InputError(f"{type(self).__name__} takes from faces of other people: give it donors")
        kept = image.copy()
        made = self.run(image, face, rng, donors)
        if not np.array_equal(kept, image):
            raise TypeError(f"{type(self).__name__} changed the image that it was given")
        return _checked(made, image)

    @abstractmethod
    def run(self, image: Pixels, face: Landmarks, rng: np.random.Generator, donors: Donors | None) -> Forgery:
        """The forging itself, on checked arguments. Raises: Unforgeable."""

    def origin(self) -> Origin:
        """What its forgeries are made with, for their sidecars."""
        return Origin()

    def companion(
        self, image: Pixels, face: Landmarks, rng: np.random.Generator, donors: Donors | None
    ) -> Pixels | None:
        """The real half of a pair, so that a side effect of the generator does not become a shortcut feature.

        With the arguments and the state of `rng` that gave a forgery, it is the partner of that very forgery.

        Returns: uint8 (S, S, 3), still real; None = the face as it is.
        """
        return None


class FromLookAlike(Generator):
    """Takes a face that resembles: near by five points, and of a few such the nearest by dense landmarks."""

    needs_donors = True

    def __init__(self, *, among: int = 100, looked_at: int = 3) -> None:
        """
        Args:
            among: look-alikes come from so many whose five points lie nearest.
            looked_at: of so many of them the one is taken whose dense landmarks lie nearest.
        """
        if among < 1 or looked_at < 1:
            raise InputError(f"among and looked_at are 1 or more, not {among} and {looked_at}")
        self.among, self.looked_at = among, looked_at

    def look_alike(self, face: Landmarks, side: int, rng: np.random.Generator, donors: Donors | None) -> Donor:
        """Raises: Unforgeable where there is nobody else. `side`: of the donor's image, pixels."""
        assert donors is not None
        donor = nearest(face, donors.draw(rng, side, self.looked_at, among=self.among))
        if donor is None:
            raise Unforgeable("there is nobody to blend with: no other real face of this split and another group")
        return donor


def _checked(made: Forgery, image: Pixels) -> Forgery:
    """Raises: Unforgeable where nothing was changed, TypeError for a result that breaks the promise above."""
    forged, mask = made.image, made.mask
    base = image if made.base is None else made.base
    if forged.dtype != np.uint8 or forged.shape != image.shape or base.shape != image.shape:
        raise TypeError(f"a forgery is uint8 {image.shape}, not {forged.dtype} {forged.shape}")
    if mask.dtype != np.float32 or mask.shape != image.shape[:2] or not (mask >= 0).all() or not (mask <= 1).all():
        raise TypeError(f"a mask is float32 {image.shape[:2]} in 0..1, not {mask.dtype} {mask.shape}")
    changed = (forged != base).any(-1)
    if not changed.any():
        raise Unforgeable("nothing was changed: is the image one flat colour?")
    if changed[mask == 0].any():
        raise TypeError("pixels were changed that the mask does not cover")
    return made
