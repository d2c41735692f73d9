"""Grids of patches, and choices among them."""

from __future__ import annotations

import math

import pytest
import torch

from unmask.nn.patches import patches, patchify, restore, split, take, unpatchify, visible
from unmask.nn.positions import sine_cosine
from unmask.nn.token_pool import TokenPool
from unmask.types import UnmaskError


def test_patches_of_a_4_by_4_image_by_hand() -> None:
    # 0 1 | 2 3
    # 4 5 | 6 7      the second patch of the first channel is 2 3 / 6 7; the second channel is 100 above the first.
    image = torch.arange(16.0).view(1, 1, 4, 4)
    image = torch.cat([image, image + 100], 1)
    assert patches(image, 2)[0, 1, 0].tolist() == [[2, 3], [6, 7]]
    assert patchify(image, 2)[0, 1].tolist() == [2, 102, 3, 103, 6, 106, 7, 107]
    assert torch.equal(unpatchify(patchify(image, 2), 2), image)
    with pytest.raises(UnmaskError, match="do not divide"):
        patches(image, 3)


def test_a_split_hides_so_many_of_each_image_and_other_ones() -> None:
    shown, hidden = split(64, 16, 4, torch.Generator().manual_seed(0))
    assert torch.equal(torch.cat([shown, hidden], 1).sort(1).values, torch.arange(16).expand(64, -1))
    assert len({tuple(h) for h in hidden.tolist()}) > 50  # of 1820 possible ones
    for wrong in (0, 16):
        with pytest.raises(UnmaskError, match="cannot be hidden"):
            split(2, 16, wrong)


def test_tokens_that_are_taken_and_put_back_are_where_they_were() -> None:
    tokens, token = torch.rand(3, 9, 5), torch.full((5,), -1.0)
    mask = torch.rand(3, 9).argsort(1) < 4
    index = visible(mask)
    full = restore(take(tokens, index), index, 9, token)
    assert torch.equal(full[~mask], tokens[~mask])
    assert (full[mask] == -1).all()
    with pytest.raises(UnmaskError, match="equally many"):
        visible(torch.tensor([[True, False], [False, False]]))


def test_positions_by_hand() -> None:
    # Width 8: two frequencies, 1 and 10000^(-1/2) = 0.01. The token of row 1, column 2 of a 3 x 3 grid is number 5.
    token = sine_cosine(8, 3)[1 + 5]
    expected = [math.sin(2), math.sin(0.02), math.cos(2), math.cos(0.02)]
    expected += [math.sin(1), math.sin(0.01), math.cos(1), math.cos(0.01)]
    assert token.tolist() == pytest.approx(expected, abs=1e-6)
    assert not sine_cosine(8, 3)[0].any()


def test_attention_pooling_sees_a_set() -> None:
    torch.manual_seed(0)
    pool, tokens = TokenPool(16, 2, 4, 32).eval(), torch.randn(2, 7, 16)
    torch.testing.assert_close(pool(tokens), pool(tokens[:, torch.randperm(7)]))
    assert not torch.allclose(pool(tokens), pool(tokens.roll(1, 0)), atol=1e-3)
