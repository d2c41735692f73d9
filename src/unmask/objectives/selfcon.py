"""SelfCon: an early exit of the network is the second view of an image, so that one view is enough.

The idea in three sentences. SupCon contrasts two augmented views of each image; that takes two forward passes, and
augmentation may wipe out the traces that tell synthetic images. SelfCon contrasts the output of the network with that
of an exit after an early stage instead. ImagiNet adds the same loss over synthetic images alone, with their generator's
family as the label.

Bae et al.: "Self-Contrastive Learning: Single-viewed Supervised Contrastive Framework using Sub-network", AAAI 2023,
arXiv 2106.15499. Boychev and Cholakov: "ImagiNet", arXiv 2407.20020. Both use labels, whatever the name says.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unmask.base.objective import Objective, Views
from unmask.nn.contrastive import supervised_contrastive
from unmask.nn.convnets import ConvNet
from unmask.nn.heads import head

CARD = {
    "title": "SelfCon (exits of one network as views; ImagiNet)",
    "paper": "Bae et al., AAAI 2023, arXiv 2106.15499; Boychev and Cholakov, arXiv 2407.20020",
    "task": "labelled images, one view each -> an encoder",
    "licence": "Apache-2.0; written from the formulas",
    "verified": "the loss equals SupCon's over exits, as pytorch-metric-learning has it; no published number",
    "small": {"network": "tiny-resnet", "size": 32, "hidden": 32, "dim": 16},
}


def selfcon_loss(exits: Sequence[Tensor], label: Tensor, temperature: float = 0.07) -> Tensor:
    """SupCon over all exits: positives of an anchor are all exits of all images of its label, but itself.

    Args:
        exits: of each exit the embeddings (B, D), of any lengths.
        label: (B,); rows below 0 are left out.
    """
    return supervised_contrastive(torch.cat(list(exits)), label.repeat(len(exits)), temperature)


class SelfCon(Objective):
    """A convolutional network with an exit after one of its stages; each exit has a head of its own.

    ImagiNet's network keeps its full resolution for two steps longer; here it is the network as it is published.
    """

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
            network: a name in `unmask.nn.convnets`.
            size: side of the crop, pixels.
            exit_after: the step of the network that the exit follows.
            hidden, dim: widths of the heads.
            families: labels are methods, of which 0 is real: real against synthetic is contrasted over all images, what
                made them over synthetic ones (ImagiNet, there by family). False = the labels as they are.
        """
        super().__init__()
        self.body = ConvNet(network)
        self.input = self.body.input(size)
        self.exit_after, self.temperature, self.families = exit_after, temperature, families
        # A linear layer to the width of the last feature stands before the early head ("fc" in the authors' code).
        wide = self.body.features
        self.sub_network = nn.Linear(self.body.width(exit_after), wide)
        self.early, self.late = (head((wide, hidden, dim), norm="none", unit=True) for _ in range(2))

    @property
    def encoder(self) -> nn.Module:
        return self.body

    def exits(self, image: Tensor) -> list[Tensor]:
        """(B, 3, S, S) -> the embeddings of the early and of the late exit, (B, D) each."""
        early = self.body.run(self.body.normalised(image), until=self.exit_after)
        late = self.body.run(early, after=self.exit_after)
        return [self.early(self.sub_network(early.mean((2, 3)))), self.late(late.mean((2, 3)))]

    def loss(self, batch: Views) -> dict[str, Tensor]:
        exits, label = self.exits(torch.cat(batch.images)), batch.label.repeat(len(batch.images))
        if not self.families:
            return {"selfcon": selfcon_loss(exits, label, self.temperature)}
        return {
            "origin": selfcon_loss(exits, label.clamp(max=1), self.temperature),
            "family": selfcon_loss(exits, torch.where(label > 0, label, -1), self.temperature),
        }
