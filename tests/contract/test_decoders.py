"""What every decoding rule promises: a new file in `unmask.decoders` is tested without a line here."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")

from unmask.base.decoder import Decoder, Step  # noqa: E402
from unmask.registry import FAMILIES  # noqa: E402
from unmask.types import UnmaskError  # noqa: E402

NAMES = FAMILIES["decoder"].names()
ROWS, WORDS, LAYERS = 3, 50, 4


def create(name: str) -> Decoder:
    decoder: Decoder = FAMILIES["decoder"].create(name, FAMILIES["decoder"].card(name).small)
    return decoder


def step(decoder: Decoder, seed: int = 0) -> Step:
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape: int) -> torch.Tensor:
        return 3 * torch.randn(*shape, WORDS, generator=generator)

    layers = draw(LAYERS, ROWS)
    return Step(
        logits=layers[-1],
        branches={name: draw(ROWS) for name in decoder.branches},
        layers=layers if decoder.reads_layers else None,
        branch_layers={name: draw(LAYERS, ROWS) for name in decoder.branches} if decoder.reads_layers else {},
    )


@pytest.mark.parametrize("name", NAMES)
def test_scores_are_usable_and_deterministic(name: str) -> None:
    decoder = create(name)
    one, two = decoder(step(decoder)), decoder(step(decoder))
    assert one.shape == (ROWS, WORDS)
    assert torch.isfinite(one).any(-1).all()
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    assert one.softmax(-1).sum(-1).allclose(torch.ones(ROWS))


@pytest.mark.parametrize("name", NAMES)
def test_the_likeliest_token_is_never_ruled_out(name: str) -> None:
    decoder = create(name)
    given = step(decoder, 1)
    assert torch.isfinite(decoder(given).gather(1, given.logits.argmax(1, keepdim=True))).all()


@pytest.mark.parametrize("name", NAMES)
def test_a_row_does_not_depend_on_its_neighbours(name: str) -> None:
    decoder = create(name)
    given = step(decoder, 2)
    alone = Step(
        logits=given.logits[:1],
        branches={k: v[:1] for k, v in given.branches.items()},
        layers=None if given.layers is None else given.layers[:, :1],
        branch_layers={k: v[:, :1] for k, v in given.branch_layers.items()},
    )
    torch.testing.assert_close(decoder(alone), decoder(given)[:1])


NEEDY = [
    name for name in NAMES if FAMILIES["decoder"].kind(name).branches or FAMILIES["decoder"].kind(name).reads_layers
]


@pytest.mark.parametrize("name", NEEDY)
def test_a_missing_branch_is_named(name: str) -> None:
    decoder = create(name)
    bare = Step(logits=step(decoder).logits)
    with pytest.raises(UnmaskError, match=decoder.branches[0] if decoder.branches else "hidden layers"):
        decoder(bare)
