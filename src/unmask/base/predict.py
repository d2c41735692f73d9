"""Crops in, logits and features out: the one way from bytes to a detector in PyTorch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from unmask.base.detector import Detector
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
