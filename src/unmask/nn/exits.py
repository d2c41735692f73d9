"""An early exit of a network beside its last one, each with a projection head: the two views of SelfCon."""

from __future__ import annotations

from torch import Tensor, nn

from unmask.nn.convnets import ConvNet
from unmask.nn.heads import head


class Exits(nn.Module):
    """The features of both exits (B, C), (B, D) -> their embeddings, unit vectors (B, dim) each."""

    def __init__(self, body: ConvNet, after: str, hidden: int = 2048, dim: int = 128) -> None:
        """
        Args:
            body: the network; it is given to `features` again and not held here.
            after: the step of the network that the early exit follows.
            hidden, dim: widths of the heads.
        """
        super().__init__()
        self.after = after
        # A linear layer to the width of the last feature stands before the early head ("fc" in the authors' code).
        self.sub_network = nn.Linear(body.width(after), body.features)
        self.early, self.late = (head((body.features, hidden, dim), norm="none", unit=True) for _ in range(2))

    def features(self, body: ConvNet, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) -> the means over places of the early and of the last maps."""
        early = body.run(body.normalised(image), until=self.after)
        return early.mean((2, 3)), body.run(early, after=self.after).mean((2, 3))

    def forward(self, early: Tensor, late: Tensor) -> list[Tensor]:
        return [self.early(self.sub_network(early)), self.late(late)]
