"""SLADD: a small policy chooses which blends of real faces the detector finds hardest, and the detector says how each
was made.

The idea in three sentences. Which region is blended, in which way and how strongly can be chosen for each pair of
faces, and the hardest choices teach the most. A policy network draws them and is rewarded by the detector's loss
(REINFORCE), so that it plays against it. The detector answers not only real or fake but also where, which way and how
strongly, for a forgery that is understood is told from others by what all have in common.

Chen et al.: "Self-supervised Learning of Adversarial Example: Towards Good Generalizations for Deepfake Detection",
CVPR 2022, arXiv 2203.12208. Weights as DeepfakeBench notes them: 0.1 of the map, 0.05 of the kind (AM-softmax), 0.1 of
the ratio, entropy 1e-5. Formulas from memory.

Where it differs from the paper. Blends are made on the device: an alpha blend, one after the colours were matched, one
of fine detail alone; Poisson's solver is left out. A reference is another real face of the batch. Regions are drawn
from five points with a standard face over them (`points: true`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import cv2
import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.data.landmarks import LEFT_BROW, LEFT_EYE, MOUTH, NOSE, RIGHT_BROW, RIGHT_EYE, Landmarks, filled, from_five
from unmask.errors import RecipeError, UnmaskError
from unmask.nn.angular import am_softmax
from unmask.nn.contrastive import cosines
from unmask.nn.convnets import ConvNet
from unmask.types import Floats

CARD = {
    "title": "SLADD (adversarial self-supervised blends)",
    "paper": "Chen et al., CVPR 2022, arXiv 2203.12208",
    "task": "one aligned face -> real or fake, and where, how and how strongly it was blended",
    "evidence": "spatial network",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0; the authors' code was not read",
    "verified": "blends, the policy's gradient and the terms by hand; formulas from memory, no weights or tables",
    "small": {"network": "tiny-xception", "size": 32},
}

CUTS = {"xception": "block7", "small-resnet": "layer3", "tiny-xception": "blocks.0"}  # the map is drawn from there
EYES, BROWS = (RIGHT_EYE, LEFT_EYE), (RIGHT_BROW, LEFT_BROW)
REGIONS = (EYES, BROWS, (NOSE,), (MOUTH,), (*EYES, *BROWS), (NOSE, MOUTH), (*EYES, *BROWS, NOSE), ())  # () = the face
KINDS = ("alpha", "colour", "detail")
RATIOS = (0.25, 0.5, 0.75, 1.0)


@dataclass(frozen=True)
class Choice:
    """Of each blend the region, the kind and the ratio, as indices (N,), and log P of all three."""

    region: Tensor
    kind: Tensor
    ratio: Tensor
    log_p: Tensor
    entropy: Tensor


class SLADD(Detector):
    """Xception with four heads, and a policy; L = CE + `drawing` MSE + `kind` AM-softmax + `ratio` L1 + policy."""

    def __init__(
        self,
        network: Literal["xception", "small-resnet", "tiny-xception"] = "xception",
        size: int = 256,
        drawing: float = 0.1,
        kind: float = 0.05,
        ratio: float = 0.1,
        entropy: float = 1e-5,
        margin: float = 0.4,
        scale: float = 30.0,
    ) -> None:
        """
        Args:
            size: side of the crop, pixels.
            drawing, kind, ratio: weights of what is said about a forgery.
            entropy: weight by which the policy is kept from one choice.
            margin, scale: of AM-softmax.
        """
        super().__init__()
        self.body = ConvNet(network)
        self.input, self.cut = self.body.input(size), CUTS[network]
        wide = self.body.features
        self.head = nn.Linear(wide, len(self.classes))
        self.draw = nn.Conv2d(self.body.width(self.cut), 1, 1)
        self.kinds, self.strength = nn.Linear(wide, 1 + len(KINDS), bias=False), nn.Linear(wide, 1)
        self.policy = _Policy()
        self.weights = {"drawing": drawing, "kind": kind, "ratio": ratio}
        self.entropy, self.margin, self.scale = entropy, margin, scale

    def forward(self, image: Tensor) -> Output:
        return self._seen(image)[0]

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Raises: UnmaskError for a batch that does not say where the faces' points lie."""
        if batch.points is None:
            raise RecipeError("sladd blends regions of a face: set points: true in the recipe")
        real = torch.nonzero(batch.label == 0)[:, 0]
        if len(real) < 2:
            return {"cls": cross_entropy(self(batch.image).logits, batch)}
        target, reference = batch.image[real], batch.image[real.roll(1)]
        choice = self.policy(target, reference)
        mask = region_masks(batch.points[real], batch.image.shape[-1])[torch.arange(len(real)), choice.region]
        made = blended(target, reference, mask, choice.kind, _ratio(choice))
        label = torch.cat([batch.label, torch.ones_like(real)])
        out, drawn = self._seen(torch.cat([batch.image, made]))
        each = F.cross_entropy(out.logits, label, reduction="none")
        stored = torch.full_like(batch.image[:, 0], float("nan")) if batch.mask is None else batch.mask
        stored = torch.where((batch.label == 0)[:, None, None], 0, stored)
        where = torch.cat([stored, mask * _ratio(choice)[:, None, None]])
        found = {
            "drawing": known_error(F.interpolate(drawn, where.shape[-2:], mode="bilinear")[:, 0].sigmoid(), where),
            "kind": self._kind(out.features, batch.label, choice),
            "ratio": (self.strength(out.features[len(batch.label) :])[:, 0].sigmoid() - _ratio(choice)).abs().mean(),
        }
        counts = torch.ones_like(batch.label) if batch.weigh is None else batch.weigh(out.logits[: len(batch.label)])
        counts = torch.cat([counts, counts[real]])  # what was made counts as the face that it was made from
        terms = {"cls": (counts * each).mean()} | {name: self.weights[name] * term for name, term in found.items()}
        return terms | {"policy": policy_loss(choice, each[len(batch.label) :].detach(), self.entropy)}

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights in timm's layout, see `unmask.nn.convnets`."""
        self.body.load_pretrained(weights)

    def _seen(self, image: Tensor) -> tuple[Output, Tensor]:
        """The answer, and the drawn map's logits (B, 1, h, w)."""
        maps = self.body.run(self.body.normalised(image), until=self.cut)
        features = self.body.run(maps, self.cut).mean((2, 3))
        return Output(self.head(features), features), self.draw(maps)

    def _kind(self, features: Tensor, label: Tensor, choice: Choice) -> Tensor:
        """AM-softmax of real faces (kind 0) and blends; how stored forgeries were made is not known."""
        truth = torch.cat([torch.where(label == 0, 0, -1), 1 + choice.kind])
        cosine = cosines(features, self.kinds.weight)[truth >= 0]
        return am_softmax(cosine, truth[truth >= 0], self.margin, self.scale)


