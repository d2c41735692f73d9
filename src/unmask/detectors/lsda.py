"""LSDA: forgeries between and beyond those seen, made in feature space, widen what a detector takes for forged.

The idea in three sentences. Each kind of forgery has a teacher of its own, and real faces have one that knows people.
The teachers' features of forgeries are moved within their kind and mixed across kinds, which makes forgeries that no
image shows. One student, the detector, learns to be where the real teacher is for real faces and where the moved and
mixed features are for forged ones.

Yan et al.: "Transcending Forgery Specificity with Latent Space Augmentation for Generalizable Deepfake Detection", CVPR
2024, arXiv 2311.11278. Sizes and weights as DeepfakeBench's copy has them; the changes are of whole samples, as in the
paper's words, where that copy changes channel by channel.

Where it differs from the paper or from DeepfakeBench. A feature is changed as a whole, as the paper says;
DeepfakeBench's copy changes channel by channel, and takes one channel less another for a difference of samples. Its
teacher of real faces is random unless weights are put there by hand; here it is ArcFace's (`training.lsda_start`),
or a small one that `recipes/arcface-tiny.yaml` trains on real faces of training people. What the student is to
match stays as the teachers have it: the gradient ends before them (there it goes on into them), while the fusion
learns from it, as nothing else teaches that. The images of a group share one augmentation. The term on identities
that only that code has is left out. A bundle holds the teachers too, though only the student answers.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output, cross_entropy
from unmask.errors import RecipeError
from unmask.nn import iresnet
from unmask.nn.convnets import ConvNet
from unmask.nn.iresnet import IResNet, weights_under

CARD = {
    "title": "LSDA (latent space data augmentation)",
    "paper": "Yan et al., CVPR 2024, arXiv 2311.11278",
    "task": "one aligned face -> real or fake",
    "evidence": "blending",
    "licence": "Apache-2.0; the networks are timm's, Apache-2.0; ArcFace's weights have terms of their own",
    "verified": "changes and terms by hand; ArcFace's layout on random weights; no published weights or tables",
    "small": {"network": "tiny-resnet", "teacher": "tiny-iresnet", "size": 32, "domains": 1},
}


class LSDA(Detector):
    """L = `binary` CE(student) + `distil` MSE(student, teachers) + `domain` CE(which teacher); the student detects.

    It learns from batches of groups, `sampler: {name: grouped}`: a real face and one forgery of it of each kind.
    """

    def __init__(
        self,
        network: Literal["efficientnet-b4", "xception", "small-resnet", "tiny-resnet"] = "efficientnet-b4",
        teacher: iresnet.Name = "iresnet-100",
        size: int = 256,
        teacher_size: int | None = None,
        domains: int = 4,
        within: bool = True,
        across: bool = True,
        binary: float = 0.5,
        distil: float = 1.0,
        domain: float = 1.0,
    ) -> None:
        """
        Args:
            network: of the student and of the teachers of forgeries.
            teacher: of real faces; it is random until `start`, which takes one that knows people.
            teacher_size: side at which it sees the crop; None = as it is.
            domains: kinds of forgeries.
            within, across: whether features are moved within their kind and mixed across kinds.
            binary, distil, domain: weights of the three losses.
        """
        super().__init__()
        self.real, self.teacher_size = IResNet(teacher), teacher_size
        width = self.real.features
        self.student = _Maps(network, width)
        self.forged = nn.ModuleList(_Maps(network, width) for _ in range(domains))
        self.fusion = _fusion(width)
        self.kinds = _reader(width, width // 2, domains + 1)
        self.head = _reader(width, width, len(self.classes))
        self.input = self.student.body.input(size)
        self.domains, self.within, self.across = domains, within, across
        self.binary, self.distil, self.domain = binary, distil, domain
        for name, part in self.real.named_children():  # DeepfakeBench trains the last stage, and so do we
            part.requires_grad_(name in ("layer4", "bn2"))

    def train(self, mode: bool = True) -> Self:
        """The frozen stages of the real teacher keep the statistics they were trained with."""
        super().train(mode)
        for name, part in self.real.named_children():
            part.train(mode and name in ("layer4", "bn2"))
        return self

    def forward(self, image: Tensor) -> Output:
        maps = self.student(image)
        return Output(self.head(maps), maps.mean((2, 3)))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Raises: UnmaskError for a batch that is not made of groups."""
        many = self.domains + 1
        self._check(batch, many)
        groups = batch.image.unflatten(0, (-1, many))
        seen = self.student(batch.image).unflatten(0, (-1, many))  # (G, 1 + D, C, h, w)
        real = self.real_maps(groups[:, 0], seen.shape[-2:])
        z = torch.stack([teach(groups[:, n]) for n, teach in enumerate(self.forged, 1)], 1)  # (G, D, C, h, w)
        kinds = self.kinds(torch.cat([real[:, None], z], 1).flatten(0, 1))
        which = torch.arange(many, device=kinds.device).repeat(len(z))
        # What the student is to match does not come to meet it: the gradient ends before the teachers.
        wider = self.widened(z.detach())
        return {
            "binary": self.binary * cross_entropy(self.head(seen.flatten(0, 1)), batch),
            "distil": self.distil * (F.mse_loss(seen[:, 0], real.detach()) + F.mse_loss(seen[:, 1:], wider)),
            "domain": self.domain * F.cross_entropy(kinds, which),
        }

    def real_maps(self, image: Tensor, places: tuple[int, int]) -> Tensor:
        """(G, 3, H, W) -> the real teacher's maps (G, C, h, w), brought to the student's places."""
        if self.teacher_size:
            image = F.interpolate(image, size=self.teacher_size, mode="bilinear", antialias=True, align_corners=False)
        return F.adaptive_avg_pool2d(self.real(image), places)

    def widened(self, z: Tensor) -> Tensor:
        """Features of forgeries (G, D, C, h, w) -> those that the student is to have instead, of the same shape."""
        near = moved(z) if self.within else z
        far = mixed(z) if self.across else z
        fused: Tensor = self.fusion(torch.cat([near, far], 2).flatten(0, 1))
        return fused.view_as(z)

    def load_pretrained(self, weights: Path) -> None:
        """Load the teacher of real faces: what `unmask export` made of an `arcface` run, or `training.lsda_start` of
        published weights: `real.*`, and `image.*`, ImageNet's, where it has them.

        Raises: UnmaskError for a file that cannot be read, or whose tensors do not fit; they are named.
        """
        real, image = (weights_under(weights, name) for name in ("real.", "image."))
        self.real.load(real or weights_under(weights, ""), str(weights))
        for maps in (self.student, *self.forged) if image else ():
            assert isinstance(maps, _Maps)
            maps.body.fill(image, str(weights))

    def _check(self, batch: Batch, many: int) -> None:
        label, method = batch.label, batch.method
        fits = len(label) % many == 0
        if fits:
            alike = label.view(-1, many)
            fits = bool((alike[:, 0] == 0).all() and (alike[:, 1:] == 1).all())
            if method is not None and fits:
                kinds = method.view(-1, many)[:, 1:]
                fits = bool((kinds == kinds[:1]).all())
        if not fits:
            raise RecipeError(
                f"lsda learns from groups of a real face and a forgery of it of each of {self.domains} kinds: give the "
                f"recipe sampler: {{name: grouped}}, options.domains as many as its data has methods, and a batch that "
                f"is a multiple of {many}"
            )


