"""clip-rocket: CLIP with strong views of images and captions, heads of their own for them, and smoothed labels.

The idea in three sentences. Weak views meet in CLIP's loss as before; strongly augmented images and captions meet in a
second one, behind perceptrons of their own, with a scale of its own and smoothed labels. With this recipe, losses
without negatives that had helped CLIP before (SiamLIP, BYOLIP, BarLIP, SwALIP) help no more. They are here as `extra`.

Fini et al.: "Improved baselines for vision-language pre-training", TMLR 2023, arXiv 2305.08675. Otherwise than in the
authors' code: gathered embeddings carry their gradient, so that many processes learn what one does.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from unmask.base.image_text import ImageText
from unmask.base.method import Engine
from unmask.base.objective import Views
from unmask.errors import InputError
from unmask.nn.contrastive import Temperature, cosines, paired_nce, soft_cross_entropy
from unmask.nn.gather import gather
from unmask.nn.heads import head
from unmask.nn.momentum import MomentumEncoder
from unmask.nn.precision import full
from unmask.nn.predictive import negative_cosine
from unmask.nn.sinkhorn import sinkhorn
from unmask.nn.text import TextEncoder, TextSpec
from unmask.nn.two_towers import width

CARD = {
    "title": "clip-rocket (SiamLIP, BYOLIP, BarLIP, SwALIP)",
    "paper": "Fini et al., TMLR 2023, arXiv 2305.08675",
    "task": "weak and strong views of images and captions -> an image and a text encoder",
    "licence": "Apache-2.0; written from the paper's formulas, the authors' code is CC BY-NC 4.0 and was not used",
    "verified": "terms by hand; recipe and added losses on drawn scenes; no ImageNet number",
    "small": {
        "network": "tiny-resnet", "size": 32, "dim": 16, "hidden": 16,
        "text": {"width": 16, "depth": 1, "heads": 2, "length": 40, "dropout": 0.1},
    },
}  # fmt: skip
Extra = Literal["none", "siamlip", "byolip", "barlip", "swalip"]
Pairs = Sequence[tuple[Tensor, Tensor]]  # (of images, of captions)


def rocket_loss(weak: Tensor, strong: Tensor, views: int) -> Tensor:
    """(L_g + A L_l) / (1 + A), with A strong views of each image."""
    return (weak + views * strong) / (1 + views)


def siamlip_loss(predictions: Pairs, targets: Pairs) -> Tensor:
    """Mean over pairs and both directions of 2 - 2 cos(prediction of one modality, projection of the other): 0..4."""
    terms = []
    for (p_image, p_text), (z_image, z_text) in zip(predictions, targets, strict=True):
        terms += [negative_cosine(p_image, z_text), negative_cosine(p_text, z_image)]
    return 2 + 2 * torch.stack(terms).mean()


def barlip_loss(image: Tensor, text: Tensor, redundancy: float = 0.005) -> Tensor:
    """sum (1 - C_ii)^2 + redundancy sum over i != j of C_ij^2, with C = image^T text / N over all processes.

    Args:
        image, text: (N, D), normalised over the batch.
    """
    x, y = gather(full(image)), gather(full(text))
    with torch.autocast(x.device.type, enabled=False):
        c = x.T @ y / len(x)
    on = torch.diagonal(c)
    return (1 - on).square().sum() + redundancy * (c.square().sum() - on.square().sum())


def swalip_loss(
    images: Sequence[Tensor], texts: Sequence[Tensor], scale: Tensor | float, epsilon: float = 0.05
) -> Tensor:
    """Predict from one pair of views how the other pair's images were assigned to its captions, and captions to images.

    The embeddings of the other modality in the batch stand where SwAV has prototypes. For each pair (a, b) the target
    is Sinkhorn's assignment of the pair (1 - a, 1 - b).

    Args:
        images, texts: two views each, (N, D) of any lengths.
    """
    terms = []
    for a in range(2):
        for b in range(2):
            for one, other in ((images, texts), (texts, images)):
                i, j = (a, b) if one is images else (b, a)
                asked = cosines(one[i], gather(other[j]))
                seen = cosines(one[1 - i], gather(other[1 - j])).detach()
                terms.append(soft_cross_entropy(scale * asked, sinkhorn(seen, epsilon, 3, gather=gather)))
    return torch.stack(terms).mean()


class ClipRocket(ImageText):
    """The first view of images and captions is weak, the others are strong."""

    def __init__(
        self,
        network: str = "resnet-50",
        size: int = 224,
        dim: int = 256,
        text: TextSpec = TextSpec(dropout=0.1),  # noqa: B008 - it is frozen
        hidden: int = 4096,
        temperature: float = 0.07,
        local_temperature: float = 0.1,
        label_smoothing: float = 0.1,
        extra: Extra = "none",
        widths: tuple[int, int] = (0, 0),
        momentum: float = 0.99,
        predictor: bool = True,
    ) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets` or `unmask.nn.backbones`.
            size: side of the image, pixels.
            dim: width of the joint space.
            text: the text encoder; its dropout acts on strong captions alone.
            hidden: width of the heads of strong views.
            temperature, local_temperature: at the start, of weak and of strong views; they are learnt.
            label_smoothing: of strong views; SwALIP has none.
            extra: a further loss.
            widths: hidden and last width of its heads; 0 = the paper's: 2048 and 128, of BarLIP 3000 and 8192.
            momentum: of BYOLIP's teacher; 0 makes the teacher a copy.
            predictor: whether SiamLIP and BYOLIP predict; without, nothing keeps embeddings apart: a control.
        """
        super().__init__(network, size, text, dim)
        features = width(self.towers.image), self.towers.text.features
        self.local = nn.ModuleDict(
            {name: head((f, hidden, hidden, dim)) for name, f in zip(("image", "text"), features, strict=True)}
        )
        self.temperature, self.local_temperature = Temperature(temperature), Temperature(local_temperature)
        self.label_smoothing = 0.0 if extra == "swalip" else label_smoothing
        self.extra, self.momentum = extra, momentum
        self.projectors, self.predictors = nn.ModuleDict(), nn.ModuleDict()
        if extra in ("siamlip", "byolip", "barlip"):
            self._heads(features, widths, predictor)
        self.teacher = MomentumEncoder(self.student()) if extra == "byolip" else None

    def _heads(self, features: tuple[int, int], widths: tuple[int, int], predictor: bool) -> None:
        many = self.extra == "barlip"
        inner, last = (w or default for w, default in zip(widths, (3000, 8192) if many else (2048, 128), strict=True))
        for name, f in zip(("image", "text"), features, strict=True):
            layers = (f, inner, inner, last) if many else (f, inner, last)
            self.projectors[name] = head(layers, last_norm="batch" if many else "batch-plain")
            if not many:
                self.predictors[name] = head((last, inner, last)) if predictor else nn.Identity()

    def student(self) -> nn.ModuleDict:
        """What BYOLIP's teacher follows."""
        return nn.ModuleDict({"towers": self.towers, "projectors": self.projectors})

    def loss(self, batch: Views) -> dict[str, Tensor]:
        image, texts = self.first(batch)
        if len(batch.images) < 2 or len(batch.texts) < 2:
            raise InputError("clip-rocket needs a weak view, and strong ones, of images and of captions")
        weak, strong = (self.towers.features(image), without_dropout(self.towers.text, texts)), self.strong(batch)
        local = [self.local["image"](f) for f in strong[0]], [self.local["text"](f) for f in strong[1]]
        l_weak = paired_nce(self.towers.image_head(weak[0]), self.towers.text_head(weak[1]), self.temperature.scale)
        l_strong = torch.stack(
            [
                paired_nce(x, y, self.local_temperature.scale, label_smoothing=self.label_smoothing)
                for x in local[0]
                for y in local[1]
            ]
        ).mean()
        terms = {"clip": rocket_loss(l_weak, l_strong, len(local[0]))}
        if self.extra == "swalip":
            if not len(local[0]) == len(local[1]) == 2:
                raise InputError("SwALIP needs two strong views of images and of captions")
            terms["swalip"] = 0.2 * swalip_loss(*local, self.local_temperature.scale)
        elif self.extra != "none":
            every = [weak, *((x, y) for x in strong[0] for y in strong[1])]
            terms[self.extra] = self.further(every, batch)
        return terms

    def strong(self, batch: Views) -> tuple[list[Tensor], list[Tensor]]:
        """Features of the strong images, and of the strong captions."""
        count = len(batch.images) - 1
        images = self.towers.features(torch.cat(batch.images[1:])).chunk(count)
        return list(images), [self.towers.text(view) for view in batch.texts[1:]]

    def further(self, every: Pairs, batch: Views) -> Tensor:
        """SiamLIP, BYOLIP or BarLIP on pairs of features: the weak one first, then all strong ones."""
        projected = [(self.projectors["image"](x), self.projectors["text"](y)) for x, y in every]
        if self.extra == "barlip":
            return 0.025 * torch.stack([barlip_loss(x, y) for x, y in projected]).mean()
        predictions = [(self.predictors["image"](x), self.predictors["text"](y)) for x, y in projected]
        return siamlip_loss(predictions, self.taught(batch) if self.teacher is not None else projected)

    @torch.no_grad()
    def taught(self, batch: Views) -> Pairs:
        """The teacher's projections of the same pairs."""
        assert self.teacher is not None
        towers, heads = (self.teacher.module.get_submodule(name) for name in ("towers", "projectors"))
        images = [heads.get_submodule("image")(towers.features(v)) for v in batch.images]  # type: ignore[operator]
        texts = [heads.get_submodule("text")(towers.text(v)) for v in batch.texts]  # type: ignore[operator]
        return [(images[0], texts[0]), *((x, y) for x in images[1:] for y in texts[1:])]

    def updated(self, engine: Engine) -> None:
        if self.teacher is not None:
            self.teacher.follow(self.student(), self.momentum)


def without_dropout(encoder: TextEncoder, texts: Sequence[str]) -> Tensor:
    """Features of captions, as in evaluation but with a gradient."""
    was = encoder.training
    encoder.eval()
    try:
        found: Tensor = encoder(texts)
        return found
    finally:
        encoder.train(was)
