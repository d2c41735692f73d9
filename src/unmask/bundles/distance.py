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
_SUBSPACE = ("whiten", "centres", "means", "spread", "outside")
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

    The embedded detector has this one.

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


class SubspaceWrapper(MahalanobisWrapper):
    """The same, and what of the features lies outside these directions: noise and drawings show there.

    distance = min over classes of max(Mahalanobis distance, ||residual|| / outside), where the residual is what the
    directions leave of f - mean_class, and `outside` its root mean square for faces that the directions were not
    fitted to (Wang et al., "ViM: Out-Of-Distribution with Virtual-logit Matching", CVPR 2022, use the same residual).
    """

    means: Tensor
    spread: Tensor
    outside: Tensor

    def __init__(
        self, detector: nn.Module, whiten: Tensor, centres: Tensor, means: Tensor, spread: Tensor, outside: Tensor
    ) -> None:
        """`means`: (K, D) of the features; `spread`: (d,), undoes the whitening; `outside`: (1,)."""
        super().__init__(detector, whiten, centres)
        self.register_buffer("means", means)
        self.register_buffer("spread", spread)
        self.register_buffer("outside", outside)

    def distance(self, features: Tensor) -> Tensor:
        """(B, D) -> (B,)"""
        place = (features @ self.whiten)[:, None] - self.centres[None]
        whole = (features[:, None] - self.means[None]).pow(2).sum(-1)
        residual = (whole - (place * self.spread).pow(2).sum(-1)).clamp_min(0).sqrt()
        return torch.maximum(place.pow(2).sum(-1).sqrt(), residual / self.outside).amin(1)


def fit_distance(detector: nn.Module, features: NDArray[np.float32], label: NDArray[np.integer]) -> SubspaceWrapper:
    """`features` (N, D) and `label` (N,): those of training faces as they come, without augmentation, in any order.

    Raises: UnmaskError for features that are the same for all faces of a class.
    """
    classes, of = np.unique(label, return_inverse=True)
    means = np.stack([features[label == k].mean(0) for k in classes])
    centred = features - means[of]
    directions, size = _principal(centred, float(np.linalg.norm(features)))
    if not len(size):
        raise BundleError("the detector gives every training face the same features: it has learnt nothing to export")
    spread = size * np.sqrt(len(size))
    whiten = (directions / spread[:, None]).T.astype(np.float32)
    half, _ = _principal(centred[::2], float(np.linalg.norm(features)))  # the other half says what is usual outside
    others = centred[1::2]
    outside = np.sqrt(np.mean(np.sum((others - (others @ half.T) @ half) ** 2, axis=1))) if len(others) else 0.0
    least = max(float(outside), ROUNDING * float(np.linalg.norm(features)))
    parts = (whiten, means.astype(np.float32) @ whiten, means, spread, np.array([least]))
    return SubspaceWrapper(detector, *(torch.from_numpy(np.asarray(part, np.float32)) for part in parts))


def _principal(centred: NDArray[np.float32], norm: float) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """(N, D), N >= 1 -> the leading directions (d, D), and the standard deviation (d,) along each; perhaps none."""
    _, size, directions = np.linalg.svd(centred, full_matrices=False)
    kept = (size > LEAST * size[0]) & (size > ROUNDING * norm)  # fewer faces than directions span no more
    d = min(DIRECTIONS, int(kept.sum()))
    return directions[:d], size[:d] / np.sqrt(len(centred))


def save(model: ExportWrapper, path: str) -> None:
    """A safetensors file without loss; large tensors whose numbers all fit into two bytes take two bytes each."""
    save_file({k: _smallest(v).contiguous() for k, v in model.state_dict().items()}, path)


def load_exported(detector: nn.Module, weights: bytes) -> ExportWrapper:
    """What `save` wrote, around a new detector of that method. Raises: RuntimeError when the weights are another's."""
    state = {k: v.float() if v.is_floating_point() else v for k, v in load(weights).items()}
    if set(_SUBSPACE) <= state.keys():
        model: ExportWrapper = SubspaceWrapper(detector, *(state[name] for name in _SUBSPACE))
    elif {"whiten", "centres"} <= state.keys():
        model = MahalanobisWrapper(detector, state["whiten"], state["centres"])
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
