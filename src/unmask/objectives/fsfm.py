"""FSFM: a plain ViT learns faces by filling in hidden regions of real ones.

The idea in three sentences. A mask hides one facial region wholly and of each other region its proportional share
(CRFR-P), so that what is hidden can be told from the region's own rest, and from the other regions, but not from
nearby pixels of the same part. An online encoder sees the rest, and a decoder paints the hidden patches. A momentum
encoder sees the whole face, and the online one's summary of the masked face must predict its summary: the mask then
also teaches what face it is.

Wang et al.: "FSFM: A Generalizable Face Security Foundation Model via Self-Supervised Facial Representation Learning",
CVPR 2025, arXiv 2412.12032. Regions are the authors' groups of FACER's classes (`unmask.data.parsing`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from unmask.base.method import Engine
from unmask.base.objective import Objective, Views
from unmask.data.landmarks import Landmarks, aligned, from_five
from unmask.data.parsing import CLASSES, parsing
from unmask.errors import InputError, UnmaskError
from unmask.faces.landmarker import landmarks
from unmask.nn.backbones import Encoder, load
from unmask.nn.heads import head as perceptron
from unmask.nn.momentum import MomentumEncoder, cosine_momentum
from unmask.nn.patches import patches, patchify, reconstruction, restore, take, visible
from unmask.nn.positions import sine_cosine
from unmask.nn.predictive import negative_cosine
from unmask.nn.token_decoder import TokenDecoder
from unmask.types import Face, Floats, Pixels

CARD = {
    "title": "FSFM (face security foundation model)",
    "paper": "Wang et al., CVPR 2025, arXiv 2412.12032",
    "task": "one real face -> an encoder that fills in its hidden regions",
    "licence": "Apache-2.0; published weights and the authors' code are CC BY-NC 4.0, not used",
    "verified": "masks over 1,000 maps, losses by hand, the published layout by names; no published weights or tables",
    "small": {"backbone": "tiny-fsfm", "decoder": (1, 64, 4), "summary": (1, 4), "head": (64, 16), "regions": "five"},
}

GROUPS: dict[str, tuple[str, ...]] = {  # in the order in which they take their patches
    "brows": ("right brow", "left brow"),
    "eyes": ("right eye", "left eye"),
    "nose": ("nose",),
    "mouth": ("upper lip", "inner mouth", "lower lip"),
    "boundary": (),  # patches with skin and with hair or background
    "hair": ("hair",),
    "skin": ("skin",),
    "background": ("background",),
}
COVERABLE = ("brows", "eyes", "nose", "mouth", "boundary", "hair")


def patch_regions(parsing: Tensor, patch: int) -> Tensor:
    """Which groups each patch has a pixel of.

    Args:
        parsing: (B, S, S), indices into `unmask.data.parsing.CLASSES`.
    Returns: bool (B, 8, N), groups in the order of `GROUPS`.
    """
    each = parsing[:, None] == torch.arange(len(CLASSES), device=parsing.device).view(-1, 1, 1)
    has = dict(zip(CLASSES, patches(each, patch).flatten(3).any(3).unbind(2), strict=True))
    boundary = has["skin"] & (has["hair"] | has["background"])
    groups = [torch.stack([has[c] for c in classes]).any(0) if classes else boundary for classes in GROUPS.values()]
    return torch.stack(groups, 1)


def crfr_p(
    regions: Tensor, covered: int, ratio: float, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Cover one region, and mask the others in proportion (CRFR-P).

    The covered region is masked wholly. What remains of the budget is rho = n / (N - covered patches) of the patches
    left; each other group, in their order, masks round(rho count) of its patches that no group before it took. Random
    patches outside the covered region make up for the rounding. A covered region above the budget keeps a random part.

    Args:
        regions: bool (B, G, N).
        covered: index of the group that is covered in all images of the batch.
        ratio: share of the patches that are masked; their number is int(ratio N).
        generator: of the CPU.
    Returns: bool (B, N), True = masked; bool (B, N), the masked patches of the covered region.
    Raises: UnmaskError for a ratio that masks no patch or all.
    """
    batch, _, count = regions.shape
    budget = int(ratio * count)
    if not 0 < budget < count:
        raise InputError(
            f"a mask ratio of {ratio} masks {budget} of {count} patches: at least one must be, one must not"
        )
    region = regions[:, covered]
    taken, mask = region.clone(), region.clone()
    left = (count - region.sum(1)).clamp(min=1)
    rho = (budget - region.sum(1)).clamp(min=0) / left
    for other in (g for g in range(regions.shape[1]) if g != covered):
        open_ = regions[:, other] & ~taken
        mask |= open_ & (_rank(open_, generator) < (rho * open_.sum(1)).round()[:, None])
        taken |= open_
    # Exactly the budget: the covered region first, then what was masked in proportion, then any other patch.
    order = torch.rand(batch, count, generator=generator).to(regions.device) + mask + region
    mask = torch.zeros_like(mask).scatter(1, order.topk(budget).indices, True)
    return mask, mask & region


