"""From a trained detector to the one file that scans run, and proof that both decide alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from unmask.bases import Detector
from unmask.nouns import Pixels, UnmaskError

DIRECTIONS = 48  # principal directions of the features in which distance is measured


class WithDistance(nn.Module):
    """A detector and how far its features lie from those of its training faces.

    distance = min over classes of ||W (f - centre_class)|| / sqrt(d): Mahalanobis distance with a covariance shared by
    both classes (Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples", NeurIPS 2018), in
    the leading principal directions, about 1 for a typical training face.
    """

    whiten: Tensor
    centres: Tensor

    def __init__(self, detector: Detector, features: NDArray[np.float32], label: NDArray[np.int64]) -> None:
        """`features` (N, D) and `label` (N,) of training faces as they come, without augmentation."""
        super().__init__()
        self.detector = detector
        centres = np.stack([features[label == k].mean(0) for k in range(len(detector.classes))])
        spread = features - centres[label]
        _, size, directions = np.linalg.svd(spread, full_matrices=False)
        d = min(DIRECTIONS, len(size))
        whiten = directions[:d] / (size[:d, None] / np.sqrt(len(features))) / np.sqrt(d)
        self.register_buffer("whiten", torch.from_numpy(whiten.T.astype(np.float32)))  # (D, d)
        self.register_buffer("centres", torch.from_numpy((centres @ whiten.T).astype(np.float32)))  # (K, d)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) in 0..1 -> logits (B, K), distance (B,)."""
        out = self.detector(image)
        return out.logits, self.distance(out.features)

    def distance(self, features: Tensor) -> Tensor:
        """(B, D) -> (B,)"""
        place = features @ self.whiten
        return (place[:, None] - self.centres[None]).pow(2).sum(-1).sqrt().amin(1)


def to_onnx(model: WithDistance, path: Path, crops: Pixels, tolerance: float = 1e-3) -> float:
    """Write `path` and run it on real crops at batch 1 and 5 beside the torch model.

    Args:
        crops: uint8 (N >= 5, S, S, 3).
    Returns: the largest difference of a logit.
    Raises:
        UnmaskError: a decision differs, or a logit by more than `tolerance`.
    """
    import onnxruntime

    model.eval()
    image = torch.from_numpy(crops.transpose(0, 3, 1, 2).copy()).float() / 255
    torch.onnx.export(
        model,
        (image[:2],),
        str(path),
        input_names=["image"],
        output_names=["logits", "distance"],
        dynamic_shapes={"image": {0: torch.export.Dim("batch", min=1, max=4096)}},
        dynamo=True,
        external_data=False,
    )
    with torch.no_grad():
        want, far = (t.numpy() for t in model(image))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for size in (1, 5):
        parts = [session.run(None, {"image": image[i : i + size].numpy()}) for i in range(0, len(image), size)]
        logits, distance = (np.concatenate([p[k] for p in parts]) for k in (0, 1))
        worst = max(worst, float(np.abs(logits - want).max()))
        if (logits.argmax(1) != want.argmax(1)).any() or worst > tolerance or np.abs(distance - far).max() > 0.01:
            raise UnmaskError(
                f"the exported model answers otherwise at batch {size}: logits differ by up to {worst:.2g}"
            )
    return worst
