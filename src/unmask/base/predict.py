"""Crops in, logits and features out: the one way from bytes to a detector in PyTorch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unmask.base.detector import Detector
from unmask.errors import InputError
from unmask.types import Floats, Pixels


class Prediction(NamedTuple):
    """What a detector says of N crops."""

    logits: Floats  # (N, K)
    features: Floats  # (N, D)


def to_tensor(crops: Pixels | Tensor, device: torch.device | str = "cpu") -> Tensor:
    """uint8 (..., H, W, 3) -> float32 (..., 3, H, W) in 0..1 on `device`; channels stay last in memory."""
    return torch.as_tensor(crops).to(device, non_blocking=True).movedim(-1, -3).float().div_(255)


def predict(detector: Detector, crops: Pixels, *, batch: int = 32) -> Prediction:
    """uint8 (N, S, S, 3), or windows (N, T, S, S, 3), N >= 1 -> Prediction, on the detector's device.

    The detector is left in evaluation mode. `batch`: frames that go through it together, one window at least.
    """
    detector.eval()
    batch = max(1, batch // detector.input.frames)
    device = next(detector.parameters()).device
    with torch.inference_mode():
        parts = [detector(to_tensor(crops[i : i + batch], device)) for i in range(0, len(crops), batch)]
    logits, features = ([getattr(p, of).float().cpu().numpy() for p in parts] for of in ("logits", "features"))
    return Prediction(np.concatenate(logits), np.concatenate(features))


class Differentiable:
    """A detector in PyTorch as explainers ask it: crops in, one number each out, and gradients where they are wanted.

    It is left in evaluation mode, on its device.
    """

    def __init__(self, detector: Detector) -> None:
        """Raises: UnmaskError for a detector without a class "real"."""
        if "real" not in detector.classes:
            raise InputError(f"the detector knows no class 'real', only {', '.join(detector.classes)}")
        self.detector = detector.eval()

    def __call__(self, crops: Pixels) -> Floats:
        """uint8 (N, S, S, 3) -> (N,) `log_odds`."""
        device = next(self.detector.parameters()).device
        with torch.inference_mode():
            parts = [self.log_odds(to_tensor(crops[i : i + 32], device)) for i in range(0, len(crops), 32)]
        return np.asarray(torch.cat(parts).float().cpu().numpy(), np.float32)

    def log_odds(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in 0..1 -> (B,), log odds of not being "real": for two classes logit(fake) - logit(real)."""
        logits = self.detector(image).logits
        real = list(self.detector.classes).index("real")
        others = torch.cat([logits[:, :real], logits[:, real + 1 :]], 1)
        return others.logsumexp(1) - logits[:, real]

    def leaf(self, image: Pixels) -> Tensor:
        """uint8 (S, S, 3) -> (1, 3, S, S) in 0..1 that gathers gradients."""
        return to_tensor(image[None], next(self.detector.parameters()).device).requires_grad_(True)


def differentiable(model: object) -> Differentiable:
    """The model of an explainer that needs gradients. Raises: UnmaskError for one without a detector in PyTorch."""
    if not isinstance(model, Differentiable):
        raise InputError("this explainer takes a detector in PyTorch: wrap it in unmask.base.predict.Differentiable")
    return model
