"""RFM: what a detector looks at most is erased while it trains, so that it must find more.

The idea in three sentences. Detectors look at a few small places and miss the rest of the forgery. The forgery
attention map is the gradient of (fake - real) by the pixels: where an image could change the answer most. In each step
up to three blocks about its highest places are filled with noise, and the network learns from what is left.

Wang and Deng: "Representative Forgery Mining for Fake Face Detection", CVPR 2021, arXiv 2104.06609.

Blocks are up to 120 of 256 pixels, as DeepfakeBench notes it, here as a share of the side. The attention is read with
the statistics in use (evaluation mode).
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.nn.convnets import ConvNet

CARD = {
    "title": "RFM (representative forgery mining)",
    "paper": "Wang and Deng, CVPR 2021, arXiv 2104.06609",
    "task": "one aligned face -> real or fake",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0",
    "verified": "the attention of a linear model and the erased blocks by hand; no published weights or tables",
    "small": {"network": "tiny-xception", "size": 32, "blocks": 1, "largest": 0.2},
}


class RFM(Detector):
    """Xception, mean over places, linear head; cross-entropy of images without their most suspicious blocks."""

    def __init__(self, network: str = "xception", size: int = 256, blocks: int = 3, largest: float = 120 / 256) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets`.
            size: side of the crop, pixels.
            blocks: that are erased of an image, at most.
            largest: side of a block, as a share of the image's.
        """
        super().__init__()
        self.body = ConvNet(network)
        self.input = self.body.input(size)
        self.head = nn.Linear(self.body.features, len(self.classes))
        self.blocks, self.largest = blocks, largest

    def forward(self, image: Tensor) -> Output:
        features = self.body.pooled(image)
        return Output(self.head(features), features)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        image = batch.image
        if self.training and self.blocks:
            image = erased(image, self.attention(image), self.blocks, self.largest)
        return {"cls": cross_entropy(self(image).logits, batch)}

    def attention(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) -> (B, H, W): the largest over colours of |d (fake - real) / d pixel|."""
        mode = self.training
        self.eval()
        with torch.enable_grad():
            pixels = image.detach().requires_grad_(True)
            logits = self(pixels).logits
            (slope,) = torch.autograd.grad((logits[:, -1] - logits[:, 0]).sum(), pixels)
        self.train(mode)
        return slope.abs().amax(1)

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, see `unmask.nn.convnets`."""
        self.body.load_pretrained(weights)


def erased(image: Tensor, attention: Tensor, blocks: int, largest: float) -> Tensor:
    """Noise in blocks of random size about the places of highest attention, each beyond the blocks before it.

    Args:
        image: (B, 3, H, W) in 0..1; attention: (B, H, W).
        largest: side of a block, as a share of the image's.
    """
    height, width = image.shape[-2:]
    rows, columns = torch.arange(height, device=image.device), torch.arange(width, device=image.device)
    covered = torch.zeros(attention.shape, dtype=torch.bool, device=image.device)
    for _ in range(blocks):
        place = attention.masked_fill(covered, -1).flatten(1).argmax(1)
        row, column = place // width, place % width
        tall, wide, above, left = torch.rand(4, len(image), device=image.device)
        tall, wide = (
            1 + (share * (largest * side - 1)).floor().clamp_min(0) for share, side in ((tall, height), (wide, width))
        )
        top, first = (row - (above * tall).floor()).long(), (column - (left * wide).floor()).long()
        down = (rows >= top[:, None]) & (rows < (top + tall)[:, None])
        along = (columns >= first[:, None]) & (columns < (first + wide)[:, None])
        covered = covered | (down[:, :, None] & along[:, None])
    return torch.where(covered[:, None], torch.rand_like(image), image)
