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
from torch import Tensor

from unmask.nn.contrastive import supervised_contrastive

CARD = {
    "title": "SelfCon (exits of one network as views; ImagiNet)",
    "paper": "Bae et al., AAAI 2023, arXiv 2106.15499; Boychev and Cholakov, arXiv 2407.20020",
    "task": "labelled images, one view each -> an encoder",
    "licence": "Apache-2.0; written from the formulas",
    "verified": "the loss equals SupCon's over exits, as pytorch-metric-learning has it; no published number",
}


def selfcon_loss(exits: Sequence[Tensor], label: Tensor, temperature: float = 0.07) -> Tensor:
    """SupCon over all exits: positives of an anchor are all exits of all images of its label, but itself.

    Args:
        exits: of each exit the embeddings (B, D), of any lengths.
        label: (B,); rows below 0 are left out.
    """
    return supervised_contrastive(torch.cat(list(exits)), label.repeat(len(exits)), temperature)
