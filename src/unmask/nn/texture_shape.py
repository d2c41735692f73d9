"""TSOM's network: a stream of pixel differences beside the plain one, and Gaussian maps of where each edit is.

Ni et al.: "Texture, Shape and Order Matter: A New Transformer Design for Sequential DeepFake Detection", WACV 2025,
arXiv 2404.13873. `unmask.detectors.tsom` and `tsom_pp` train it.
"""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.nn.convnets import ConvNet
from unmask.nn.edit_order import Attention, Encoded, OrderDetector, causal, feed_forward
from unmask.nn.fixed import exactly
from unmask.nn.pixel_difference import PixelDifference
from unmask.nn.positions import sine_cosine

Faithful = Literal["paper", "release"]
REACH = 5.0  # the release's centres lie in 0..5 of the grid, whatever its side


def as_maps(tokens: Tensor, side: int, faithful: Faithful) -> Tensor:
    """(B, side^2, D) -> (B, D, side, side).

    "release": the authors' code views its (side^2, B, D) sequence as maps without turning the axes, so that places and
    channels are scrambled, and images of one batch are mixed. Their weights are trained so, and answer so for one
    image.
    """
    if faithful == "release":
        return tokens.transpose(0, 1).reshape(tokens.shape[0], tokens.shape[2], side, side)
    return tokens.transpose(1, 2).reshape(tokens.shape[0], tokens.shape[2], side, side)


def gaussian_maps(centre: Tensor, deviation: Tensor, side: int) -> Tensor:
    """log N(row; c_0, d_0) + log N(column; c_1, d_1) at each place of the grid: (..., 2) twice -> (..., side^2)."""
    line = torch.arange(side, device=centre.device, dtype=centre.dtype)
    z = ((line - centre[..., None]) / deviation[..., None]).square()  # (..., 2, side)
    density = -0.5 * z - deviation[..., None].log() - 0.5 * math.log(2 * math.pi)
    return (density[..., 0, :, None] + density[..., 1, None, :]).flatten(-2)


def kl(mean: Tensor, log_variance: Tensor) -> Tensor:
    """KL of N(mean, variance) from N(0, 1), summed over dimensions, mean over the batch: (B, D) twice."""
    return -0.5 * (1 + log_variance - mean.square() - log_variance.exp()).sum(1).mean()


