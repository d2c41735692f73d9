"""A decoding rule inside transformers' `generate`: further passes with caches of their own, combined at each token."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn
from transformers import LogitsProcessor

from unmask.base.decoder import Decoder, Step


@dataclass
class Branch:
    """One further pass: a model, and its inputs before the first token (`input_ids`, `pixel_values`, ...)."""

    model: Any
    inputs: Mapping[str, Tensor]
    cache: Any = None
    mask: Tensor | None = field(default=None, repr=False)

    @torch.no_grad()
    def logits(self, written: Tensor, layers: bool) -> tuple[Tensor, Tensor | None]:
        """After the prompt and the tokens (B, n) written so far: (B, V), and of each layer (L, B, V).

        The first call runs the prompt, later ones only the last token, with this branch's own cache.
        """
        if self.cache is None:
            given = dict(self.inputs)
            ids = torch.cat([given.pop("input_ids"), written], 1)
            self.mask = given.pop("attention_mask", torch.ones_like(self.inputs["input_ids"]))
            self.mask = torch.cat([self.mask, torch.ones_like(written)], 1)
            out = self.model(
                input_ids=ids, attention_mask=self.mask, use_cache=True, output_hidden_states=layers, **given
            )
        else:
            assert self.mask is not None
            self.mask = torch.cat([self.mask, torch.ones_like(written[:, -1:])], 1)
            out = self.model(
                input_ids=written[:, -1:],
                attention_mask=self.mask,
                past_key_values=self.cache,
                use_cache=True,
                output_hidden_states=layers,
            )
        self.cache = out.past_key_values
        read = read_layers(self.model, out.hidden_states) if layers else None
        return out.logits[:, -1].float(), read


def read_layers(model: Any, hidden: tuple[Tensor, ...]) -> Tensor:
    """What the head reads out of every layer after the embedding, at the last token: (L, B, V).

    transformers normalises the last hidden state already, the lower ones not.
    """
    head, norm = model.get_output_embeddings(), _final_norm(model)
    read = [head(norm(h[:, -1])) for h in hidden[1:-1]] + [head(hidden[-1][:, -1])]
    return torch.stack(read).float()


def _final_norm(model: Any) -> nn.Module:
    """The norm between the last block and the head, by the names that decoders in transformers give it."""
    inner = model.get_decoder() if hasattr(model, "get_decoder") else model
    for name in ("norm", "final_layer_norm", "ln_f"):
        if isinstance(found := getattr(inner, name, None), nn.Module):
            return found
    raise TypeError(f"{type(model).__name__} has no final norm under a known name")


class DecodingProcessor(LogitsProcessor):
    """Give one, new for each call, to `generate(logits_processor=[...])`.

    Example:
        >>> processor = DecodingProcessor(create("decoder", "ritual"), prompt, {"transformed": Branch(model, inputs)})
    """

    def __init__(
        self, decoder: Decoder, prompt: int, branches: Mapping[str, Branch], original: Branch | None = None
    ) -> None:
        """
        Args:
            prompt: tokens of the original's prompt; what comes after was written.
            branches: the decoder's.
            original: the original prompt as a branch, for rules that read hidden layers.
        """
        self.decoder, self.prompt, self.branches, self.original = decoder, prompt, dict(branches), original

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        written, layers = input_ids[:, self.prompt :], self.decoder.reads_layers
        found = {name: branch.logits(written, layers) for name, branch in self.branches.items()}
        own = self.original.logits(written, True)[1] if self.original is not None else None
        step = Step(
            logits=scores.float(),
            branches={name: logits for name, (logits, _) in found.items()},
            layers=own,
            branch_layers={name: read for name, (_, read) in found.items() if read is not None},
            position=written.shape[1],
        )
        return self.decoder(step)
