"""Replies from a list, for tests and for showing a command without a model."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

from unmask.errors import InputError
from unmask.vlm.chat import Capability, ChatError, ChatModel, Reply, Request


class Scripted(ChatModel):
    """The first rule whose text occurs in the last message answers; it never looks at an image."""

    capabilities = frozenset[Capability]({"images", "json_schema"})

    def __init__(self, rules: Sequence[tuple[str, str]], name: str = "scripted") -> None:
        """`rules`: (text that must occur, reply); an empty text occurs everywhere."""
        self.rules, self.name = tuple(rules), name
        self.asked: list[Request] = []

    @classmethod
    def read(cls, path: Path) -> Scripted:
        """A JSON file, a list of [text, reply]. Raises: UnmaskError for another file."""
        try:
            rules = json.loads(path.read_bytes())
            pairs = [(str(when), str(reply)) for when, reply in rules]
        except (OSError, ValueError, TypeError) as error:
            raise InputError(f"{path} is no script, a JSON list of [text, reply]: {error}") from None
        return cls(pairs, name=f"scripted ({path.name})")

    def answer(self, asked: Request) -> Reply:
        self.asked.append(asked)
        for when, reply in self.rules:
            if when in asked.messages[-1].text:
                return Reply(reply, "stop", self.name)
        raise ChatError(f"{self.name} has no reply to {asked.messages[-1].text[:80]!r}")
