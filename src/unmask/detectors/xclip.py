"""X-CLIP: CLIP's image tower, in which each frame of a video leaves a message for the others.

The idea in three sentences. CLIP knows images and nothing of time. In each block every frame sends one message token,
the messages attend to each other, and each frame attends to its own message beside its patches. So an image tower
sees a video at little more cost than its frames by themselves.

Ni, Peng, Chen et al.: "Expanding Language-Image Pretrained Models for General Video Recognition", ECCV 2022, arXiv
2208.02816. As a detector of forgeries: DeepfakeBench, the mean over frames, normed.

Where it differs from DeepfakeBench. Images are normalised as CLIP wants them, not with 0.5 (`half: true`).
DeepfakeBench's windows have 32 frames (`frames: 32`), of which each 8 exchange messages.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from unmask.base.detector import Detector, Output
from unmask.nn.video_encoders import VideoEncoder

CARD = {
    "title": "X-CLIP (messages between the frames of a CLIP tower)",
    "paper": "Ni et al., ECCV 2022, arXiv 2208.02816; as a detector: DeepfakeBench, arXiv 2307.01426",
    "task": "8 frames in a row of one face -> real or fake",
    "evidence": "time",
    "licence": "Apache-2.0; the network is transformers', Apache-2.0; published encoders: MIT (from memory)",
    "verified": "transformers' network; names and shapes of DeepfakeBench's layout; no published weights or table",
    "small": {"network": "tiny-xclip"},
}


class XCLIP(Detector):
    """Encoder, mean of class tokens, norm, linear head, cross-entropy; random until `start` loads an encoder."""

    def __init__(
        self,
        network: Literal["xclip-b-32", "small-xclip", "tiny-xclip"] = "xclip-b-32",
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
