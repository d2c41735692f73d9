"""What every explanation is: a model and a crop in, a map over the crop out. Needs no torch.

An explainer that only asks for scores works with any bundle. One that needs gradients (`needs_gradients`) takes a model
with a torch detector inside, `unmask.base.predict.Differentiable`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import final

import numpy as np

from unmask.errors import InputError
from unmask.types import Floats, Pixels

Score = Callable[[Pixels], Floats]  # uint8 (N, S, S, 3) -> (N,) logit(fake) - logit(real)


class Explainer(ABC):
    """Says which parts of a crop a detector's score rests on: what the detector used, not what was changed in it."""

    needs_gradients: bool = False

    @final
    def __call__(self, model: Score, image: Pixels, *, towards_fake: bool = True) -> Floats:
        """How much each part of the crop supports a verdict.

        Args:
            model: uint8 crops (N, S, S, 3) -> (N,) logit(fake) - logit(real).
            image: uint8 (S, S, 3), a crop as the detector takes it; it is not changed.
            towards_fake: which verdict is explained.
        Returns: float32 (h, w), finite and >= 0, over the whole crop at the explainer's own resolution.
        Raises: UnmaskError for an image of another form, and for a model without gradients where they are needed.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise InputError(f"an image to explain is uint8 (S, S, 3), not {image.dtype} {image.shape}")
        if self.needs_gradients and not hasattr(model, "detector"):
            raise InputError(
                f"{type(self).__name__} needs gradients: give it a trained run, or a bundle with `--runtime torch`"
            )
        found = self.run(model, image.copy(), towards_fake)
        if found.ndim != 2 or not np.isfinite(found).all() or (found < 0).any():
            raise TypeError(f"{type(self).__name__} must return a finite map (h, w) >= 0, not {found.shape}")
        return np.asarray(found, np.float32)

    @abstractmethod
    def run(self, model: Score, image: Pixels, towards_fake: bool) -> Floats:
        """The explanation itself, on checked arguments."""
