"""UnivFD: a linear map on features of a frozen CLIP, which was never trained to tell real images from generated ones.

The idea in three sentences. A network trained on one generator's images learns that generator's flaws, and calls
everything without them real. A feature space made for something else has no such bias: both classes are spread in it.
So CLIP's image tower stays as it is and only a line is drawn through its features.

Ojha, Li, Lee: "Towards Universal Fake Image Detectors that Generalize Across Generative Models", CVPR 2023,
arXiv 2302.10174. Theirs is the 768 numbers of CLIP ViT-L/14 after the projection; ours are the 1024 before it, which
`unmask.nn.backbones` gives. The paper's nearest-neighbour variant is left out.

Where it differs from the paper or from DeepfakeBench. The features are CLIP's before its projection (1024 numbers
instead of 768). The published head does not fit it.
"""

from __future__ import annotations

from pathlib import Path

from torch import Tensor, nn

from unmask.base.detector import Detector, Output
from unmask.nn.adapt import adapt
from unmask.nn.backbones import Encoder, load

CARD = {
    "title": "UnivFD (linear probe of a frozen CLIP)",
    "paper": "Ojha, Li, Lee, CVPR 2023, arXiv 2302.10174",
    "task": "an image, or one face -> real or generated",
    "evidence": "foundation features",
    "answers": ("face", "whole"),
    "licence": "Apache-2.0; the encoder has terms of its own",
    "verified": "that only the head learns; not the published weights (features before the projection) or tables",
    "small": {"backbone": "tiny-dinov2"},
}


class UnivFD(Detector):
    """Frozen encoder, linear head, cross-entropy. The encoder is random until `start` loads one."""

    def __init__(self, backbone: str = "clip-vit-l-14", margin: float = 0.0, tiles: int = 4) -> None:
        """
        Args:
            backbone: a name in `unmask.nn.backbones`.
            margin: 0 = whole images, as in the paper; 1.3 = aligned faces.
            tiles: of a whole image, at most; 1 = the middle of its pixels alone, as in the paper.
        """
        super().__init__()
        self.encoder = Encoder(backbone)
        self.input = self.encoder.kind.input.model_copy(update={"margin": margin, "tiles": 0 if margin else tiles})
        adapt(self.encoder, "probe")
        self.head = nn.Linear(self.encoder.kind.features, len(self.classes))

    def forward(self, image: Tensor) -> Output:
        features = self.encoder(image)
        return Output(self.head(features), features)

    def load_pretrained(self, weights: Path) -> None:
        """Load the encoder, from a file that `unmask import encoder` wrote. Raises: UnmaskError for another's."""
        load(self.encoder, weights)
