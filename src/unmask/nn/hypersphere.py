"""Losses and augmentation on the unit sphere, computed in float32 at least: half precision has no room for it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.nn.precision import full

EDGE = 1 - 1e-7  # in bfloat16 this is 1, and acos and sin would give 0 / 0


def alignment(z: Tensor, label: Tensor) -> Tensor:
    """Mean over all pairs i < j with the same label of ||z_i - z_j||^2; 0 where there is no such pair.

    Wang and Isola, "Understanding Contrastive Representation Learning through Alignment and Uniformity", ICML 2020,
    with alpha = 2; labels as in GenD (arXiv 2508.06248).

    Args:
        z: (N, D) unit vectors.
        label: (N,).
    """
    i, j = torch.triu_indices(len(z), len(z), 1, device=z.device)
    same = label[i] == label[j]
    distance = torch.pdist(full(z)).square()
    return (distance * same).sum() / same.sum().clamp_min(1)


def uniformity(z: Tensor, t: float = 2.0) -> Tensor:
    """log of the mean over all pairs i < j of exp(-t ||z_i - z_j||^2), whatever their labels; at least log(1e-6).

    Wang and Isola, ICML 2020, with GenD's floor. 0 for fewer than two vectors.

    Args:
        z: (N, D) unit vectors.
    """
    if len(z) < 2:
        return full(z).sum() * 0
    return torch.pdist(full(z)).square().mul(-t).exp().mean().clamp_min(1e-6).log()


def squared_distances(a: Tensor, b: Tensor) -> Tensor:
    """||a_i - b_j||^2 = ||a_i||^2 + ||b_j||^2 - 2 a_i b_j, never below 0: (N, D), (M, D) -> (N, M)."""
    with torch.autocast(a.device.type, enabled=False):
        a, b = full(a), full(b)
        return (a.square().sum(1)[:, None] + b.square().sum(1) - 2 * a @ b.T).clamp_min(0)


def kernel_entropy(parts: Sequence[Tensor], gamma: float = 1.0) -> Tensor:
    """The joint entropy of several codes of the same images: -mean over i of log mean over j of the product of kernels.

    The kernel of a part is exp(-gamma ||x_i - x_j||^2), j = i included (SepCLR, arXiv 2402.11928, eq. of k-JEM, where
    gamma = 1 / (2 tau)). At least 0, for one point; at most log N, for N points far apart.

    Args:
        parts: each (N, D_k), of any lengths.
    """
    distance = torch.stack([squared_distances(x, x) for x in parts]).sum(0)
    return math.log(len(distance)) - (-gamma * distance).logsumexp(1).mean()


def slerp(a: Tensor, b: Tensor, t: Tensor) -> Tensor:
    """The point a share t of the way along the arc from a / ||a|| to b / ||b||.

    sin((1 - t) theta) / sin(theta) a + sin(t theta) / sin(theta) b (Shoemake, SIGGRAPH 1985). Between opposite points
    the arc is not defined, and neither is what comes out at 0 < t < 1.

    Args:
        a, b: (N, D) of any floating type.
        t: (N,) in 0..1.
    Returns: float32 (N, D), unit vectors.
    """
    with torch.autocast(a.device.type, enabled=False):
        a, b, t = F.normalize(a.float(), dim=1), F.normalize(b.float(), dim=1), t.float()[:, None]
        angle = (a * b).sum(1, keepdim=True).clamp(-EDGE, EDGE).acos()
        return (((1 - t) * angle).sin() * a + (t * angle).sin() * b) / angle.sin()


def mixed_by_class(features: Tensor, label: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Each feature moved a random share of the way to a random one of its class: the batch's size and labels stay.

    Latent augmentation of LNCLIP-DF (arXiv 2508.06248v1). Partners are a permutation of the class, so that some meet
    themselves. A class of one stays as it is, but for its length.

    Args:
        features: (N, D); label: (N,).
        generator: of the CPU.
    Returns: float32 (N, D), unit vectors.
    """
    partner, share = torch.arange(len(label)), torch.rand(len(label), generator=generator)
    for k in label.unique().tolist():
        members = (label.cpu() == k).nonzero()[:, 0]
        partner[members] = members[torch.randperm(len(members), generator=generator)]
    return slerp(features, features[partner.to(features.device)], share.to(features.device))


def mixed_by_pair(features: Tensor, label: Tensor, pair: Tensor, generator: torch.Generator | None = None) -> Tensor:
    """Like `mixed_by_class`, but pairs stay pairs: a real face and its forgeries all move to those of one other pair.

    Each pair draws one other pair and one share of the way for all of its members. A member whose class the other pair
    lacks stays as it is, but for its length. Our own variant, from no paper.

    Args:
        features: (N, D); label: (N,).
        pair: (N,), equal for a real face and the forgeries made from it; below 0 = of no pair, stays as it is.
        generator: of the CPU.
    Returns: float32 (N, D), unit vectors.
    """
    pairs = [p for p in pair.unique().tolist() if p >= 0]
    other = dict(zip(pairs, (pairs[i] for i in torch.randperm(len(pairs), generator=generator)), strict=True))
    share = dict(zip(pairs, torch.rand(len(pairs), generator=generator).tolist(), strict=True))
    keys = list(zip(label.tolist(), pair.tolist(), strict=True))
    places: dict[tuple[int, int], list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    partner, t, met = list(range(len(keys))), [0.0] * len(keys), dict.fromkeys(places, 0)
    for place, (k, p) in enumerate(keys):
        if p >= 0 and (k, other[p]) in places:
            choice = places[k, other[p]]
            partner[place], t[place] = choice[met[k, p] % len(choice)], share[p]
            met[k, p] += 1
    there = features.device
    return slerp(features, features[torch.tensor(partner, device=there)], torch.tensor(t, device=there))
