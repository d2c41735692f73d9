"""CLOSE: learn to write from the embeddings of texts, and write of images, whose embeddings lie nearby.

The idea in three sentences. Frozen encoders put an image and its caption near each other, but not at one place. A
decoder learns to write a caption from the caption's own embedding, which needs no image at all. Noise, or a map fitted
to pairs, is laid over that embedding while training, so that image embeddings are no surprise later.

Gu, Clark and Kembhavi: "I Can't Believe There's No Images! Learning Visual Tasks Using Only Language Supervision", ICCV
2023, arXiv 2211.09778. Otherwise than there: the decoder is a small transformer, not T5.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.objective import Modality, Objective, Views
from unmask.data.tokens import END, START
from unmask.errors import InputError
from unmask.nn.captioning import CrossDecoder, caption_loss, greedy
from unmask.nn.precision import full
from unmask.nn.text import TextSpec
from unmask.nn.two_towers import TwoTowers, load

CARD = {
    "title": "CLOSE (cross-modal transfer on semantic embeddings)",
    "paper": "Gu, Clark and Kembhavi, ICCV 2023, arXiv 2211.09778",
    "task": "captions, and two frozen encoders -> a writer that is asked about images",
    "licence": "Apache-2.0; the authors' code is Apache-2.0, not used, and their weights are not loaded",
    "verified": "adapters by hand; which adapter helps on encoders of drawn scenes; no number of the paper",
    "small": {
        "network": "tiny-resnet", "size": 32, "dim": 16, "width": 16, "depth": 1, "heads": 2,
        "text": {"width": 16, "depth": 1, "heads": 2, "length": 40},
    },
}  # fmt: skip
Adapter = Literal["none", "noise", "mean", "random", "linear", "covariance"]
COVARIANCE = 3.0  # the authors' factor on a sample of the differences' covariance


def noised(text: Tensor, size: float) -> Tensor:
    """Unit vectors (N, D) plus size times standard normal noise, of length 1 again; the noise has a length of about
    size sqrt(D)."""
    return F.normalize(text + size * torch.randn_like(text), dim=1)


def shift_of(image: Tensor, text: Tensor) -> Tensor:
    """(D,) from the mean of the texts to that of the images. Args: unit vectors (N, D)."""
    return F.normalize(full(image), dim=1).mean(0) - F.normalize(full(text), dim=1).mean(0)


def linear_of(image: Tensor, text: Tensor) -> Tensor:
    """(D + 1, D): least squares from a text's unit vector, and 1, to that of its image."""
    x, y = F.normalize(full(text), dim=1), F.normalize(full(image), dim=1)
    found: Tensor = torch.linalg.lstsq(F.pad(x, (0, 1), value=1.0), y).solution
    return found


def root_of(image: Tensor, text: Tensor) -> Tensor:
    """(D, D) R with R^T R = the covariance of image - text of the same pairs."""
    difference = F.normalize(full(image), dim=1) - F.normalize(full(text), dim=1)
    values, vectors = torch.linalg.eigh(torch.cov(difference.T))
    root: Tensor = values.clamp_min(0).sqrt()[:, None] * vectors.T
    return root


class Bridge(nn.Module):
    """Text vectors -> what image vectors may look like. In evaluation nothing is laid over: images come as they are."""

    roles: ClassVar = {"": "frozen"}

    shift: Tensor
    linear: Tensor
    root: Tensor

    def __init__(self, kind: Adapter, dim: int, noise: float = 0.08, length: float = 1.0) -> None:
        """
        Args:
            noise: size of the noise, of every kind but "none".
            length: of the random shift, and factor on the mean shift.
        """
        super().__init__()
        self.kind, self.noise, self.length = kind, noise, length
        start = F.normalize(torch.randn(dim), dim=0) if kind == "random" else torch.zeros(dim)
        self.register_buffer("shift", start)
        self.register_buffer("linear", torch.zeros(dim + 1, dim))
        self.register_buffer("root", torch.zeros(dim, dim))
        self.fitted = kind in ("none", "noise", "random")

    @torch.no_grad()
    def fit(self, image: Tensor, text: Tensor) -> None:
        """From pairs (N, D), which are no part of the training."""
        self.shift.copy_(self.shift if self.kind == "random" else shift_of(image, text))
        self.linear.copy_(linear_of(image, text))
        self.root.copy_(root_of(image, text))
        self.fitted = True

    def forward(self, text: Tensor) -> Tensor:
        """(N, D) of any lengths -> (N, D) unit vectors. Raises: UnmaskError for a kind that was not fitted to pairs."""
        v = F.normalize(full(text), dim=1)
        if not self.training or self.kind == "none":
            return v
        if not self.fitted and not self.linear.any():
            raise InputError(
                f'the adapter "{self.kind}" is fitted to pairs: call fit(images, texts), or choose "noise"'
            )
        if self.kind == "linear":
            v = F.pad(v, (0, 1), value=1.0) @ self.linear
        elif self.kind != "noise":
            v = v + self.length * self.shift
        if self.kind == "covariance":
            v = v + COVARIANCE * torch.randn_like(v) @ self.root
        return noised(F.normalize(v, dim=1) if self.kind == "linear" else v, self.noise)


