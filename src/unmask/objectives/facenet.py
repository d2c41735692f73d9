"""FaceNet: faces of one person lie nearer to each other than to any other person's, by a margin.

The idea in three sentences. An embedding on the unit sphere is learnt from triplets: anchor and positive show one
person, the negative another. Most triplets are too easy to teach anything and the hardest make all embeddings collapse,
so those in between are mined in each batch: the negative is farther than the positive, but by less than the margin.
Harmonic triplets mix embeddings of an old, fixed network with those of a new one, so that both can be compared.

Schroff, Kalenichenko, Philbin: "FaceNet: A Unified Embedding for Face Recognition and Clustering", CVPR 2015,
arXiv 1503.03832.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.nn.gather import gather
from unmask.nn.hypersphere import squared_distances
from unmask.nn.precision import full
from unmask.nn.triplets import Mining, mine_triplets, triplet_loss

CARD = {
    "title": "FaceNet (triplets, harmonic triplets)",
    "paper": "Schroff et al., CVPR 2015, arXiv 1503.03832",
    "task": "faces with identities, several of each person -> an encoder",
    "licence": "Apache-2.0; written from the paper. No published weights are used",
    "verified": "mined triplets and loss equal pytorch-metric-learning's; harmonic triplets by hand; no LFW number",
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