class Shape(nn.Module):
    """A variational autoencoder of the image: a centre and a deviation for each decoding step, and its features.

    Its noise is drawn in training alone (the release draws it always, so that its answers differ from call to call).
    """

    def __init__(self, size: int, steps: int, widths: tuple[int, ...]) -> None:
        super().__init__()
        self.side, self.steps, self.widths = size // 2 ** len(widths), steps, widths
        self.encoder = nn.Sequential(*(_Down(a, b) for a, b in pairwise((3, *widths))))
        self.features = widths[-1] * self.side**2
        self.mean, self.log_variance = (nn.Linear(self.features, 2 * steps) for _ in range(2))
        self.back = nn.Linear(2 * steps, self.features)
        up = (*widths[::-1], widths[0])
        self.decoder = nn.Sequential(*(_Up(a, b) for a, b in pairwise(up)))
        self.last = nn.Conv2d(widths[0], 3, 3, padding=1)

    def forward(self, image: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Images in -1..1 -> mean and log-variance (B, steps, 2), features (B, F)."""
        flat = self.encoder(image).flatten(1)
        mean, log_variance = (of(flat).unflatten(1, (self.steps, 2)) for of in (self.mean, self.log_variance))
        return mean, log_variance, flat

    def loss(self, image: Tensor, mean: Tensor, log_variance: Tensor) -> Tensor:
        """0.1 MSE of the image drawn again + 0.01 KL."""
        noise = torch.randn_like(mean) if self.training else torch.zeros_like(mean)
        code = mean + noise * (0.5 * log_variance).exp()
        maps = self.back(code.flatten(1)).unflatten(1, (self.widths[-1], self.side, self.side))
        drawn = self.last(self.decoder(maps)).tanh()
        return 0.1 * F.mse_loss(drawn, image) + 0.01 * kl(mean.flatten(1), log_variance.flatten(1))


class TextureShape(nn.Module):
    """Maps of a network (B, C, side, side) and the image -> two streams; then tokens -> logits of the next one."""

    def __init__(
        self,
        inside: int,
        side: int,
        size: int,
        words: int,
        steps: int,
        width: int,
        heads: int,
        layers: int,
        dropout: tuple[float, float],
        alpha: float,
        texture: bool,
        shape_widths: tuple[int, ...],
        faithful: Faithful,
    ) -> None:
        """
        Args:
            inside: channels of the maps; side: of them; size: of the image, pixels.
            words: tokens of the vocabulary; steps: of the longest sentence.
            dropout: of the encoder and of the decoder.
            alpha: how much the Gaussian maps add to the attention's logits; 0 = no shape branch.
            texture: False = both streams are plain.
        """
        super().__init__()
        self.side, self.alpha, self.faithful = side, alpha, faithful
        self.shrink = nn.Conv2d(inside, width, 1)
        self.encoder = nn.ModuleList(
            _EncoderLayer(width, heads, side, dropout[0], texture, faithful) for _ in range(layers)
        )
        self.words, self.places = nn.Embedding(words, width), nn.Parameter(torch.randn(steps, width) * 0.02)
        self.shape = Shape(size, steps, shape_widths) if alpha else None
        self.decoder = nn.ModuleList(_DecoderLayer(width, heads, dropout[1]) for _ in range(layers))
        offsets = self.shape.features if self.shape is not None else 0
        self.offset = nn.ModuleList(nn.Linear(offsets, steps * heads * 2) for _ in range(layers if alpha else 0))
        self.norm = nn.LayerNorm(width)
        self.head = nn.Sequential(
            *(nn.Linear(width, 2 * width), nn.ReLU(), nn.Linear(2 * width, 2 * width), nn.ReLU()),
            nn.Linear(2 * width, words),
        )
        self.heads, self.steps = heads, steps

    def encode(self, maps: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        """The plain and the texture stream, (B, N, D) each."""
        x = self.shrink(maps).flatten(2).transpose(1, 2)
        y = x
        for layer in self.encoder:
            x, y = layer(x, y, positions)
        return x, y

    def maps(self, layer: int, mean: Tensor, log_variance: Tensor, features: Tensor) -> Tensor:
        """Of each head and step the Gaussian map of one layer of the decoder: (B, heads, steps, N)."""
        offset = self.offset[layer](features).sigmoid().unflatten(1, (self.steps, self.heads, 2))
        span = self.side - 2.0 if self.faithful == "paper" else REACH - 1
        if self.faithful == "release":  # (B, 2 steps) read as (steps, B, 2)
            mean, log_variance = (
                v.flatten(1).reshape(self.steps, len(v), 2).transpose(0, 1) for v in (mean, log_variance)
            )
        centre = (mean.sigmoid() * span)[:, :, None] + offset
        deviation = log_variance.clamp(-4, 4).exp()[:, :, None].expand_as(centre)  # or a map is infinite
        return gaussian_maps(centre, deviation, self.side).transpose(1, 2)

    def decode(self, x: Tensor, y: Tensor, shape: tuple[Tensor, ...], tokens: Tensor) -> Tensor:
        """Both streams, what `Shape` said (nothing without it), tokens (B, T) -> (B, T, V)."""
        length = tokens.shape[1]
        z, mask = self.words(tokens) + self.places[:length], causal(length, x.device)
        for n, layer in enumerate(self.decoder):
            bias = self.alpha * self.maps(n, *shape)[:, :, :length] if shape else None
            z = layer(z, x, y, mask, bias)
        said: Tensor = self.head(self.norm(z))
        return said


class TextureShapeDetector(OrderDetector):
    """ResNet, two-stream encoder, decoder with Gaussian maps; L = CE of the next token + L_vae."""

    positions: Tensor

    def __init__(
        self,
        network: str = "resnet-34",
        size: int = 256,
        width: int = 256,
        heads: int = 4,
        layers: int = 2,
        dropout: tuple[float, float] = (0.2, 0.4),
        alpha: float = 0.005,
        texture: bool = True,
        backward: bool = True,
        shape_widths: tuple[int, ...] = (32, 64, 128, 256, 256),
        faithful: Faithful = "paper",
    ) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets`.
            size: side of the crop, pixels.
            width, heads, layers, dropout: of encoder and decoder.
            alpha: weight of the Gaussian maps; 0 = no shape branch.
            texture: False = both streams attend plainly.
            backward: say the last edit first.
            shape_widths: channels of the autoencoder's stages.
            faithful: "release" has the behaviour of the authors' code that weights depend on.
        """
        super().__init__(backward)
        self.body = ConvNet(network)
        self.input = self.body.input(size)
        with torch.device("meta"):
            side = ConvNet(network).eval()(torch.zeros(1, 3, size, size)).shape[-1]
        self.register_buffer("positions", sine_cosine(width, side, 0)[None], persistent=False)
        steps = self.words.longest + 1
        self.net = TextureShape(
            *(self.body.features, side, size, self.words.size, steps, width, heads, layers, dropout, alpha, texture),
            *(shape_widths, faithful),
        )

    def encode(self, image: Tensor) -> Encoded:
        x, y = self.net.encode(self.body(exactly(image, self.input.size)), self.positions)
        features = torch.cat([x.mean(1), y.mean(1)], 1)
        if self.net.shape is None:
            return Encoded(features, (x, y))
        return Encoded(features, (x, y, *self.net.shape(2 * image - 1)))

    def decode(self, memory: tuple[Tensor, ...], tokens: Tensor) -> Tensor:
        x, y, *shape = memory
        return self.net.decode(x, y, tuple(shape), tokens)

    def terms(self, image: Tensor, found: Encoded, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        if self.net.shape is None:
            return {}
        mean, log_variance = found.memory[2:4]
        return {"shape": self.net.shape.loss(2 * image - 1, mean, log_variance)}

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, see `unmask.nn.convnets`."""
        self.body.load_pretrained(weights)


class _EncoderLayer(nn.Module):
    """Two streams, norms before: plain attention; queries by a convolution, keys and values by differences."""

    def __init__(self, width: int, heads: int, side: int, dropout: float, texture: bool, faithful: Faithful) -> None:
        super().__init__()
        self.plain, self.differences = (Attention(width, heads, dropout) for _ in range(2))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(4))
        self.forth = nn.ModuleList(feed_forward(width, 2 * width, dropout) for _ in range(2))
        self.query = nn.Conv2d(width, width, 3, padding=1) if texture else None
        self.key, self.value = (PixelDifference(width) if texture else nn.Identity() for _ in range(2))
        self.side, self.faithful = side, faithful

    def forward(self, x: Tensor, y: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        a, b = self.norms[0](x) + positions, self.norms[1](y)
        x = x + self.plain(a, a, self.norms[0](x))
        if self.query is None:
            y = y + self.differences(b + positions, b + positions, b)
        else:
            maps = as_maps(b, self.side, self.faithful)
            q, k, v = (m(maps).flatten(2).transpose(1, 2) for m in (self.query, self.key, self.value))
            y = y + self.differences(q, k, v)
        return x + self.forth[0](self.norms[2](x)), y + self.forth[1](self.norms[3](y))


class _DecoderLayer(nn.Module):
    """Attention to the tokens before; to the fused, the plain and the texture stream at once; a perceptron."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.own = Attention(width, heads, dropout)
        self.cross = nn.ModuleList(Attention(width, heads, dropout) for _ in range(3))
        self.fuse = nn.Sequential(
            *(nn.Linear(2 * width, 2 * width), nn.LayerNorm(2 * width), nn.ReLU()),
            *(nn.Linear(2 * width, width), nn.LayerNorm(width)),
        )
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(6))
        self.forth = feed_forward(width, 2 * width, dropout)

    def forward(self, z: Tensor, x: Tensor, y: Tensor, mask: Tensor, bias: Tensor | None) -> Tensor:
        a = self.norms[0](z)
        z = z + self.own(a, a, a, mask)
        a = self.norms[1](z)
        sources = (self.fuse(torch.cat([x, y], 2)), x, y)
        read = [
            norm(z + cross(a, source, source, bias))
            for norm, cross, source in zip(self.norms[2:5], self.cross, sources, strict=False)
        ]
        z = torch.stack(read).sum(0)
        return z + self.forth(self.norms[5](z))  # type: ignore[no-any-return]


class _Down(nn.Sequential):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(nn.Conv2d(a, b, 3, 2, 1), nn.BatchNorm2d(b), nn.LeakyReLU())


class _Up(nn.Sequential):
    def __init__(self, a: int, b: int) -> None:
        super().__init__(nn.Upsample(scale_factor=2), nn.Conv2d(a, b, 3, padding=1), nn.BatchNorm2d(b), nn.LeakyReLU())
