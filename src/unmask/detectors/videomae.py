"""VideoMAE: an encoder that learnt to fill in videos of which it saw one patch in ten.

The idea in three sentences. Videos repeat themselves, so that tubes of patches are hidden through all frames, nine in
ten of them, and an encoder of the rest must understand motion to fill them in. Patches span two frames each. The mean
of all tokens, normed, is classified when the encoder is tuned for a task.

Tong, Song, Wang, Wang: "VideoMAE: Masked Autoencoders are Data-Efficient Learners for Self-Supervised Video
Pre-Training", NeurIPS 2022, arXiv 2203.12602. As a detector of forgeries: DeepfakeBench, 16 frames.

Where it differs from DeepfakeBench. Images are normalised as the encoder was trained (ImageNet's mean and deviation),
not with 0.5 (`half: true`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from unmask.base.detector import Detector, Output
from unmask.nn.video_encoders import VideoEncoder

CARD = {
    "title": "VideoMAE (masked autoencoder of videos)",
    "paper": "Tong et al., NeurIPS 2022, arXiv 2203.12602; as a detector: DeepfakeBench, arXiv 2307.01426",
    "task": "16 frames in a row of one face -> real or fake",
    "evidence": "time",
    "licence": "Apache-2.0; the network is transformers', Apache-2.0; published encoders: CC BY-NC 4.0 (from memory)",
    "verified": "transformers' network; names and shapes of DeepfakeBench's layout; no published weights or table",
    "small": {"network": "tiny-videomae"},
}


class VideoMAE(Detector):
    """Encoder, mean of tokens, norm, linear head, cross-entropy; random until `start` loads an encoder."""

    def __init__(
        self,
        network: Literal["videomae-b", "small-videomae", "tiny-videomae"] = "videomae-b",
        size: int = 0,
        frames: int = 0,
        half: bool = False,
    ) -> None:
        """
        Args:
            size: side of the crop, pixels; 0 = that of the published encoder, as for `frames`.
            frames: of a window, in a row.
            half: normalise with a mean and deviation of 0.5, as DeepfakeBench does.
        """
        super().__init__()
        self.encoder = VideoEncoder(network, size, frames, half=half)
        self.input = self.encoder.input
        self.norm = nn.LayerNorm(self.encoder.kind.features)
        self.head = nn.Linear(self.encoder.kind.features, len(self.classes))

    def forward(self, image: Tensor) -> Output:
        features = self.norm(self.encoder(image))
        return Output(self.head(features), features)

    def load_pretrained(self, weights: Path) -> None:
        """Load the encoder's published weights, see `unmask.nn.video_encoders`."""
        self.encoder.load_pretrained(weights)
