"""Decoding rules: identities and values by hand, and the same tokens as an oracle without a cache."""

from __future__ import annotations

import math

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from unmask.base.decoder import Decoder, Step, plausible  # noqa: E402
from unmask.decoders.dola import DoLa, jensen_shannon  # noqa: E402
from unmask.decoders.lol import LOL  # noqa: E402
from unmask.decoders.ritual import Ritual  # noqa: E402
from unmask.decoders.vcd import VCD  # noqa: E402
from unmask.nn.decoding import Branch, DecodingProcessor  # noqa: E402

LOGITS = torch.tensor([[2.0, 1.0, 0.0, -4.0]])
OTHER = torch.tensor([[0.0, 2.0, 1.0, 5.0]])


def test_plausible_by_hand() -> None:
    # log 0.1 = -2.303: kept is what lies at most 2.303 below 2, so 2, 1 and 0, not -4.
    assert plausible(LOGITS, 0.1).tolist() == [[True, True, True, False]]
    assert plausible(LOGITS, 1.0).tolist() == [[True, False, False, False]]
    assert plausible(LOGITS, 0.0).all()


def test_vcd_and_ritual_by_hand() -> None:
    # 2 l - o: 4, 0, -1, ruled out although the difference would have been -13.
    made = VCD(alpha=1.0, beta=0.1)(Step(LOGITS, {"noised": OTHER}))
    torch.testing.assert_close(made, torch.tensor([[4.0, 0.0, -1.0, -math.inf]]))
    # l + 3 o: 2, 7, 3; the last stays ruled out by the original alone.
    made = Ritual()(Step(LOGITS, {"transformed": OTHER}))
    torch.testing.assert_close(made, torch.tensor([[2.0, 7.0, 3.0, -math.inf]]))


def test_neutral_settings_are_the_base_decoding() -> None:
    base = LOGITS.softmax(-1)
    for decoder, branch in ((VCD(alpha=0, beta=0), "noised"), (Ritual(alpha=0, beta=0), "transformed")):
        torch.testing.assert_close(decoder(Step(LOGITS, {branch: OTHER})).softmax(-1), base)
    neutral = LOL(contrast=0, lower_contrast=0, omega=0, delta=0, layer=0, beta=0)
    layers = torch.stack([OTHER, LOGITS])
    step = Step(LOGITS, {"amateur": OTHER, "instructed": OTHER}, layers, {"amateur": layers})
    torch.testing.assert_close(neutral(step).softmax(-1), base)


def test_ritual_with_an_equal_view_is_a_lower_temperature() -> None:
    made = Ritual(alpha=3, beta=0)(Step(LOGITS, {"transformed": LOGITS}))
    torch.testing.assert_close(made.softmax(-1), (LOGITS / 0.25).softmax(-1))


def test_lol_with_the_model_as_its_own_amateur_says_nothing() -> None:
    layers = torch.stack([OTHER, LOGITS])
    step = Step(LOGITS, {"amateur": LOGITS, "instructed": LOGITS}, layers, {"amateur": layers})
    made = LOL(contrast=1, lower_contrast=1, layer=0, beta=0)(step)
    torch.testing.assert_close(made, torch.zeros_like(made))


def test_dola_takes_the_layer_that_differs_most() -> None:
    # Two words. Last: (0.9, 0.1). Early layers: (0.8, 0.2) and (0.1, 0.9); the second differs more.
    last, near, apart = (torch.tensor([[p, 1 - p]]).log() for p in (0.9, 0.8, 0.1))
    step = Step(last, layers=torch.stack([near, apart, last]))
    made = DoLa(layers=[0, 1], beta=0)(step)
    torch.testing.assert_close(made, torch.tensor([[math.log(0.9 / 0.1), math.log(0.1 / 0.9)]]))
    # JS of (0.9, 0.1) and (0.1, 0.9), middle (0.5, 0.5): 0.9 ln 1.8 + 0.1 ln 0.2 = 0.3681 nats.
    assert float(jensen_shannon(last, apart)) == pytest.approx(0.3681, abs=1e-4)


@pytest.fixture(scope="module")
def model() -> object:
    torch.manual_seed(0)
    config = transformers.LlamaConfig(
        vocab_size=64, hidden_size=32, intermediate_size=48, num_hidden_layers=4, num_attention_heads=4
    )
    return transformers.LlamaForCausalLM(config).eval()


@pytest.mark.parametrize(
    "decoder", [Ritual(beta=0.01), VCD(beta=0.01), DoLa(layers=[0, 1, 2], beta=0.01), LOL(layer=1, beta=0.01)]
)
@torch.no_grad()
def test_generate_writes_what_an_oracle_without_a_cache_writes(model: object, decoder: Decoder) -> None:
    prompt, other = torch.tensor([[1, 5, 9, 13]]), torch.tensor([[2, 7, 11]])
    branches = {name: Branch(model, {"input_ids": other}) for name in decoder.branches}
    original = Branch(model, {"input_ids": prompt}) if decoder.reads_layers else None
    processor = DecodingProcessor(decoder, prompt.shape[1], branches, original)
    made = model.generate(  # type: ignore[attr-defined]
        prompt, max_new_tokens=8, do_sample=False, logits_processor=[processor], eos_token_id=None, pad_token_id=0
    )
    torch.testing.assert_close(made[:, 4:], oracle(model, decoder, prompt, other, 8))


def oracle(model: object, decoder: Decoder, prompt: torch.Tensor, other: torch.Tensor, count: int) -> torch.Tensor:
    """Every pass from its first token on, at each step."""
    written = torch.zeros(1, 0, dtype=torch.long)
    for _ in range(count):
        logits, layers = whole(model, torch.cat([prompt, written], 1))
        branch, branch_layers = whole(model, torch.cat([other, written], 1))
        step = Step(
            logits,
            dict.fromkeys(decoder.branches, branch),
            layers,
            dict.fromkeys(decoder.branches, branch_layers),
        )
        written = torch.cat([written, decoder(step).argmax(-1, keepdim=True)], 1)
    return written


def whole(model: object, ids: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    out = model(ids, output_hidden_states=True)  # type: ignore[operator]
    norm, head = model.model.norm, model.lm_head  # type: ignore[attr-defined]
    read = [head(norm(h[:, -1])) for h in out.hidden_states[1:-1]] + [out.logits[:, -1]]
    return out.logits[:, -1], torch.stack(read)