class CLOSE(Objective):
    """Two frozen encoders, an adapter on the text side, and a decoder of captions."""

    modalities: ClassVar[tuple[Modality, ...]] = ("image", "text")
    learns_from: ClassVar[tuple[Modality, ...]] = ("text",)

    def __init__(
        self,
        pair: str = "",
        network: str = "tiny-resnet",
        size: int = 64,
        dim: int = 512,
        text: TextSpec = TextSpec(),  # noqa: B008 - it is frozen
        adapter: Adapter = "noise",
        noise: float = 0.08,
        soft: int = 4,
        width: int = 256,
        depth: int = 4,
        heads: int = 4,
    ) -> None:
        """
        Args:
            pair: folder of two trained encoders, which `unmask export` wrote of an image-text run. Without one the
                sizes that follow make random ones: for tests alone.
            adapter, noise: see `Bridge`; the paper's noise is 0.08.
            soft: tokens that the decoder sees of an embedding.
            width, depth, heads: of the decoder.
        """
        super().__init__()
        self.towers = load(Path(pair)) if pair else TwoTowers(network, size, text, dim)
        self.towers.requires_grad_(False)
        self.towers.roles = {"": "frozen"}
        self.input, inside = self.towers.input, self.towers.image_head.out_features
        tokeniser = self.towers.text.tokeniser
        self.length = self.towers.text.spec.length
        self.bridge = Bridge(adapter, inside, noise)
        self.soft = nn.Sequential(nn.Linear(inside, soft * width), nn.Unflatten(1, (soft, width)))
        self.words = nn.Embedding(tokeniser.size, width)
        self.positions = nn.Parameter(torch.randn(self.length, width) * 0.01)
        self.decoder = CrossDecoder(width, depth, heads, tokeniser.size)

    @property
    def encoder(self) -> nn.Module:
        return self.towers.image

    def forward(self, image: Tensor) -> Tensor:
        return self.towers.images(image)

    def read(self, texts: Sequence[str]) -> Tensor:
        return self.towers.texts(texts)

    def train(self, mode: bool = True) -> CLOSE:
        """The encoders stay in evaluation."""
        super().train(mode)
        self.towers.eval()
        return self

    @torch.no_grad()
    def fit(self, images: Tensor, texts: Sequence[str]) -> None:
        """Fit the adapter to pairs of images and captions, which must not be those that it is tested on."""
        self.bridge.fit(self(images), self(texts))

    def loss(self, batch: Views) -> dict[str, Tensor]:
        """The first view is read; the last one is written (the same, or another caption of the image)."""
        if not batch.texts:
            raise InputError("CLOSE learns from captions or sentences, and this batch has none")
        with torch.no_grad():
            vector = self.read(batch.texts[0])
        ids, mask = self.towers.text.tokens(batch.texts[-1] if len(batch.texts) == 2 else batch.texts[0])
        return {"captioning": caption_loss(self.logits(self.bridge(vector), ids), ids, mask)}

    def logits(self, vector: Tensor, ids: Tensor) -> Tensor:
        """Unit vectors (B, D) and token numbers (B, L) -> (B, L, V)."""
        states = self.words(ids) + self.positions[: ids.shape[1]]
        found: Tensor = self.decoder(states, self.soft(vector))
        return found

    @torch.no_grad()
    def captions(self, given: Tensor | Sequence[str]) -> list[str]:
        """What the decoder writes of images, or of sentences. In evaluation mode."""
        vector, tokeniser = F.normalize(full(self(given)), dim=1), self.towers.text.tokeniser
        start, end = tokeniser.number(START), tokeniser.number(END)
        device = str(vector.device)
        found = greedy(lambda ids: self.logits(vector, ids), len(vector), start, end, self.length, device)
        return [tokeniser.text(row) for row in found.tolist()]
