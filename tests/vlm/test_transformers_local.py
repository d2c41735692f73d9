"""A model of transformers in this process, with the package's decoding rules, on a tiny LLaVA."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from tests.vlm.tiny import llava, tokenizer  # noqa: E402
from unmask.types import UnmaskError  # noqa: E402
from unmask.vlm.chat import ChatError, Message  # noqa: E402
from unmask.vlm.transformers_local import TransformersLocal, mirrored, noised  # noqa: E402

ASK = [Message("user", "is the face real")]
IMAGE = np.random.default_rng(0).integers(0, 256, (20, 24, 3)).astype(np.uint8)


@pytest.fixture(scope="module")
def model() -> TransformersLocal:
    return TransformersLocal.of(*llava(), "tiny-llava")


def test_the_picture_reaches_the_answer(model: TransformersLocal) -> None:
    first = model.chat(ASK, [IMAGE], max_tokens=6, logprobs=5)
    assert first == model.chat(ASK, [IMAGE], max_tokens=6, logprobs=5)
    other = model.chat(ASK, [255 - IMAGE], max_tokens=6, logprobs=5)
    assert first.logprobs != other.logprobs
    assert len(first.logprobs) == (6 if first.finish == "length" else len(first.logprobs))
    assert all(len(top) <= 5 and sum(np.exp(list(top.values()))) <= 1 + 1e-5 for top in first.logprobs)


def test_its_log_probabilities_are_the_models_own(model: TransformersLocal) -> None:
    inputs = model.inputs(tuple(ASK), (IMAGE,))
    with torch.no_grad():
        expected = model.model(**inputs).logits[0, -1].float().log_softmax(-1).topk(3).values
    found = model.chat(ASK, [IMAGE], max_tokens=1, logprobs=3).logprobs[0]
    np.testing.assert_allclose(sorted(found.values(), reverse=True), expected.numpy(), atol=1e-5)


@pytest.mark.parametrize(
    ("decoder", "options"), [("ritual", {"alpha": 0.0, "beta": 0.0}), ("vcd", {"alpha": 0.0, "beta": 0.0})]
)
def test_neutral_rules_are_the_models_own_decoding(
    model: TransformersLocal, decoder: str, options: dict[str, float]
) -> None:
    plain = model.chat(ASK, [IMAGE], max_tokens=6)
    assert model.chat(ASK, [IMAGE], max_tokens=6, decoder=decoder, decoder_options=options).text == plain.text


def test_the_second_pass_sees_the_mirrored_picture(model: TransformersLocal) -> None:
    """ritual with alpha = 1e6 decodes what the mirrored image says; the first token by hand."""
    options = {"alpha": 1e6, "beta": 0.0}
    strong = model.chat(ASK, [IMAGE], max_tokens=1, decoder="ritual", decoder_options=options)
    assert strong.text == model.chat(ASK, [mirrored(IMAGE)], max_tokens=1).text


def test_rules_that_read_layers_and_those_that_need_another_model(model: TransformersLocal) -> None:
    assert model.chat(ASK, [IMAGE], max_tokens=3, decoder="dola", decoder_options={"layers": [0, 1]}).text is not None
    with pytest.raises(UnmaskError, match="second model"):
        model.chat(ASK, [IMAGE], max_tokens=3, decoder="lol", decoder_options={"layer": 1})


def test_a_text_model_judges_and_sees_nothing() -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    words = tokenizer()
    config = LlamaConfig(vocab_size=len(words), eos_token_id=2, pad_token_id=0, bos_token_id=None, **sizes)
    judge = TransformersLocal.of(LlamaForCausalLM(config), words, "text")
    assert isinstance(judge.chat(ASK, max_tokens=3).text, str)
    with pytest.raises(ChatError, match="cannot serve images"):
        judge.chat(ASK, [IMAGE])


def test_a_folder_is_read_back_and_another_is_refused(model: TransformersLocal, tmp_path: Path) -> None:
    model.model.save_pretrained(tmp_path / "tiny")
    model.processor.save_pretrained(tmp_path / "tiny")
    again = TransformersLocal(tmp_path / "tiny")
    assert again.name == "tiny"
    assert again.chat(ASK, [IMAGE], max_tokens=4).text == model.chat(ASK, [IMAGE], max_tokens=4).text
    with pytest.raises(ChatError, match="no model that transformers can read"):
        TransformersLocal(tmp_path)


def test_noise_follows_the_diffusion_schedule() -> None:
    # Nothing is kept of a late step, nearly all of the first: correlation with the image falls.
    same = [float(np.corrcoef(noised(IMAGE, 0, step).ravel(), IMAGE.ravel())[0, 1]) for step in (0, 500, 999)]
    assert same[0] > 0.99
    assert same[0] > same[1] > same[2]
    np.testing.assert_array_equal(noised(IMAGE, 3), noised(IMAGE, 3))
