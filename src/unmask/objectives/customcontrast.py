"""CustomContrast: subjects are told apart as far as they really differ, and images agree with their captions.

The idea in three sentences. An embedding of a subject should keep what belongs to it (shape, texture, identity) and
drop what does not (view, pose, background), which copying one image into another does not teach. Views of one subject
are pulled together and subjects pushed apart in the embedding of each cross-attention layer, with negatives weighted
by how unlike the subjects really are (MACL), while image and caption find each other (CSCL). So distances stay
proportional, where a plain contrast pushes all others equally far.

Chen et al.: "CustomContrast: A Multilevel Contrastive Perspective for Subject-Driven Text-to-Image Customization",
AAAI 2025, arXiv 2409.05606. No code was published, and the exact weights, temperatures and scaling are not known: both
forms of MACL here are reconstructions. Otherwise than there: no Q-Formers and no generator; linear maps of one image
encoder stand for the layers, and one frozen copy of the encoder's start says for all of them how alike two images are.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

from unmask.base.image_text import ImageText
from unmask.base.method import Role
from unmask.base.objective import Views
from unmask.errors import InputError
from unmask.nn.contrastive import cosines, info_nce, paired_nce, soft_cross_entropy
from unmask.nn.gather import gather
from unmask.nn.precision import full
from unmask.nn.text import TextSpec
from unmask.nn.two_towers import feature, width

CARD = {
    "title": "CustomContrast",
    "paper": "Chen et al., AAAI 2025, arXiv 2409.05606",
    "task": "views of subjects with captions -> an encoder of subjects, and a text encoder",
    "licence": "Apache-2.0; the authors published no code and no weights",
    "verified": "both forms by hand, InfoNCE where all weights are 1; drawn subjects; no number of the paper",
    "small": {
        "network": "tiny-resnet", "size": 32, "dim": 16, "layers": 2,
        "text": {"width": 16, "depth": 1, "heads": 2, "length": 40},
    },
}  # fmt: skip
Form = Literal["weighted", "soft"]
LEAST = 1e-6  # of a weight: a subject that looks exactly alike repels hardly at all


def negative_weights(real: Tensor, negative: Tensor) -> Tensor:
    """1 - similarity of each negative, over the mean of them: (N, N), mean 1 over an anchor's negatives.

    Args:
        real: (N, N), how alike two images really are, at most 1.
        negative: (N, N) bool.
    """
    unlike = (1 - full(real)).clamp_min(LEAST) * negative
    mean = unlike.sum(1, keepdim=True) / negative.sum(1, keepdim=True).clamp_min(1)
    return unlike / mean.clamp_min(LEAST)


def macl_weighted(embedding: Tensor, subject: Tensor, real: Tensor, temperature: float = 0.07) -> Tensor:
    """Mean over positives p of an anchor i of  -log e^{s_ip / t} / (e^{s_ip / t} + sum over j of w_ij e^{s_ij / t}).

    j runs over other subjects; w are `negative_weights`. Where all are 1, this is InfoNCE.

    Args:
        embedding: (N, D), of any lengths.
        subject: (N,).
        real: (N, N), see `negative_weights`.
    """
    same = subject[:, None] == subject
    itself = torch.eye(len(subject), dtype=torch.bool, device=subject.device)
    weight = negative_weights(real, ~same).clamp_min(LEAST)
    logits = cosines(embedding, embedding) / temperature + torch.where(same, 0, weight.log())
    return info_nce(logits, same & ~itself, ~itself, positives="own")


def macl_soft(embedding: Tensor, real: Tensor, temperature: float = 0.07, real_temperature: float = 0.1) -> Tensor:
    """Cross-entropy between softmax over j of real_ij / t' and softmax over j of s_ij / t, j all others than i.

    Args:
        embedding: (N, D), of any lengths.
        real: (N, N), how alike two images really are; 1 for two of one subject.
    """
    n = len(embedding)
    others = ~torch.eye(n, dtype=torch.bool, device=embedding.device)
    target = full(real)[others].view(n, n - 1) / real_temperature
    logits = cosines(embedding, embedding)[others].view(n, n - 1) / temperature
    return soft_cross_entropy(logits, target.softmax(1))


class CustomContrast(ImageText):
    """Two encoders with linear heads, and a head for each layer of the generator that would be conditioned."""

    roles: ClassVar[Mapping[str, Role]] = {"reference": "frozen"}

    def __init__(
        self,
        network: str = "clip-vit-b-16",
        size: int = 224,
        dim: int = 512,
        text: TextSpec = TextSpec(),  # noqa: B008 - it is frozen
        layers: int = 16,
        form: Form = "weighted",
        temperature: float = 0.07,
        real_temperature: float = 0.1,
        macl: float = 1.0,
        cscl: float = 1.0,
    ) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets` or `unmask.nn.backbones`.
            size: side of the image, pixels.
            dim: width of the joint space and of each layer's embedding.
            text: the text encoder.
            layers: cross-attention layers, 16 in Stable Diffusion 1.
            form: of MACL, "weighted" negatives or "soft" targets.
            real_temperature: of the real similarities, for "soft".
            macl, cscl: weights of both terms; beside a diffusion loss 0.1 each is a start.
        """
        super().__init__(network, size, text, dim)
        if layers < 1:
            raise InputError(f"layers is 1 or more, not {layers}")
        self.layers = nn.ModuleList(nn.Linear(width(self.towers.image), dim, bias=False) for _ in range(layers))
        self.reference = copy.deepcopy(self.towers.image).requires_grad_(False)
        self.form, self.temperature, self.real_temperature = form, temperature, real_temperature
        self.weights = {"macl": macl, "cscl": cscl}

    def train(self, mode: bool = True) -> CustomContrast:
        """The reference keeps its running statistics."""
        super().train(mode)
        self.reference.eval()
        return self

    def load_pretrained(self, weights: Path) -> None:
        """The image encoder, and the reference with it."""
        super().load_pretrained(weights)
        self.reference.load_state_dict(self.towers.image.state_dict())

    def loss(self, batch: Views) -> dict[str, Tensor]:
        """Images without a label are subjects of their own, whose views are their positives."""
        image, texts = self.first(batch)
        views = torch.cat(batch.images)
        found = self.towers.features(views)
        subject = torch.where(batch.label < 0, -1 - batch.index, batch.label).repeat(len(batch.images))
        with torch.no_grad():
            real = _similarity(gather(feature(self.reference, views)), gather(subject))
        macl = torch.stack([self._macl(gather(layer(found)), gather(subject), real) for layer in self.layers]).mean()
        cscl = paired_nce(self.towers.image_head(found[: len(image)]), self.towers.texts(texts), 1 / self.temperature)
        return {"macl": self.weights["macl"] * macl, "cscl": self.weights["cscl"] * cscl}

    def _macl(self, embedding: Tensor, subject: Tensor, real: Tensor) -> Tensor:
        if self.form == "weighted":
            return macl_weighted(embedding, subject, real, self.temperature)
        return macl_soft(embedding, real, self.temperature, self.real_temperature)


def _similarity(reference: Tensor, subject: Tensor) -> Tensor:
    """Cosines of the reference's features about their mean, 0 at least; 1 for two images of one subject."""
    alike = cosines(reference - reference.mean(0), reference - reference.mean(0)).clamp(0, 1)
    return alike.masked_fill(subject[:, None] == subject, 1)