class _Policy(nn.Module):
    """Two faces -> a choice of region, kind and ratio, drawn in training."""

    def __init__(self, width: int = 16) -> None:
        super().__init__()
        self.look = nn.Sequential(
            *(nn.AdaptiveAvgPool2d(32), nn.Conv2d(6, width, 3, 2, 1), nn.ReLU()),
            *(nn.Conv2d(width, width, 3, 2, 1), nn.ReLU(), nn.AdaptiveAvgPool2d(1), nn.Flatten()),
        )
        self.say = nn.ModuleList(nn.Linear(width, len(of)) for of in (REGIONS, KINDS, RATIOS))

    def forward(self, target: Tensor, reference: Tensor) -> Choice:
        seen = self.look(torch.cat([target, reference], 1))
        drawn = [torch.distributions.Categorical(logits=say(seen)) for say in self.say]
        picked = [one.sample() for one in drawn]
        log_p = torch.stack([one.log_prob(at) for one, at in zip(drawn, picked, strict=True)]).sum(0)
        region, kind, ratio = picked
        return Choice(region, kind, ratio, log_p, torch.stack([one.entropy() for one in drawn]).sum(0))


def _ratio(choice: Choice) -> Tensor:
    return torch.tensor(RATIOS, device=choice.ratio.device)[choice.ratio]


def policy_loss(choice: Choice, reward: Tensor, entropy: float) -> Tensor:
    """-mean of log P (reward - its mean) - entropy H: choices on which the detector errs more become likelier.

    Williams, "Simple Statistical Gradient-Following Algorithms", 1992. `reward` (N,) has no gradient.
    """
    return -(choice.log_p * (reward - reward.mean())).mean() - entropy * choice.entropy.mean()


def blended(target: Tensor, reference: Tensor, mask: Tensor, kind: Tensor, ratio: Tensor) -> Tensor:
    """target + ratio M (source - target), the source being the reference in one of three ways.

    alpha: as it is; colour: with the target's mean and deviation of each colour within the mask; detail: the target's
    coarse image and the reference's fine one (what a blur of 9 pixels takes away).

    Args:
        target, reference: (N, 3, H, W) in 0..1; mask: (N, H, W) in 0..1; kind: (N,) of `KINDS`; ratio: (N,) in 0..1.
    """
    weight = mask[:, None]
    coarse_target, coarse = (F.avg_pool2d(x, 9, 1, 4, count_include_pad=False) for x in (target, reference))
    ways = torch.stack([reference, _matched(reference, target, weight), coarse_target + reference - coarse])
    source = ways.gather(0, kind.view(1, -1, 1, 1, 1).expand(1, *target.shape))[0]
    return (target + ratio.view(-1, 1, 1, 1) * weight * (source - target)).clamp(0, 1)


def _matched(reference: Tensor, target: Tensor, weight: Tensor) -> Tensor:
    total = weight.sum((2, 3), keepdim=True).clamp_min(1e-6)

    def moments(x: Tensor) -> tuple[Tensor, Tensor]:
        mean = (x * weight).sum((2, 3), keepdim=True) / total
        return mean, (((x - mean).square() * weight).sum((2, 3), keepdim=True) / total + 1e-6).sqrt()

    (mean, spread), (wanted, wide) = moments(reference), moments(target)
    return (reference - mean) / spread * wide + wanted


def region_masks(points: Tensor, side: int) -> Tensor:
    """Soft masks of `REGIONS` from five points of each face (N, 5, 2), pixels -> (N, regions, side, side) in 0..1.

    A face whose points are not known is one region, all of the crop.
    """
    return torch.from_numpy(np.stack([_masks(five, side) for five in points.cpu().numpy()])).to(points.device)


def _masks(five: Floats, side: int) -> Floats:
    whole = np.ones((len(REGIONS), side, side), np.float32)
    if np.isnan(five).any():
        return whole
    try:
        face = from_five(five)
    except UnmaskError:
        return whole
    kernel = side // 16 | 1
    soft = [cv2.GaussianBlur(_region(face, of, side), (kernel, kernel), 0) for of in REGIONS]
    return np.asarray(soft, np.float32)


def _region(face: Landmarks, organs: tuple[tuple[int, ...], ...], side: int) -> Floats:
    if not organs:
        return filled(face.outline, side)
    return np.asarray(np.max([filled(face.at(organ), side) for organ in organs], 0), np.float32)


def known_error(drawn: Tensor, target: Tensor) -> Tensor:
    """Mean squared error where the target is not NaN; 0 where nothing is known."""
    known = ~target.isnan()
    return ((drawn - target.nan_to_num()).square() * known).sum() / torch.clamp(known.sum(), min=1)
