"""What every vision-language model is: messages and images in, text out. Needs no torch.

An adapter declares what it can do. What is asked beyond that is refused, never silently left out: a verdict read from
log-probabilities that were not there would be a guess.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, final

import numpy as np

from unmask.errors import InputError, UnmaskError
from unmask.types import Pixels

Capability = Literal["images", "logprobs", "json_schema", "branches", "hidden_states"]
Role = Literal["system", "user", "assistant"]
LONGEST = 100_000  # characters of a reply that are kept: a model that never stops is no reason to fill the memory


class ChatError(UnmaskError):
    """A model that cannot be asked, or did not answer. The text says why."""


@dataclass(frozen=True)
class Message:
    role: Role
    text: str


@dataclass(frozen=True)
class Request:
    """What is asked of a model.

    Attributes:
        images: uint8 (H, W, 3) each; they stand before the text of the first message of the user.
        logprobs: of how many of the likeliest tokens the log-probability is wanted at each place; 0 = none.
        json_schema: the form that the reply must have.
        decoder: the name of a method of the family "decoder", with `decoder_options`; "" = the model's own decoding.
    """

    messages: tuple[Message, ...]
    images: tuple[Pixels, ...] = ()
    max_tokens: int = 512
    temperature: float = 0.0
    seed: int = 0
    logprobs: int = 0
    json_schema: Mapping[str, Any] | None = None
    decoder: str = ""
    decoder_options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reply:
    """
    Attributes:
        finish: "stop", "length", or what the model says.
        model: the name that the model itself gives, with its revision where it says so.
        logprobs: for each token that was written, token -> natural logarithm of its probability; none if not asked for.
        notes: what the adapter had to leave out or change, for the record.
    """

    text: str
    finish: str
    model: str
    logprobs: tuple[Mapping[str, float], ...] = ()
    notes: tuple[str, ...] = ()


class ChatModel(ABC):
    """A model behind one call. `address`: where images are sent, "" where they stay in this process."""

    capabilities: frozenset[Capability] = frozenset()
    name: str = ""
    address: str = ""

    @final
    def chat(
        self,
        messages: Sequence[Message],
        images: Sequence[Pixels] = (),
        *,
        max_tokens: int = 512,
        temperature: float = 0.0,
        seed: int = 0,
        logprobs: int = 0,
        json_schema: Mapping[str, Any] | None = None,
        decoder: str = "",
        decoder_options: Mapping[str, Any] | None = None,
    ) -> Reply:
        """One reply; see `Request`.

        Raises: UnmaskError for what the model cannot do, and where it does not answer.
        """
        asked = Request(
            tuple(messages), tuple(images), max_tokens, temperature, seed, logprobs, json_schema, decoder,
            dict(decoder_options or {}),
        )  # fmt: skip
        _check(asked)
        for wanted, capability in (
            (asked.images, "images"),
            (asked.logprobs, "logprobs"),
            (asked.json_schema, "json_schema"),
            (asked.decoder, "branches"),
        ):
            if wanted and capability not in self.capabilities:
                able = ", ".join(sorted(self.capabilities)) or "text alone"
                raise ChatError(f"{self.name or type(self).__name__} cannot serve {capability}; it can: {able}")
        reply = self.answer(asked)
        if asked.logprobs and not reply.logprobs:
            raise ChatError(f"{self.name} gave no log-probabilities although they were asked for")
        return Reply(reply.text[:LONGEST], reply.finish, reply.model or self.name, reply.logprobs, reply.notes)

    @abstractmethod
    def answer(self, asked: Request) -> Reply:
        """The asking itself, on a checked request. Raises: ChatError."""


def _check(asked: Request) -> None:
    if not asked.messages or asked.messages[-1].role != "user":
        raise InputError("a chat ends with a message of the user")
    if any(m.role == "system" for m in asked.messages[1:]):
        raise InputError("a message of the system can only be the first")
    for image in asked.images:
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
            raise InputError(f"an image to ask about is uint8 (H, W, 3), not {image.dtype} {image.shape}")
    if asked.max_tokens < 1 or asked.temperature < 0 or not 0 <= asked.logprobs <= 20:
        raise InputError("max_tokens is 1 or more, temperature 0 or more, logprobs 0 to 20")
