"""SelfCon: an early exit of the network is the second view of an image, so that one view is enough.

The idea in three sentences. SupCon contrasts two augmented views of each image; that takes two forward passes, and
augmentation may wipe out the traces that tell synthetic images. SelfCon contrasts the output of the network with that
of an exit after an early stage instead. ImagiNet adds the same loss over synthetic images alone, with their generator's
family as the label.

Bae et al.: "Self-Contrastive Learning: Single-viewed Supervised Contrastive Framework using Sub-network", AAAI 2023,
arXiv 2106.15499. Boychev and Cholakov: "ImagiNet", arXiv 2407.20020. Both use labels, whatever the name says.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from unmask.base.objective import Objective, Views
from unmask.nn.contrastive import selfcon_loss
from unmask.nn.convnets import ConvNet
from unmask.nn.exits import Exits

CARD = {
    "title": "SelfCon (exits of one network as views; ImagiNet)",
    "paper": "Bae et al., AAAI 2023, arXiv 2106.15499; Boychev and Cholakov, arXiv 2407.20020",
    "task": "labelled images, one view each -> an encoder",
    "licence": "Apache-2.0; written from the formulas",
    "verified": "the loss equals SupCon's over exits, as pytorch-metric-learning has it; no published number",
    "small": {"network": "tiny-resnet", "size": 32, "hidden": 32, "dim": 16},
}


class SelfCon(Objective):
    """A convolutional network with an exit after one of its stages; each exit has a head of its own."""

    def __init__(
        self,
        network: str = "resnet-50",
        size: int = 224,
        exit_after: str = "layer2",
        hidden: int = 2048,
        dim: int = 128,
        temperature: float = 0.07,
        families: bool = False,
    ) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets`; ImagiNet's is "resnet-50-full".
            size: side of the crop, pixels.
            exit_after: the step of the network that the exit follows.
            hidden, dim: widths of the heads.
            families: labels are methods, of which 0 is real: real against synthetic is contrasted over all images, what
                made them over synthetic ones (ImagiNet, there by family). False = the labels as they are.
        """
        super().__init__()
        self.body = ConvNet(network)
        self.input = self.body.input(size)
        self.temperature, self.families = temperature, families
        self.heads = Exits(self.body, exit_after, hidden, dim)

    @property
    def encoder(self) -> nn.Module:
        return self.body

    def exits(self, image: Tensor) -> list[Tensor]:
        """(B, 3, S, S) -> the embeddings of the early and of the late exit, (B, D) each."""
        return self.heads(*self.heads.features(self.body, image))  # type: ignore[no-any-return]

    def loss(self, batch: Views) -> dict[str, Tensor]:
        exits, label = self.exits(torch.cat(batch.images)), batch.label.repeat(len(batch.images))
        if not self.families:
            return {"selfcon": selfcon_loss(exits, label, self.temperature)}
        return {
            "origin": selfcon_loss(exits, label.clamp(max=1), self.temperature),
            "family": selfcon_loss(exits, torch.where(label > 0, label, -1), self.temperature),
        }
