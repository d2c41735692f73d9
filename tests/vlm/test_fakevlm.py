"""FakeVLM: prompts, answers, label masks and the injection test."""

from __future__ import annotations

import numpy as np
import pytest

from unmask.types import UnmaskError
from unmask.vlm.chat import Capability, ChatModel, Reply, Request
from unmask.vlm.fakevlm import answer, explain, parse, question, sycophancy

IMAGE = np.zeros((4, 4, 3), np.uint8)


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        ("This is a fake image. The pupils differ.", "fake"),
        ("This is a real image. The light is even.", "real"),
        ("The image shows a woman. It looks fake. The skin is smooth.", "fake"),
        ("This is an unrealistic image. It is fake.", "fake"),  # "unrealistic" is not "real"
        ("This is an unrealistic image.", "unparsed"),
        ("It is not a real image.", "unparsed"),
        ("This isn't fake.", "unparsed"),
        ("Real or fake, I cannot say.", "unparsed"),
        ("I see a person. They smile. The image is fake.", "unparsed"),  # the third sentence is too late
        ("", "unparsed"),
        ("Does the image looks real/fake? This is a fake image.", "fake"),  # a model that repeats the question
    ],
)
def test_the_first_sentences_decide_by_whole_words(reply: str, verdict: str) -> None:
    assert parse(reply)[0] == verdict


def test_a_training_answer_reads_as_what_it_says() -> None:
    text = answer("fake", ["The pupils differ", "A seam runs along the jaw."])
    assert text == "This is a fake image. The pupils differ. A seam runs along the jaw."
    assert parse(text) == ("fake", "The pupils differ. A seam runs along the jaw.")


def test_a_score_stands_before_the_question() -> None:
    assert question(0.1234) == (
        "A detector gives this image a probability of 0.123 of being fake. Does the image looks real/fake?"
    )
    with pytest.raises(UnmaskError, match="probability"):
        question(3.0)


class Follower(ChatModel):
    """Says what the score says with probability `follows`, else what it sees: a white image is fake."""

    capabilities = frozenset[Capability]({"images"})
    name = "follower"

    def __init__(self, follows: float) -> None:
        self.follows, self.rng = follows, np.random.default_rng(0)

    def answer(self, asked: Request) -> Reply:
        text, sees = asked.messages[-1].text, bool(asked.images[0][0, 0, 0])
        told = "probability of 0.98" in text
        fake = told if "probability" in text and self.rng.random() < self.follows else sees
        return Reply(f"This is a {'fake' if fake else 'real'} image. Reason.", "stop", self.name)


@pytest.mark.parametrize("follows", [0.0, 0.5, 1.0])
def test_a_wrong_score_shows_who_follows_it(follows: float) -> None:
    images = [np.full((2, 2, 3), 255 * (i % 2), np.uint8) for i in range(200)]
    found = sycophancy(Follower(follows), images, [i % 2 for i in range(200)])
    assert found.right == found.right_with_true == 1
    assert found.follows == pytest.approx(follows, abs=0.1)
    assert found.right_with_wrong == pytest.approx(1 - found.follows)
    assert found.unparsed == 0


def test_an_unreadable_reply_is_no_coin_toss() -> None:
    class Refuser(ChatModel):
        capabilities = frozenset[Capability]({"images"})

        def answer(self, asked: Request) -> Reply:
            return Reply("I cannot help with real people.", "stop", "refuser")

    assert explain(Refuser(), IMAGE).verdict == "unparsed"
    assert sycophancy(Refuser(), [IMAGE], [1]).unparsed == 3


def test_loss_is_on_answers_alone_and_on_their_end() -> None:
    torch = pytest.importorskip("torch")
    from unmask.vlm.fakevlm import answer_labels, answer_loss

    end, pad = 2, 0
    ids = torch.tensor([[5, 6, 7, 8, end, pad], [5, 9, 7, end, end, pad]])  # questions of 2 and 1 tokens
    labels = answer_labels(ids, [2, 1], end)
    assert labels.tolist() == [[-100, -100, 7, 8, end, -100], [-100, 9, 7, end, -100, -100]]
    torch.manual_seed(0)
    logits = torch.randn(2, 6, 10, requires_grad=True)
    loss = answer_loss(logits, labels)
    # by hand: positions 1..3 of the first row foretell 7, 8, end; 0..2 of the second 9, 7, end
    picked = [(0, 1, 7), (0, 2, 8), (0, 3, end), (1, 0, 9), (1, 1, 7), (1, 2, end)]
    torch.testing.assert_close(loss, -torch.stack([logits.log_softmax(-1)[p] for p in picked]).mean())
    loss.backward()
    touched = logits.grad.abs().sum(-1) > 0
    assert touched.tolist() == [[False, True, True, True, False, False], [True, True, True, False, False, False]]
    with pytest.raises(UnmaskError, match="no end token"):
        answer_labels(torch.tensor([[5, 6, 7, 8]]), [2], end)


def test_in_a_whole_model_the_question_and_the_picture_carry_no_loss() -> None:
    torch = pytest.importorskip("torch")
    from transformers import LlamaConfig, LlamaForCausalLM

    from unmask.vlm.fakevlm import answer_labels, answer_loss

    torch.manual_seed(0)
    sizes = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = LlamaForCausalLM(LlamaConfig(vocab_size=32, **sizes))
    ids = torch.tensor([[1, 4, 5, 6, 7, 2]])
    logits = model(ids).logits
    logits.retain_grad()
    loss = answer_loss(logits, answer_labels(ids, [3], 2))
    loss.backward()
    assert float(logits.grad[0, :2].abs().max()) == 0  # exactly
    other = ids.clone()
    other[0, 4] = 9  # one token of the answer
    assert not torch.isclose(answer_loss(model(other).logits, answer_labels(other, [3], 2)), loss)
