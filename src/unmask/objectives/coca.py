"""CoCa: a text decoder in two halves: the first makes an embedding for CLIP's loss, the second writes captions.

The idea in three sentences. The first half of the decoder reads the caption without the image, and a token behind the
caption becomes the text embedding. The second half looks at the image's tokens too, and predicts the caption word by
word. Both losses come from one forward pass.

Yu et al.: "CoCa: Contrastive Captioners are Image-Text Foundation Models", TMLR 2022, arXiv 2205.01917. Otherwise than
there: one attention pools the image for both losses (query 0 for the embedding, the others for captions), where the
paper has two in a row.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from unmask.base.image_text import ImageText
from unmask.base.objective import Views
from unmask.data.tokens import END, START
from unmask.errors import InputError
from unmask.nn.captioning import AttentionPool, CrossDecoder, caption_loss, greedy
from unmask.nn.contrastive import Temperature, paired_nce
from unmask.nn.text import TextSpec, TextTransformer
from unmask.nn.two_towers import image_tokens, width

CARD = {
    "title": "CoCa (contrastive captioner)",
    "paper": "Yu et al., TMLR 2022, arXiv 2205.01917",
    "task": "images with captions -> an image and a text encoder, and a writer of captions",
    "licence": "Apache-2.0; written from the paper, no code or weights of others",
    "verified": "both losses equal open_clip's; causality; no caption was scored, no number of the paper",
    "small": {
        "network": "tiny-resnet", "size": 64, "dim": 16, "queries": 4, "depth": 1,
        "text": {"width": 16, "depth": 1, "heads": 2, "length": 40},
    },
}  # fmt: skip


class CoCa(ImageText):
    """Image encoder, attention pool, text decoder in two halves; contrastive and captioning loss."""

    def __init__(
        self,
        network: str = "clip-vit-b-16",
        size: int = 224,
        dim: int = 512,
        text: TextSpec = TextSpec(width=512, depth=12, heads=8, length=76),  # noqa: B008 - it is frozen
        queries: int = 256,
        depth: int = 12,
        temperature: float = 0.07,
        contrastive: float = 1.0,
        captioning: float = 2.0,
    ) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets` or `unmask.nn.backbones`.
            size: side of the image, pixels.
            dim: width of the joint space.
            text: the unimodal half, a causal transformer of ours.
            queries: tokens of an image that captions look at.
            depth: blocks of the multimodal half, as wide as the unimodal one.
            temperature: at the start; it is learnt.
            contrastive, captioning: weights of both losses; 0 leaves one out.
        Raises: UnmaskError for a published text encoder, which is no causal decoder.
        """
        super().__init__(network, size, text, dim)
        body = self.towers.text.body
        if not isinstance(body, TextTransformer):
            raise InputError('CoCa trains a decoder of its own: leave text.encoder at "transformer"')
        self.unimodal, self.weights = [body], (contrastive, captioning)  # in a list: `towers` holds it already
        self.cls = nn.Parameter(torch.randn(1, text.width) * 0.01)
        self.pool = AttentionPool(width(self.towers.image), text.width, queries + 1, text.heads)
        self.towers.image_head = nn.Linear(text.width, dim, bias=False)
        self.decoder = CrossDecoder(text.width, depth, text.heads, self.towers.text.tokeniser.size)
        self.temperature = Temperature(temperature)
        if not contrastive:  # what nothing teaches stays as it is
            for part in (self.towers.image_head, self.towers.text_head, self.temperature):
                part.requires_grad_(False)
            self.cls.requires_grad_(False)
        if not captioning:
            self.decoder.requires_grad_(False)

    @property
    def pair(self) -> None:
        """Embeddings need the pool and the token behind the caption: measure the run itself."""

    def seen(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """(B, 3, S, S) -> the embedding's token (B, D), and those for captions (B, queries, D)."""
        pooled = self.pool(image_tokens(self.towers.image, image))
        return pooled[:, 0], pooled[:, 1:]

    def said(self, ids: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens (B, L) -> the embedding's state (B, D), and those of the caption (B, L, D), which do not see it."""
        states = self.unimodal[0](ids, mask, True, self.cls)
        return states[:, -1], states[:, :-1]

    def forward(self, image: Tensor) -> Tensor:
        found: Tensor = self.towers.image_head(self.seen(image)[0])
        return found

    def read(self, texts: Sequence[str]) -> Tensor:
        found: Tensor = self.towers.text_head(self.said(*self.towers.text.tokens(texts))[0])
        return found

    def loss(self, batch: Views) -> dict[str, Tensor]:
        image, texts = self.first(batch)
        ids, mask = self.towers.text.tokens(texts)
        (one, tokens), (cls, states) = self.seen(image), self.said(ids, mask)
        contrastive, captioning = self.weights
        terms = {}
        if contrastive:
            one, other = self.towers.image_head(one), self.towers.text_head(cls)
            terms["contrastive"] = contrastive * paired_nce(one, other, self.temperature.scale)
        if captioning:
            terms["captioning"] = captioning * caption_loss(self.decoder(states, tokens), ids, mask)
        return terms

    @torch.no_grad()
    def captions(self, image: Tensor) -> list[str]:
        """What the decoder writes, the likeliest word after each word. `image` as in a call."""
        tokeniser = self.towers.text.tokeniser
        start, end = tokeniser.number(START), tokeniser.number(END)
        _, tokens = self.seen(image)

        def logits(ids: Tensor) -> Tensor:
            found: Tensor = self.decoder(self.said(ids, torch.ones_like(ids, dtype=torch.bool))[1], tokens)
            return found

        found = greedy(logits, len(image), start, end, self.towers.text.spec.length, str(image.device))
        return [tokeniser.text(row) for row in found.tolist()]
