"""AltFreezing: kernels over space and kernels over time learn in turn, each while the others are frozen.

The idea in three sentences. A 3D network that tells real videos from forged ones soon finds the artefact that is
easiest to see, mostly one in space, and stops looking for flicker. So its kernels over space learn for some steps while
those over time stand still, and then the other way round. All other weights learn all the time.

Wang, Bao, Zhou, Wang, Li: "AltFreezing for More General Video Face Forgery Detection", CVPR 2023, arXiv 2307.08317.

Where it differs from the paper. The forged videos that the paper makes of real ones (repeated, dropped and blended
frames) are not made here. DeepfakeBench's code frees the kernels over time for 20 steps and those over space for one,
the other way round than the defaults: `spatial: 1, temporal: 20`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn

from unmask.base.detector import Batch, Detector, Output
from unmask.base.method import Engine
from unmask.errors import RecipeError
from unmask.nn.backbones import HALF
from unmask.nn.i3d import InflatedResNet
from unmask.types import InputSpec

CARD = {
    "title": "AltFreezing (3D ResNet-50, space and time in turn)",
    "paper": "Wang et al., CVPR 2023, arXiv 2307.08317",
    "task": "16 frames in a row of one face -> real or fake",
    "evidence": "time",
    "licence": "Apache-2.0; Kinetics weights of PySlowFast have terms of their own",
    "verified": "which weights move in which step; the network as i3d's; no published weights or table",
    "small": {"network": "tiny-i3d", "size": 32, "frames": 4, "spatial": 1, "temporal": 1},
}


class AltFreezing(Detector):
    """I3D's network and head; its step forgets the gradients of the kernels whose turn it is not."""

    def __init__(
        self,
        network: Literal["i3d-r50", "small-i3d", "tiny-i3d"] = "i3d-r50",
        size: int = 224,
        frames: int = 16,
        dropout: float = 0.5,
        spatial: int = 20,
        temporal: int = 1,
    ) -> None:
        """
        Args:
            spatial: steps in a row in which kernels over space learn, and those over time are frozen.
            temporal: the steps that follow, the other way round.
        Raises: UnmaskError for turns of no step.
        """
        super().__init__()
        if spatial < 1 or temporal < 1:
            raise RecipeError(f"each turn has one step at least: spatial {spatial}, temporal {temporal}")
        self.input = InputSpec(size=size, frames=frames, mean=HALF[0], std=HALF[1])
        self.body = InflatedResNet(network)
        self.dropout = nn.Dropout(dropout)
        self.head = nn.Linear(self.body.features, len(self.classes))
        self.turns = spatial, temporal

    def forward(self, image: Tensor) -> Output:
        features = self.body(image).mean((2, 3, 4))
        return Output(self.head(self.dropout(features)), features)

    def step(self, batch: Batch, engine: Engine) -> dict[str, Tensor]:
        with engine.autocast():
            terms = self.loss(batch)
        engine.backward(torch.stack(list(terms.values())).sum())
        for kernel in frozen(self.body, engine.step, *self.turns):
            kernel.grad = None  # the optimiser passes over it, its momentum and its decay too
        if engine.update():
            self.updated(engine)
        return terms

    def load_pretrained(self, weights: Path) -> None:
        """Load Kinetics weights under PySlowFast's names, see `unmask.nn.i3d`."""
        self.body.load_pretrained(weights)


def kernels(network: nn.Module) -> tuple[list[nn.Parameter], list[nn.Parameter]]:
    """Weights of convolutions over space alone (1 x k x k), and over time alone (k x 1 x 1)."""
    convolutions = [m for m in network.modules() if isinstance(m, nn.Conv3d)]
    found = [w for m in convolutions for name, w in m.named_parameters() if name == "weight"]
    spatial = [w for w in found if w.shape[2] == 1 and w.shape[3] > 1]
    return spatial, [w for w in found if w.shape[2] > 1 and w.shape[3] == 1]


def frozen(network: nn.Module, step: int, spatial: int, temporal: int) -> list[nn.Parameter]:
    """The kernels that stand still in a step, counted from 0: `spatial` steps those over time, then `temporal` steps
    those over space, and so on."""
    over_space, over_time = kernels(network)
    return over_time if step % (spatial + temporal) < spatial else over_space