def _rank(among: Tensor, generator: torch.Generator | None) -> Tensor:
    """A random order of the True places of each row, from 0; the others come after them."""
    score = torch.rand(among.shape, generator=generator).to(among.device) + ~among
    return score.argsort(1).argsort(1)


def discrimination(predicted: Tensor, target: Tensor) -> Tensor:
    """-1/2 mean cosine, in -0.5..0.5; no gradient flows to `target`. Both (B, D), of any length."""
    return 0.5 * negative_cosine(predicted, target)


class _Branch(nn.Module):
    """Encoder and summary; the momentum network is a copy of it."""

    def __init__(self, backbone: str, summary: tuple[int, int], widths: tuple[int, int]) -> None:
        super().__init__()
        self.encoder = Encoder(backbone)
        body: Any = self.encoder.body
        count, width = body.pos_embed.shape[1:]
        self.side = round((count - 1) ** 0.5)
        self.mask_token = nn.Parameter(torch.randn(width) * 0.02)
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.rep_decoder = TokenDecoder(width, width, *summary, width, self.side)
        self.projector = perceptron([width, *widths], norm="layer")
        self.apply(_xavier)
        body.pos_embed.requires_grad_(False).copy_(sine_cosine(width, self.side)[None])
        body.fc_norm.requires_grad_(False)  # of the pooled feature, for detectors

    def tokens(self, image: Tensor, index: Tensor) -> Tensor:
        """(B, 3, S, S) in 0..1 and the places to look at (B, V) -> (B, 1 + V, D): class token, then those places."""
        body: Any = self.encoder.body  # timm's modules carry no types
        seen = body.patch_embed(self.encoder.normalised(image)) + body.pos_embed[:, 1:]
        start = (body.cls_token + body.pos_embed[:, :1]).expand(len(image), -1, -1)
        tokens: Tensor = self.norm(body.blocks(torch.cat([start, take(seen, index)], 1)))
        return tokens

    def summary(self, tokens: Tensor, index: Tensor) -> Tensor:
        """(B, 1 + V, D) -> (B, K): the mean of all places, read by a small decoder, and projected."""
        embedded = self.rep_decoder.embed(tokens)
        projected: Tensor = self.projector(self.rep_decoder(self.filled(embedded, index)).mean(1))
        return projected

    def filled(self, tokens: Tensor, index: Tensor) -> Tensor:
        """Mask tokens at the places that were not seen: (B, 1 + N, D)."""
        return torch.cat([tokens[:, :1], restore(tokens[:, 1:], index, self.side**2, self.mask_token)], 1)

    def forward(self, image: Tensor) -> Tensor:
        """The summary of the whole image."""
        index = torch.arange(self.side**2, device=image.device).expand(len(image), -1)
        return self.summary(self.tokens(image, index), index)


def _xavier(module: nn.Module) -> None:
    """MAE's start of linear layers."""
    if isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
        nn.init.zeros_(module.bias)


