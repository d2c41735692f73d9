"""How far a face lies from those that a detector was trained on, and the detector as a bundle holds it."""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load, save_file
from torch import Tensor, nn

from unmask.errors import BundleError

DIRECTIONS = 48  # principal directions of the features in which distance is measured
LEAST = 1e-3  # of the widest direction: narrower ones would enlarge what differs between runtimes ...
ROUNDING = 1e-5  # ... as would those that are this small beside the features themselves
LARGE = 4096  # numbers in a tensor, from which on its size matters


class ExportWrapper(nn.Module):
    """A detector as a bundle holds it: it gives the outputs that runtimes name, in their order."""

    outputs: tuple[str, ...] = ("logits",)

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        """(B, 3, S, S) in 0..1 -> logits (B, K)."""
        return (self.detector(image).logits,)


class MahalanobisWrapper(ExportWrapper):
    """A detector, and where the features of its training faces lie: the bundle then knows what is unfamiliar.

    distance = min over classes of ||W (f - centre_class)|| / sqrt(d): Mahalanobis distance with a covariance shared by
    the classes (Lee et al., "A Simple Unified Framework for Detecting Out-of-Distribution Samples", NeurIPS 2018), in
    the leading principal directions, about 1 for a typical training face.
    """

    outputs = ("logits", "distance")
    whiten: Tensor
    centres: Tensor

    def __init__(self, detector: nn.Module, whiten: Tensor, centres: Tensor) -> None:
        """`whiten`: (D, d); `centres`: (K, d), whitened."""
        super().__init__(detector)
        self.register_buffer("whiten", whiten)
        self.register_buffer("centres", centres)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) in 0..1 -> logits (B, K), distance (B,)."""
        out = self.detector(image)
        return out.logits, self.distance(out.features)

    def distance(self, features: Tensor) -> Tensor:
        """(B, D) -> (B,)"""
        place = features @ self.whiten
        return (place[:, None] - self.centres[None]).pow(2).sum(-1).sqrt().amin(1)


def fit_mahalanobis(
    detector: nn.Module, features: NDArray[np.float32], label: NDArray[np.integer]
) -> MahalanobisWrapper:
    """`features` (N, D) and `label` (N,): those of training faces as they come, without augmentation.

    Raises: UnmaskError for features that are the same for all faces of a class.
    """
    classes, of = np.unique(label, return_inverse=True)
    centres = np.stack([features[label == k].mean(0) for k in classes])
    _, size, directions = np.linalg.svd(features - centres[of], full_matrices=False)
    kept = (size > LEAST * size[0]) & (size > ROUNDING * np.linalg.norm(features))
    if not kept.any():
        raise BundleError("the detector gives every training face the same features: it has learnt nothing to export")
    d = min(DIRECTIONS, int(kept.sum()))  # fewer faces than directions span no more
    whiten = (directions[:d] / (size[:d, None] / np.sqrt(len(features))) / np.sqrt(d)).T.astype(np.float32)
    return MahalanobisWrapper(detector, torch.from_numpy(whiten), torch.from_numpy(centres.astype(np.float32) @ whiten))


def save(model: ExportWrapper, path: str) -> None:
    """A safetensors file without loss; large tensors whose numbers all fit into two bytes take two bytes each."""
    save_file({k: _smallest(v).contiguous() for k, v in model.state_dict().items()}, path)


def load_exported(detector: nn.Module, weights: bytes) -> ExportWrapper:
    """What `save` wrote, around a new detector of that method. Raises: RuntimeError when the weights are another's."""
    state = {k: v.float() if v.is_floating_point() else v for k, v in load(weights).items()}
    if {"whiten", "centres"} <= state.keys():
        model: ExportWrapper = MahalanobisWrapper(detector, state["whiten"], state["centres"])
    else:
        model = ExportWrapper(detector)
    model.load_state_dict(state)
    return model.eval()


def is_large(value: Tensor) -> bool:
    return value.is_floating_point() and value.numel() >= LARGE


def _smallest(value: Tensor) -> Tensor:
    for kind in (torch.float16, torch.bfloat16) if is_large(value) else ():
        if torch.equal(value.to(kind).to(value.dtype), value):
            return value.to(kind)
    return value