class _Maps(nn.Module):
    """(B, 3, H, W) -> a network's maps, brought to `width` channels."""

    def __init__(self, network: str, width: int) -> None:
        super().__init__()
        self.body = ConvNet(network)
        self.narrow = nn.Conv2d(self.body.features, width, 1)

    def forward(self, image: Tensor) -> Tensor:
        maps: Tensor = self.narrow(self.body(image))
        return maps


def _fusion(width: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(2 * width, width, 1),
        nn.LeakyReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.LeakyReLU(),
        nn.Conv2d(width, width, 3, padding=1),
        nn.LeakyReLU(),
    )


def _reader(width: int, hidden: int, classes: int) -> nn.Sequential:
    return nn.Sequential(
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(width, hidden), nn.LeakyReLU(), nn.Linear(hidden, classes)
    )


# --- changes of features: z is (G, D, C, h, w), one row a group, one column a kind of forgery ------------------------


def moved(z: Tensor) -> Tensor:
    """Each feature moved within its kind, by one of four ways drawn for it, by a share drawn from 0..1."""
    share = torch.rand(z.shape[:2], device=z.device)
    way = torch.randint(len(WAYS), z.shape[:2], device=z.device)
    every = torch.stack([change(z, spread(share, z)) for change in WAYS])
    picked: Tensor = every.gather(0, spread(way, z)[None].expand(1, *z.shape))[0]
    return picked


def to_hardest(z: Tensor, share: Tensor) -> Tensor:
    """z + share (h - z), h being the kind's feature that lies farthest from the kind's mean in this batch."""
    distance = (z - z.mean(0)).flatten(2).square().sum(2)
    return z + share * (z[distance.argmax(0), torch.arange(z.shape[1], device=z.device)] - z)


def outwards(z: Tensor, share: Tensor) -> Tensor:
    """z + share (z - m), m being the kind's mean in this batch."""
    return z + share * (z - z.mean(0))


def noisy(z: Tensor, share: Tensor) -> Tensor:
    """z + share s e, e normal, s drawn from 0..1 for each."""
    return z + share * spread(torch.rand(z.shape[:2], device=z.device), z) * torch.randn_like(z)


def by_difference(z: Tensor, share: Tensor) -> Tensor:
    """z + share (z_j - z_k), j and k two groups drawn for each, of the same kind."""
    j, k = torch.randint(len(z), (2, *z.shape[:2]), device=z.device)
    kind = torch.arange(z.shape[1], device=z.device)
    return z + share * (z[j, kind] - z[k, kind])


WAYS: tuple[Callable[[Tensor, Tensor], Tensor], ...] = (to_hardest, outwards, noisy, by_difference)


def mixed(z: Tensor) -> Tensor:
    """share z + (1 - share) z of another order of the kinds, both drawn for each group; share from Beta(a, a), a from
    0.5..2. The other order leaves kinds in their place as often as chance does."""
    groups, kinds = z.shape[:2]
    a = 0.5 + 1.5 * torch.rand(groups, device=z.device)
    share = torch.distributions.Beta(a, a).sample()[:, None].expand(groups, kinds)
    order = torch.rand(groups, kinds, device=z.device).argsort(1)
    return blended(z, order, share)


def blended(z: Tensor, order: Tensor, share: Tensor) -> Tensor:
    """share z_d + (1 - share) z_order(d), within each group; order and share are (G, D)."""
    group = torch.arange(len(z), device=z.device)[:, None]
    weight = spread(share, z)
    return weight * z + (1 - weight) * z[group, order]


def spread(numbers: Tensor, z: Tensor) -> Tensor:
    """(G, D) -> (G, D, 1, 1, 1): one number for a whole feature."""
    return numbers.view(*numbers.shape, *[1] * (z.ndim - 2))