class FSFM(Objective):
    """L = reconstruction + `region` reconstruction of the covered region + `discrimination`, the cosine of summaries.

    It learns from images as they are, aligned and not cropped: the regions lie where the alignment puts the face.
    """

    def __init__(
        self,
        backbone: Literal["fsfm-vit-s-16", "fsfm-vit-b-16", "fsfm-vit-l-16", "tiny-fsfm"] = "fsfm-vit-b-16",
        mask: Literal["crfr-p", "random"] = "crfr-p",
        ratio: float = 0.75,
        regions: Literal["landmarks", "five"] = "landmarks",
        region: float = 0.007,
        discrimination: float = 0.1,
        momentum: float = 0.996,
        decoder: tuple[int, int, int] = (8, 512, 16),
        summary: tuple[int, int] = (2, 16),
        head: tuple[int, int] = (4096, 256),
    ) -> None:
        """
        Args:
            mask: "random" hides any patches: the control.
            regions: where the landmarks of a face come from: the landmarker, or "five", the standard face over the five
                points that the alignment puts at fixed places.
            momentum: of the target at the start; it rises to 1 over the run by a cosine.
            decoder: blocks, width and heads of what paints the patches.
            summary: blocks and heads of what reads the summary.
            head: widths of projector and predictor, inner and outer.
        """
        super().__init__()
        self.online = _Branch(backbone, summary, head)
        self.target = MomentumEncoder(self.online)
        kind, side = self.online.encoder.kind, self.online.side
        self.patch = kind.size // side
        depth, width, heads = decoder
        self.painter = TokenDecoder(kind.features, width, depth, heads, 3 * self.patch**2, side)
        self.predictor = perceptron([head[1], *head], norm="layer")
        for part in (self.painter, self.predictor):
            part.apply(_xavier)
        self.input = kind.input
        self.mask, self.ratio, self.regions, self.start = mask, ratio, regions, momentum
        self.weights = {"reconstruction": 1.0, "region": region, "discrimination": discrimination}

    @property
    def encoder(self) -> Encoder:
        return self.online.encoder

    def loss(self, batch: Views) -> dict[str, Tensor]:
        """Of the first view."""
        image = batch.images[0]
        mask, covered = self.masks(image)
        index = visible(mask)
        tokens = self.online.tokens(image, index)
        painted = self.painter(self.painter.embed(self.online.filled(tokens, index)))[:, 1:]
        pixels = patchify(self.encoder.normalised(image), self.patch)
        found = {
            "reconstruction": reconstruction(painted, pixels, mask),
            "region": reconstruction(painted, pixels, covered),
            "discrimination": discrimination(self.predictor(self.online.summary(tokens, index)), self.target(image)),
        }
        return {name: self.weights[name] * term for name, term in found.items()}

    def updated(self, engine: Engine) -> None:
        self.target.follow(self.online, cosine_momentum(self.start, engine.done))

    def load_pretrained(self, weights: Path) -> None:
        """An encoder's file, for the target too."""
        load(self.encoder, weights)
        self.target.follow(self.online, 0)

    def masks(self, image: Tensor) -> tuple[Tensor, Tensor]:
        """What is hidden of each image, and what of it is the covered region; bool (B, N) both."""
        count = self.online.side**2
        if self.mask == "random":
            everything = torch.ones(len(image), 1, count, dtype=torch.bool, device=image.device)
            mask, _ = crfr_p(everything, 0, self.ratio)
            return mask, mask & False
        regions = patch_regions(self.parsed(image), self.patch)
        return crfr_p(regions, int(torch.randint(len(COVERABLE), ())), self.ratio)

    def parsed(self, image: Tensor) -> Tensor:
        """The parsing maps of aligned faces, (B, S, S)."""
        size, five = self.input.size, aligned(self.input)
        if self.regions == "five":
            return torch.from_numpy(parsing(from_five(five), size)).to(image.device).expand(len(image), -1, -1)
        pixels = (image.float() * 255).round().byte().permute(0, 2, 3, 1).cpu().numpy()
        maps = [parsing(_landmarks(np.ascontiguousarray(p), five), size) for p in pixels]
        return torch.from_numpy(np.stack(maps)).to(image.device)


def _landmarks(image: Pixels, five: Floats) -> Landmarks:
    """What the landmarker sees, or the standard face where it sees none."""
    try:
        return Landmarks(landmarks(image, Face(0, 0.0, (0.0, 0.0, 1.0, 1.0), five, 1.0)))  # it looks at the five alone
    except UnmaskError:
        return from_five(five)
