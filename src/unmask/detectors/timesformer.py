"""TimeSformer: a vision transformer whose patches attend to the same place in other frames, then to their own frame.

The idea in three sentences. A transformer that is to see a video could let all patches of all frames attend to each
other, which costs too much. Divided attention looks along time first, at one place, and then across one frame. It
starts from an image transformer, and reads a whole window with a class token.

Bertasius, Wang, Torresani: "Is Space-Time Attention All You Need for Video Understanding?", ICML 2021, arXiv
2102.05095. As a detector of forgeries: DeepfakeBench, 8 frames.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from torch import Tensor, nn

from unmask.base.detector import Detector, Output
from unmask.nn.video_encoders import VideoEncoder

CARD = {
    "title": "TimeSformer (divided space-time attention)",
    "paper": "Bertasius et al., ICML 2021, arXiv 2102.05095; as a detector: DeepfakeBench, arXiv 2307.01426",
    "task": "8 frames in a row of one face -> real or fake",
    "evidence": "time",
    "licence": "Apache-2.0; the network is transformers', Apache-2.0; published encoders: CC BY-NC 4.0 (from memory)",
    "verified": "transformers' network; names and shapes of DeepfakeBench's layout; no published weights or table",
    "small": {"network": "tiny-timesformer"},
}


class TimeSformer(Detector):
    """Encoder, class token, linear head, cross-entropy; random until `start` loads an encoder."""

    def __init__(
        self,
        network: Literal["timesformer-b", "small-timesformer", "tiny-timesformer"] = "timesformer-b",
        size: int = 0,
        frames: int = 0,
    ) -> None:
        """`size`: side of the crop, pixels; `frames`: of a window, in a row; 0 = those of the published encoder."""
        super().__init__()
        self.encoder = VideoEncoder(network, size, frames)
        self.input = self.encoder.input
        self.head = nn.Linear(self.encoder.kind.features, len(self.classes))

    def forward(self, image: Tensor) -> Output:
        features = self.encoder(image)
        return Output(self.head(features), features)

    def load_pretrained(self, weights: Path) -> None:
        """Load the encoder's published weights, see `unmask.nn.video_encoders`."""
        self.encoder.load_pretrained(weights)
