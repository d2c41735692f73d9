"""FakeVLM: a vision-language model tuned to say real or fake in its first sentence, and to name the artefacts after it.

The idea in three sentences. Real or fake is asked as a question about the image, and answered in words. The model is
tuned on answers alone: question and image carry no loss. So one network classifies and explains, without a head of
its own for either.

Wen et al., "Spot the Fake: Large Multimodal Model-Based Synthetic Image Detection with Artifact Explanation" (FakeVLM,
with the data FakeClue), NeurIPS 2025, arXiv 2503.14905. The authors' reader takes "real" in "unrealistic" for real and
flips a coin where it finds neither word; here whole words count, and an unreadable answer is one. FakeClue labels real
as 1; this package turns that round where data enter.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from unmask.errors import InputError
from unmask.types import Pixels
from unmask.vlm.chat import ChatModel, Message

if TYPE_CHECKING:
    from torch import Tensor

QUESTION = "Does the image looks real/fake?"  # the data set's own wording: models tuned on it know no other
IGNORED = -100  # label of a token without loss, as PyTorch and transformers write it
Verdict = Literal["real", "fake", "unparsed"]


@dataclass(frozen=True)
class Explained:
    """`verdict`: of the first sentence that decides; `explanation`: what comes after it; `reply`: all of it."""

    verdict: Verdict
    explanation: str
    reply: str
    model: str = ""


def question(score: float | None = None) -> str:
    """The question, after a detector's P(fake) where one is given (DF-LLaVA's way: three decimals, before it)."""
    if score is None:
        return QUESTION
    if not 0 <= score <= 1:
        raise InputError(f"a detector's score is a probability, not {score}")
    return f"A detector gives this image a probability of {score:.3f} of being fake. {QUESTION}"


def explain(
    model: ChatModel, image: Pixels, *, score: float | None = None, max_tokens: int = 256, decoder: str = ""
) -> Explained:
    """Ask about one image. Raises: UnmaskError where the model does not answer."""
    reply = model.chat([Message("user", question(score))], [image], max_tokens=max_tokens, decoder=decoder)
    verdict, rest = parse(reply.text)
    return Explained(verdict, rest, reply.text, reply.model)


def parse(reply: str) -> tuple[Verdict, str]:
    """The verdict of the first two sentences, and what follows it; one with both words, or "not", decides nothing."""
    text = reply.rpartition("?")[2].strip() if QUESTION in reply else reply.strip()
    sentences = re.split(r"(?<=[.!?])\s+", text)
    for number, sentence in enumerate(sentences[:2]):
        words = set(re.findall(r"[a-z]+(?:'t)?", sentence.lower()))
        told = words & {"real", "fake"}
        denied = bool(words & {"not", "no", "neither", "never", "cannot"}) or any(w.endswith("n't") for w in words)
        if len(told) == 1 and not denied:
            verdict: Verdict = "fake" if told == {"fake"} else "real"
            return verdict, " ".join(sentences[number + 1 :])
    return "unparsed", text


def answer(verdict: Literal["real", "fake"], artefacts: Iterable[str]) -> str:
    """The training target: the verdict in a sentence of its own, then each artefact in one."""
    rest = [text.strip().rstrip(".") + "." for text in artefacts]
    return " ".join([f"This is a {verdict} image.", *rest])


# --- training --------------------------------------------------------------------------------------------------------


def answer_labels(ids: Tensor, starts: Sequence[int], end: int) -> Tensor:
    """What each token is trained to be: itself in the answer, its end token included, IGNORED everywhere else.

    Args:
        ids: (B, T) question, image tokens and answer, padded on the right with `end` or anything else.
        starts: where the answer begins in each row.
        end: the end-of-sequence token; the first one of the answer is trained, padding after it is not.
    Raises: UnmaskError for a row whose answer has no end: it was cut, and would teach never to stop.
    """
    labels = ids.clone()
    for row, start in enumerate(starts):
        stops = (ids[row, start:] == end).nonzero()
        if not len(stops):
            raise InputError(f"the answer of row {row} has no end token: it is longer than the model's context")
        labels[row, :start] = IGNORED
        labels[row, start + int(stops[0]) + 1 :] = IGNORED
    return labels


def answer_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """L = - mean over the answers' tokens of log p(x_t | x_<t).

    Args:
        logits: (B, T, V), those at t foretell t + 1.
        labels: (B, T) of `answer_labels`.
    """
    from torch.nn import functional as F

    return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORED)


# --- does the text follow the detector or the image? ---------------------------------------------------------------


@dataclass(frozen=True)
class Sycophancy:
    """Shares of readable answers when a score is put before the question; NaN where none could be read.

    `follows`: of answers under a wrong score, those that say what the score says; `right`: accuracy without a score;
    `right_with_true`, `right_with_wrong`: with a true and with a wrong score before the question.
    """

    follows: float
    right: float
    right_with_true: float
    right_with_wrong: float
    unparsed: int


def sycophancy(model: ChatModel, images: Sequence[Pixels], labels: Sequence[int], sure: float = 0.98) -> Sycophancy:
    """Ask each image three times: without a score, with a true and with a wrong one (labels: 1 = fake)."""
    verdicts: dict[str, list[bool]] = {"none": [], "true": [], "wrong": []}
    unparsed = 0
    for image, label in zip(images, labels, strict=True):
        true = sure if label else 1 - sure
        for kind, score in (("none", None), ("true", true), ("wrong", 1 - true)):
            said = explain(model, image, score=score).verdict
            if said == "unparsed":
                unparsed += 1
            else:
                verdicts[kind].append((said == "fake") == bool(label))
    none, with_true, with_wrong = (_mean(verdicts[kind]) for kind in ("none", "true", "wrong"))
    return Sycophancy(1 - with_wrong, none, with_true, with_wrong, unparsed)


def _mean(values: Sequence[bool]) -> float:
    return sum(values) / len(values) if values else float("nan")
