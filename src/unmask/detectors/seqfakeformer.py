"""SeqFakeFormer: an image of a face is read as the sentence of edits that made it.

The idea in three sentences. A face may have been edited several times, and undoing it needs the edits and their order.
A convolutional network and a transformer's encoder describe where the face was changed; a decoder says the edits one by
one, each knowing those before it. Its attention is laid on a place that each step chooses for itself, a centre and an
extent, because one edit changes one part of the face (spatially enhanced cross-attention).

Shao, Wu and Liu: "Detecting and Recovering Sequential DeepFake Manipulation", ECCV 2022, arXiv 2207.02204.

Where it differs from the authors' code. "No edit" and "start" are two tokens, there one. The answer is the likeliest of
the known orders (`unmask.nn.edit_order`); free decoding is `greedy`.
"""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor, nn

from unmask.nn.convnets import ConvNet
from unmask.nn.edit_order import Attention, Encoded, OrderDetector, causal, feed_forward
from unmask.nn.fixed import exactly
from unmask.nn.positions import sine_cosine

CARD = {
    "title": "SeqFakeFormer",
    "paper": "Shao et al., ECCV 2022, arXiv 2207.02204",
    "task": "one face -> the order of the edits that made it",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the authors' code names no licence, not used; the network is timm's, Apache-2.0",
    "verified": "the spatial map by hand, that no token sees later ones; no published weights or tables",
    "small": {"network": "tiny-resnet", "size": 64, "width": 32, "heads": 2, "layers": 1, "dropout": 0.0},
}


class SeqFakeFormer(OrderDetector):
    """ResNet, transformer encoder, decoder with spatial maps; L = CE of the next token."""

    positions: Tensor

    def __init__(
        self,
        network: str = "resnet-50",
        size: int = 256,
        width: int = 256,
        heads: int = 4,
        layers: int = 2,
        dropout: float = 0.1,
        backward: bool = False,
    ) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets`.
            size: side of the crop, pixels.
            width, heads, layers: of encoder and decoder.
            backward: say the last edit first (TSOM's order).
        """
        super().__init__(backward)
        self.body = ConvNet(network)
        self.input = self.body.input(size)
        with torch.device("meta"):
            self.side = ConvNet(network).eval()(torch.zeros(1, 3, size, size)).shape[-1]
        self.shrink = nn.Conv2d(self.body.features, width, 1)
        self.register_buffer("positions", sine_cosine(width, self.side, 0)[None], persistent=False)
        layer = nn.TransformerEncoderLayer(width, heads, 2 * width, dropout, "gelu", batch_first=True, norm_first=True)
        self.encoder = nn.TransformerEncoder(layer, layers, nn.LayerNorm(width), enable_nested_tensor=False)
        self.words_in = nn.Embedding(self.words.size, width)
        self.places = nn.Parameter(torch.randn(self.words.longest + 1, width) * 0.02)
        self.decoder = nn.ModuleList(_Layer(width, heads, self.side, dropout) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, self.words.size)

    def encode(self, image: Tensor) -> Encoded:
        maps = self.shrink(self.body(exactly(image, self.input.size)))
        memory = self.encoder(maps.flatten(2).transpose(1, 2) + self.positions)
        return Encoded(memory.mean(1), (memory,))

    def decode(self, memory: tuple[Tensor, ...], tokens: Tensor) -> Tensor:
        x, length = self.words_in(tokens) + self.places[: tokens.shape[1]], tokens.shape[1]
        for layer in self.decoder:
            x = layer(x, memory[0], memory[0] + self.positions, causal(length, x.device))
        said: Tensor = self.head(self.norm(x))
        return said

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, see `unmask.nn.convnets`."""
        self.body.load_pretrained(weights)


class _Layer(nn.Module):
    """Attention to the tokens before, to the image with a spatial map for each head, and a perceptron; norms before."""

    def __init__(self, width: int, heads: int, side: int, dropout: float) -> None:
        super().__init__()
        self.own, self.cross = (Attention(width, heads, dropout) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3))
        self.place, self.extent = nn.Linear(width, 2 * heads), nn.Linear(width, 2 * heads)
        self.forth = feed_forward(width, 2 * width, dropout)
        self.side = side

    def forward(self, x: Tensor, memory: Tensor, key: Tensor, mask: Tensor) -> Tensor:
        y = self.norms[0](x)
        x = x + self.own(y, y, y, mask)
        y = self.norms[1](x)
        # Heads in front: (B, heads, T, 2), centres in 0..1 of the side, extents about 1 of the map.
        centre, extent = (linear(y).unflatten(2, (-1, 2)).transpose(1, 2) for linear in (self.place, self.extent))
        x = x + self.cross(y, key, memory, spatial_map(centre.sigmoid(), extent.exp(), self.side))
        y = self.norms[2](x)
        return x + self.forth(y)  # type: ignore[no-any-return]


def spatial_map(centre: Tensor, extent: Tensor, side: int) -> Tensor:
    """log of a Gaussian bump over the places of a map: -sum of (p - c)^2 / w^2, p in 0..1 from edge to edge.

    Args:
        centre, extent: (..., 2), row and column, as shares of the side.
    Returns: (..., side^2)
    """
    line = (torch.arange(side, device=centre.device) + 0.5) / side
    rows, columns = (((line - centre[..., n, None]) / extent[..., n, None]).square() for n in (0, 1))
    return -(rows[..., :, None] + columns[..., None, :]).flatten(-2)
