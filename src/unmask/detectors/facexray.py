"""Face X-ray: a detector that draws the seam of a blend, and answers by how much of a seam it drew.

The idea in three sentences. Nearly every face swap ends by blending a face into an image, and where two images meet
their noise and their traces of processing change, whatever method made the face. So the network is trained to draw that
border: the map 4 M (1 - M) of the blending mask M, which is empty for a real image. A classifier reads nothing but the
drawn map.

Li et al.: "Face X-ray for More General Face Forgery Detection", CVPR 2020, arXiv 1912.13458. Its training data are
blends of look-alikes (the generator `face_xray`); stored forgeries with masks can be added, as in the paper.

Where it differs from the paper or from DeepfakeBench. The classifier reads the mean of the drawn map behind a batch
norm, with "the more seam, the likelier forged" as its start. Forgeries whose mask is not known teach the classifier
alone. DeepfakeBench draws by squared error (times 1000) instead of cross-entropy (times 100).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.errors import RecipeError
from unmask.nn.multiscale import MultiScale

CARD = {
    "title": "Face X-ray",
    "paper": "Li et al., CVPR 2020, arXiv 1912.13458",
    "task": "one aligned face -> real or fake, and where its seam runs",
    "evidence": "blending",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0",
    "verified": "boundary and loss by hand, and that it learns to draw a seam; no published weights or tables",
    "small": {"network": "tiny-resnet", "size": 32},
}


class FaceXray(Detector):
    """HRNet, one map in 0..1, its mean, linear head; L = CE + `weight` BCE of the map."""

    def __init__(self, network: str = "hrnet-w48", size: int = 256, weight: float = 100.0) -> None:
        """
        Args:
            network: a name in `unmask.nn.multiscale`.
            size: side of the crop, pixels.
            weight: of the drawn map's loss.
        """
        super().__init__()
        self.body = MultiScale(network)
        self.input = self.body.input(size)
        self.draw = nn.Conv2d(self.body.features, 1, 1)
        self.norm = nn.BatchNorm1d(1)
        self.head = nn.Linear(1, len(self.classes))
        if len(self.classes) == 2:
            self.head.weight.data.copy_(torch.tensor([[-1.0], [1.0]]))
            nn.init.zeros_(self.head.bias)
        self.weight = weight

    def forward(self, image: Tensor) -> Output:
        return self._seen(image)[0]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Raises: UnmaskError for a batch without masks."""
        if batch.mask is None:
            raise RecipeError("facexray learns from masks: set masks: true in the recipe, and forge: {face_xray: 1.0}")
        out, logit = self._seen(batch.image)
        drawn = drawing_loss(logit, boundary(batch.mask))
        return {"cls": cross_entropy(out.logits, batch), "xray": self.weight * drawn}

    def xray(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, H, W) in 0..1: where it sees a seam."""
        return self._seen(image)[1].sigmoid()

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, see `unmask.nn.multiscale`."""
        self.body.load_pretrained(weights)

    def _seen(self, image: Tensor) -> tuple[Output, Tensor]:
        """The answer, and the drawn map's logits at the image's size (B, H, W)."""
        maps = self.body(image)
        logit = F.interpolate(self.draw(maps), image.shape[-2:], mode="bilinear")[:, 0]
        amount = logit.sigmoid().mean((1, 2))[:, None]
        return Output(self.head(self.norm(amount)), maps.mean((2, 3))), logit


def boundary(mask: Tensor) -> Tensor:
    """B = 4 M (1 - M): 1 where both images have an equal share (equation 2)."""
    return 4 * mask * (1 - mask)


def drawing_loss(logit: Tensor, target: Tensor) -> Tensor:
    """Mean over pixels of the cross-entropy between drawn and true seam; pixels that are NaN do not count.

    Args:
        logit, target: (B, H, W); target in 0..1.
    """
    known = ~target.isnan()
    each = F.binary_cross_entropy_with_logits(logit.float(), target.nan_to_num(), reduction="none")
    return (each * known).sum() / known.sum().clamp_min(1)
