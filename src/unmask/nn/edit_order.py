"""Orders of edits as sentences: an image goes in, and which of the known orders made it comes out.

A class is a whole order as manifests write it ("Bangs-Smiling"; "" or "real" is none). A decoder reads an order token
by token, and the logit of a class is the log-probability of its sentence: the answer is the best of the known orders,
the closed set that the data sets define. `OrderDetector.greedy` says the sentence freely, as the papers do.

Shao, Wu and Liu: "Detecting and Recovering Sequential DeepFake Manipulation", ECCV 2022, arXiv 2207.02204.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Batch, Detector, Output

ORIGINAL = ("", "real", "original")


@dataclass(frozen=True)
class Vocabulary:
    """Tokens: the steps from 0 on, then start, end and padding; `longest`: steps of the longest order."""

    steps: tuple[str, ...]
    longest: int

    @classmethod
    def of(cls, classes: tuple[str, ...]) -> Vocabulary:
        orders = [steps_of(name) for name in classes]
        return cls(tuple(sorted({step for order in orders for step in order})), max(map(len, orders), default=0))

    @property
    def start(self) -> int:
        return len(self.steps)

    @property
    def end(self) -> int:
        return len(self.steps) + 1

    @property
    def pad(self) -> int:
        return len(self.steps) + 2

    @property
    def size(self) -> int:
        return len(self.steps) + 3


def steps_of(name: str) -> tuple[str, ...]:
    """The steps of a class, the first edit first."""
    return () if name in ORIGINAL else tuple(name.split("-"))


def sentences(classes: tuple[str, ...], words: Vocabulary, backward: bool) -> tuple[Tensor, Tensor]:
    """What a decoder reads, and what it must say next, of each class: start t1 .. tn pad.., t1 .. tn end pad..

    Args:
        backward: the last edit is said first: it covers what came before, and is the easiest to see (TSOM).
    Returns: (K, longest + 1) twice.
    """
    read, say = [], []
    for name in classes:
        tokens = [words.steps.index(step) for step in steps_of(name)][:: -1 if backward else 1]
        room = [words.pad] * (words.longest - len(tokens))
        read.append([words.start, *tokens, *room])
        say.append([*tokens, words.end, *room])
    return torch.tensor(read), torch.tensor(say)


def sentence_scores(logits: Tensor, say: Tensor, pad: int) -> Tensor:
    """log P of each sentence: logits (B, K, T, V), targets (K, T) -> (B, K); padding counts for nothing."""
    each = logits.float().log_softmax(3).gather(3, say.expand(logits.shape[0], -1, -1)[..., None])[..., 0]
    return (each * (say != pad)).sum(2)


@dataclass(frozen=True)
class Encoded:
    """What an encoder made of images: `features` (B, D), and what the decoder reads, each (B, ...)."""

    features: Tensor
    memory: tuple[Tensor, ...]


class OrderDetector(Detector):
    """A method writes `encode` and `decode`; the rest follows. L = CE of the next token + `terms`."""

    read: Tensor
    say: Tensor

    def __init__(self, backward: bool) -> None:
        super().__init__()
        self.words, self.backward = Vocabulary.of(self.classes), backward
        for name, tokens in zip(("read", "say"), sentences(self.classes, self.words, backward), strict=True):
            self.register_buffer(name, tokens, persistent=False)

    @abstractmethod
    def encode(self, image: Tensor) -> Encoded:
        """(B, 3, H, W) in 0..1."""

    @abstractmethod
    def decode(self, memory: tuple[Tensor, ...], tokens: Tensor) -> Tensor:
        """Memory of B images and the tokens read so far (B, T) -> logits of the next one at each place (B, T, V)."""

    def forward(self, image: Tensor) -> Output:
        found, count = self.encode(image), len(self.read)
        memory = tuple(part.repeat_interleave(count, 0) for part in found.memory)
        tokens = self.read.expand(image.shape[0], -1, -1).flatten(0, 1)  # `len` would fix the batch in an export
        logits = self.decode(memory, tokens).unflatten(0, (-1, count))
        return Output(sentence_scores(logits, self.say, self.words.pad), found.features)

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        found = self.encode(batch.image)
        logits = self.decode(found.memory, self.read[batch.label])
        target = self.say[batch.label]
        order = {"order": next_token_loss(logits, target, self.words.pad)}
        return order | self.terms(batch.image, found, logits, target)

    def terms(self, image: Tensor, found: Encoded, logits: Tensor, target: Tensor) -> dict[str, Tensor]:
        """Further terms of the loss, of logits (B, T, V) and target tokens (B, T) too; none by default."""
        return {}

    @torch.no_grad()
    def greedy(self, image: Tensor) -> list[tuple[str, ...]]:
        """The steps said one after another until the end, in true order, the first edit first; known orders or not."""
        found, words = self.encode(image), self.words
        tokens = torch.full((len(image), 1), words.start, device=image.device)
        for _ in range(words.longest):
            logits = self.decode(found.memory, tokens)[:, -1].clone()
            logits[:, [words.start, words.pad]] = float("-inf")
            tokens = torch.cat([tokens, logits.argmax(1, keepdim=True)], 1)
        return [self._order(row) for row in tokens[:, 1:].tolist()]

    def _order(self, tokens: list[int]) -> tuple[str, ...]:
        ends = tokens.index(self.words.end) if self.words.end in tokens else len(tokens)
        said = tuple(self.words.steps[t] for t in tokens[:ends])
        return said[::-1] if self.backward else said


def next_token_loss(logits: Tensor, target: Tensor, pad: int) -> Tensor:
    """Mean cross-entropy over the tokens that are no padding: (B, T, V), (B, T)."""
    return F.cross_entropy(logits.flatten(0, 1), target.flatten(), ignore_index=pad)


class Attention(nn.Module):
    """Attention of several heads, to whose logits a map can be added."""

    def __init__(self, width: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.heads, self.dropout = heads, dropout
        self.q, self.k, self.v, self.out = (nn.Linear(width, width) for _ in range(4))

    def forward(self, query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None = None) -> Tensor:
        """(B, T, D), (B, N, D) twice -> (B, T, D). `bias` is added to the logits (B, heads, T, N); it may broadcast."""
        q, k, v = (
            linear(x).unflatten(2, (self.heads, -1)).transpose(1, 2)
            for linear, x in ((self.q, query), (self.k, key), (self.v, value))
        )
        read = F.scaled_dot_product_attention(q, k, v, bias, self.dropout if self.training else 0.0)
        attended: Tensor = self.out(read.transpose(1, 2).flatten(2))
        return attended


def causal(length: int, device: torch.device | None = None) -> Tensor:
    """(T, T): 0 where a place may look, -inf above the diagonal."""
    return torch.full((length, length), float("-inf"), device=device).triu(1)


def feed_forward(width: int, hidden: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Dropout(dropout), nn.Linear(hidden, width))
