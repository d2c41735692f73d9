"""FaceNet: faces of one person lie nearer to each other than to any other person's, by a margin.

The idea in three sentences. An embedding on the unit sphere is learnt from triplets: anchor and positive show one
person, the negative another. Most triplets are too easy to teach anything and the hardest make all embeddings collapse,
so those in between are mined in each batch: the negative is farther than the positive, but by less than the margin.
Harmonic triplets mix embeddings of an old, fixed network with those of a new one, so that both can be compared.

Schroff, Kalenichenko, Philbin: "FaceNet: A Unified Embedding for Face Recognition and Clustering", CVPR 2015,
arXiv 1503.03832.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar, Self

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.method import Engine, Role
from unmask.base.objective import Objective, Views
from unmask.errors import InputError
from unmask.nn.backbones import fill
from unmask.nn.convnets import ConvNet
from unmask.nn.gather import gather
from unmask.nn.heads import head, with_head
from unmask.nn.hypersphere import squared_distances
from unmask.nn.precision import full
from unmask.nn.triplets import Mining, mine_triplets, triplet_loss

CARD = {
    "title": "FaceNet (triplets, harmonic triplets)",
    "paper": "Schroff et al., CVPR 2015, arXiv 1503.03832",
    "task": "faces with identities, several of each person -> an encoder",
    "licence": "Apache-2.0; written from the paper. No published weights are used",
    "verified": "mined triplets and loss equal pytorch-metric-learning's; harmonic triplets by hand; no LFW number",
    "small": {"network": "tiny-resnet", "size": 32, "dim": 16, "mining": "all"},
}


def facenet_loss(
    embedding: Tensor, identity: Tensor, margin: float = 0.2, mining: Mining = "semihard"
) -> tuple[Tensor, Tensor]:
    """Mean over mined triplets of max(0, d(a, p) - d(a, n) + margin), d squared on the unit sphere.

    Over processes, triplets are mined from the rows of all of them, in each.

    Args:
        embedding: (N, D) of any lengths; identity: (N,).
    Returns: the loss, and how many triplets it is the mean of.
    """
    z = F.normalize(full(gather(embedding)), dim=1)
    distance = squared_distances(z, z)
    triplets = mine_triplets(distance, gather(identity), mining, margin)
    return triplet_loss(distance, triplets, margin), torch.tensor(len(triplets[0]), device=z.device)


def harmonic_loss(
    old: Tensor, new: Tensor, identity: Tensor, margin: float = 0.2, mining: Mining = "semihard"
) -> tuple[Tensor, Tensor]:
    """The same over old and new embeddings together; triplets of old ones alone are left out (FaceNet, section 5.7).

    Args:
        old: (N, D) of a fixed network; it has no gradient. new: (N, D) of the same images.
    Returns: the loss, and how many triplets it is the mean of.
    """
    old, new, identity = gather(old.detach()), gather(new), gather(identity)
    z = F.normalize(full(torch.cat([old, new])), dim=1)
    distance = squared_distances(z, z)
    found = torch.stack(mine_triplets(distance, identity.repeat(2), mining, margin))
    anchor, positive, negative = found[:, (found >= len(old)).any(0)]
    return triplet_loss(distance, (anchor, positive, negative), margin), torch.tensor(len(anchor), device=z.device)


class Fixed(nn.Module):
    """A copy of a network that stays as it was loaded: no gradient, no new statistics."""

    roles: ClassVar[Mapping[str, Role]] = {"": "frozen"}
    loaded: Tensor

    def __init__(self, module: nn.Module) -> None:
        super().__init__()
        self.module = copy.deepcopy(module).requires_grad_(False)
        self.register_buffer("loaded", torch.tensor(False))

    def train(self, mode: bool = True) -> Self:
        return super().train(False)

    @torch.no_grad()
    def forward(self, image: Tensor) -> Tensor:
        if not self.loaded:
            raise InputError("harmonic triplets need the old network: give the best.safetensors of its run as start")
        embedding: Tensor = self.module(image)
        return embedding


class FaceNet(Objective):
    """Encoder and one linear layer to the unit sphere; a call gives that embedding. Labels are identities."""

    def __init__(
        self,
        network: str = "resnet-50",
        size: int = 160,
        dim: int = 128,
        margin: float = 0.2,
        mining: Mining = "semihard",
        harmonic: bool = False,
    ) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets`; the paper's are Zeiler and Fergus's, and Inception.
            size: side of the crop, pixels.
            dim: of the embedding.
            margin: between squared distances, which are in 0..4.
            mining: which triplets of a batch to learn from; "hardest" can collapse.
            harmonic: `start` is the checkpoint of an old network of this form, and embeddings become comparable with
                its own. The new network begins anew.
        """
        super().__init__()
        body = ConvNet(network)
        self.input = body.input(size)
        self.student = with_head(body, head((body.features, dim)))
        self.old = Fixed(self.student) if harmonic else None
        self.margin, self.mining = margin, mining
        self.mined = torch.zeros(())

    @property
    def encoder(self) -> nn.Module:
        return self.student.get_submodule("encoder")

    def forward(self, image: Tensor) -> Tensor:
        return F.normalize(full(self.student(image)), dim=1)

    def loss(self, batch: Views) -> dict[str, Tensor]:
        image, identity = torch.cat(batch.images), batch.label.repeat(len(batch.images))
        new = self.student(image)
        loss, self.mined = facenet_loss(new, identity, self.margin, self.mining)
        if self.old is None:
            return {"triplet": loss}
        return {"triplet": loss, "harmonic": harmonic_loss(self.old(image), new, identity, self.margin, self.mining)[0]}

    def step(self, batch: Views, engine: Engine) -> dict[str, Tensor]:
        """Also says how many triplets were mined: their number falls to nothing as batches become too easy."""
        return super().step(batch, engine) | {"triplets": self.mined}

    def load_pretrained(self, weights: Path) -> None:
        """Load an encoder in timm's layout; for harmonic triplets, the checkpoint of an old network with its head.

        Raises: UnmaskError for a file that cannot be read, or whose tensors do not fit.
        """
        if self.old is None:
            return super().load_pretrained(weights)
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state = load_file(weights)
        except (OSError, SafetensorError) as error:
            raise InputError(f"cannot read the weights {weights}: {error}") from error
        prefix = "student."
        old = {name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)}
        fill(self.old.module, old, str(weights))
        self.old.loaded.fill_(True)
        return None
