"""A bundle as something to differentiate: its detector in PyTorch, for attacks and explanations that need gradients."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.base.detector import Detector
from unmask.bundles import delta, locate, read
from unmask.bundles.distance import load_exported
from unmask.bundles.runtime import WEIGHTS
from unmask.errors import BundleError
from unmask.registry import create
from unmask.types import Card


def detector_of(name: str | Path) -> tuple[Detector, Card]:
    """The detector inside a bundle, in evaluation mode and with frozen weights; a delta's encoder is filled in.

    Args:
        name: "embedded", the folder of a bundle, or "hub:owner/name[@revision]".
    Raises: UnmaskError for a bundle without PyTorch weights, or weights that do not fit its method.
    """
    bundle = read(locate(str(name)))
    if WEIGHTS not in bundle.files:
        raise BundleError(f"bundle {bundle.card.name!r} has no {WEIGHTS}, so nothing can be differentiated in it")
    content = bundle.files[WEIGHTS]
    if bundle.card.base is not None:
        content = delta.complete(WEIGHTS, content, delta.read_base(bundle.card.base))
    try:
        model = load_exported(create("detector", bundle.card.method, bundle.card.options), content)
    except (RuntimeError, ValueError, KeyError) as error:
        raise BundleError(f"{WEIGHTS} does not fit the detector {bundle.card.method!r}: {error}") from error
    detector = model.detector
    assert isinstance(detector, Detector)
    return detector.eval().requires_grad_(False), bundle.card


def evidence(logits: Tensor, classes: tuple[str, ...]) -> Tensor:
    """(B, K) -> (B, 2): 0 for "real", and the log odds of not being real, in the order of labels (1 = fake)."""
    real = classes.index("real")
    others = torch.cat([logits[:, :real], logits[:, real + 1 :]], 1).logsumexp(1)
    odds = others - logits[:, real]
    return torch.stack([torch.zeros_like(odds), odds], 1)


def white_box(name: str | Path) -> Callable[[Tensor], Tensor]:
    """A bundle as (B, 3, H, W) in 0..1 -> (B, 2), differentiable; images of another size are resized to its own.

    Raises: UnmaskError as `detector_of`.
    """
    detector, card = detector_of(name)
    side = card.input.size

    def logits(image: Tensor) -> Tensor:
        if image.shape[-1] != side or image.shape[-2] != side:
            image = F.interpolate(image, size=(side, side), mode="bilinear", antialias=True, align_corners=False)
        return evidence(detector(image).logits, card.classes)

    return logits
