"""cMIM: an autoencoder whose code says as much as it can about the image, and of which image it is.

The idea in three sentences. A Mutual Information Machine is trained like a variational autoencoder with one sign
turned: the posterior is rewarded for being sharp, which keeps information in the code where the VAE washes it out.
cMIM adds the likelihood that a code is picked out among the others of the batch by its direction, against the mean of
the others, so that it needs no augmented positives and hardly depends on the batch's size. The decoder's activations
before the last layer are the features to use (informative embeddings).

Livne: "Contrastive Mutual Information Learning: Toward Robust Representations without Positive-Pair Augmentations",
arXiv 2509.21511; MIM: Livne, Swersky and Fleet, arXiv 1910.03175. A-MIM (one term per data sample) and the VAE of
Kingma and Welling, ICLR 2014, are its controls. The contrastive likelihood is from memory of the paper.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from unmask.nn.contrastive import cosines, info_nce

CARD = {
    "title": "cMIM (contrastive Mutual Information Machine), A-MIM, VAE",
    "paper": "Livne, arXiv 2509.21511 and 2502.19642",
    "task": "one image -> a code, a reconstruction and the decoder's features",
    "licence": "Apache-2.0",
    "verified": "likelihoods against torch.distributions, losses by hand; the contrastive term is from memory",
}


def gaussian(x: Tensor, mean: Tensor, log_var: Tensor | float) -> Tensor:
    """log N(x; mean, exp(log_var) I), summed over all dimensions but the first: (B, ...) -> (B,), in nats."""
    log_var = torch.as_tensor(log_var, dtype=x.dtype, device=x.device)
    each = -0.5 * (math.log(2 * math.pi) + log_var + (x - mean).square() * (-log_var).exp())
    return each.flatten(1).sum(1)


def same_code(z: Tensor, temperature: float = 0.1) -> Tensor:
    """log p_k(i) = s_ii - log(e^s_ii + mean over j != i of e^s_ij), with s = cosine / temperature.

    The mean in the place of a sum is what takes the batch's size out: for unrelated codes it stays where it is.

    Args:
        z: (B, D), B >= 2.
    Returns: (B,).
    """
    own = torch.eye(len(z), dtype=torch.bool, device=z.device)
    return -info_nce(cosines(z, z) / temperature, own, negatives="mean", reduction="none")
