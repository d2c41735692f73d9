"""Masked modelling and dense objectives beside lightly's, timm's and pytorch-metric-learning's on the same numbers."""

from __future__ import annotations

from functools import partial

import pytest
import torch
from lightly.loss import NegativeCosineSimilarity
from lightly.models import utils as lightly
from pytorch_metric_learning.losses import NTXentLoss
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from unmask.nn.patches import patchify, take, unpatchify, visible
from unmask.nn.positions import sine_cosine
from unmask.objectives.fsfm import _Branch, discrimination, reconstruction
from unmask.objectives.pixpro import consistency
from unmask.objectives.selfie import selfie_loss


def randn(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_patches_are_those_of_lightly() -> None:
    image = randn(2, 3, 16, 16)
    torch.testing.assert_close(patchify(image, 4), lightly.patchify(image, 4), atol=0, rtol=0)
    torch.testing.assert_close(
        unpatchify(patchify(image, 4), 4), lightly.unpatchify(patchify(image, 4), 4), atol=0, rtol=0
    )


@pytest.mark.parametrize(("width", "side"), [(16, 4), (192, 7)])
def test_positions_are_those_of_lightly(width: int, side: int) -> None:
    theirs = torch.from_numpy(lightly.get_2d_sine_cosine_positional_embedding(width, side, cls_token=True))
    torch.testing.assert_close(sine_cosine(width, side), theirs.float(), atol=1e-6, rtol=0)


def test_kept_tokens_are_those_of_lightly() -> None:
    tokens, mask = randn(3, 9, 4), torch.zeros(3, 9).scatter(1, torch.rand(3, 9).argsort(1)[:, :5], 1).bool()
    kept = take(tokens, visible(mask))
    theirs = lightly.get_at_index(tokens, torch.stack([(~row).nonzero()[:, 0] for row in mask]))
    torch.testing.assert_close(kept, theirs)


def test_reconstruction_is_the_mean_squared_error_to_lightlys_normalised_patches() -> None:
    predicted, pixels, mask = randn(2, 9, 12).requires_grad_(), randn(2, 9, 12, seed=1), torch.zeros(2, 9).bool()
    mask[:, 3:7] = True
    normalised = (pixels - pixels.mean(2, keepdim=True)) / (pixels.var(2, keepdim=True) + 1e-6) ** 0.5
    plain = nn.MSELoss()(predicted[mask], normalised[mask])
    expected = torch.autograd.grad(plain, predicted)
    mine = reconstruction(predicted, pixels, mask)
    torch.testing.assert_close(mine, plain, atol=1e-12, rtol=0)
    torch.testing.assert_close(torch.autograd.grad(mine, predicted), expected, atol=1e-12, rtol=0)


def test_discrimination_is_half_of_lightlys_negative_cosine() -> None:
    predicted, target = randn(8, 5).requires_grad_(), randn(8, 5, seed=1)
    plain = NegativeCosineSimilarity()(predicted, target) / 2
    expected = torch.autograd.grad(plain, predicted)
    torch.testing.assert_close(discrimination(predicted, target), plain, atol=1e-9, rtol=0)
    found = torch.autograd.grad(discrimination(predicted, target), predicted)
    torch.testing.assert_close(found, expected, atol=1e-9, rtol=0)


def test_with_one_pair_a_place_pixpro_is_twice_lightlys_negative_cosine() -> None:
    y, target = randn(3, 6, 2, 2), randn(3, 6, 2, 2, seed=1)
    positive = torch.eye(4, dtype=torch.bool).expand(3, -1, -1)
    rows = (x.permute(0, 2, 3, 1).reshape(-1, 6) for x in (y, target))
    torch.testing.assert_close(
        consistency(y, target, positive), 2 * NegativeCosineSimilarity()(*rows), atol=1e-5, rtol=0
    )


def test_pointing_is_metric_learnings_loss_with_a_query_as_the_anchor() -> None:
    query, candidate = nn.functional.normalize(randn(4, 6), dim=1), nn.functional.normalize(randn(4, 6, seed=1), dim=1)
    label = torch.arange(4)
    plain = NTXentLoss(temperature=1.0)(query, label, ref_emb=candidate, ref_labels=label.clone())
    torch.testing.assert_close(selfie_loss(query[None], candidate[None]), plain, atol=1e-9, rtol=0)


def test_the_encoder_on_all_places_is_timms_vision_transformer() -> None:
    torch.manual_seed(0)
    branch = _Branch("tiny-fsfm", (1, 4), (32, 16)).eval()
    norm = partial(nn.LayerNorm, eps=1e-6)
    theirs = VisionTransformer(64, 8, embed_dim=128, depth=4, num_heads=4, num_classes=0, norm_layer=norm).eval()
    state = {k: v for k, v in branch.encoder.body.state_dict().items() if not k.startswith("fc_norm")}
    theirs.load_state_dict(state | {f"norm.{k}": v for k, v in branch.norm.state_dict().items()})
    image = torch.rand(2, 3, 64, 64)
    with torch.no_grad():
        everywhere = branch.tokens(image, torch.arange(64).expand(2, -1))
        torch.testing.assert_close(everywhere, theirs.forward_features(branch.encoder.normalised(image)))
