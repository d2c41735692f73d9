"""Text encoders: sentences in, features out. A small transformer, or a published one of transformers from a folder.

An encoder owns its tokeniser, as image encoders own their normalisation: what reads stays with what was learnt.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from unmask.data import tokens
from unmask.errors import BundleError, InputError
from unmask.types import Plain

Pool = Literal["first", "last", "mean"]
MINUS_INFINITY = float("-inf")


class TextSpec(Plain):
    """Which text encoder, and what it reads with. Widths and depths are those of the small transformer alone."""

    encoder: str = Field("transformer", description="or the folder of a published encoder in transformers' layout")
    tokeniser: str = Field(
        "", description='a folder with tokenizer.json, or "bytes"; none = the encoder\'s own, or bytes'
    )
    sha256: str = Field("", description="of tokenizer.json; a run writes it, and refuses another file later")
    length: int = Field(64, ge=4, description="tokens of a sentence at most, both marks among them")
    width: int = Field(512, ge=8)
    depth: int = Field(12, ge=1)
    heads: int = Field(8, ge=1)
    dropout: float = Field(0.0, ge=0, lt=1)
    causal: bool = Field(True, description="whether a token sees only what stands before it, as in CLIP")
    pool: Pool = Field("last", description="the feature: CLIP takes the last token, BERT the first, MiniLM the mean")
    frozen: bool = Field(False, description="whether it stays as it is")


class TextTransformer(nn.Module):
    """Token numbers (B, L) -> states (B, L, D): embeddings with learnt positions, pre-norm blocks, LayerNorm."""

    def __init__(self, size: int, length: int, width: int, depth: int, heads: int, dropout: float = 0.0) -> None:
        super().__init__()
        self.embed, self.positions = nn.Embedding(size, width), nn.Parameter(torch.randn(length, width) * 0.01)
        nn.init.normal_(self.embed.weight, std=0.02)
        layer = nn.TransformerEncoderLayer(
            width, heads, 4 * width, dropout, nn.functional.gelu, batch_first=True, norm_first=True
        )
        self.layers = nn.TransformerEncoder(layer, depth, nn.LayerNorm(width), enable_nested_tensor=False)

    def forward(self, ids: Tensor, mask: Tensor, causal: bool = True, extra: Tensor | None = None) -> Tensor:
        """
        Args:
            mask: (B, L) bool, true for a sentence's own tokens.
            extra: (1, D) a learnt token that is put behind all others and sees the sentence's own (CoCa); its state is
                the last.
        """
        x = self.embed(ids) + self.positions[: ids.shape[1]]
        if extra is not None:
            x, mask = torch.cat([x, extra.expand(len(x), 1, -1)], 1), torch.nn.functional.pad(mask, (0, 1), value=True)
        return run(self.layers, x, mask, causal)


def run(layers: nn.TransformerEncoder, x: Tensor, mask: Tensor, causal: bool) -> Tensor:
    """Tokens (B, L, D) through blocks. A token sees those of its sentence (mask), with `causal` none behind it."""
    length = x.shape[1]
    hidden = torch.zeros(length, length, device=x.device, dtype=x.dtype)
    if causal:
        hidden = torch.full_like(hidden, MINUS_INFINITY).triu(1)
    # A token that only fills up still sees itself: a row of -inf alone would be NaN.
    seen = mask[:, None] | torch.eye(length, dtype=torch.bool, device=x.device)
    both = hidden[None].masked_fill(~seen, MINUS_INFINITY)
    heads: int = layers.layers[0].self_attn.num_heads
    found: Tensor = layers(x, mask=both.repeat_interleave(heads, 0))
    return found


def pooled(states: Tensor, mask: Tensor, pool: Pool) -> Tensor:
    """States (B, L, D) and the sentence's own tokens (B, L) -> (B, D)."""
    if pool == "first":
        return states[:, 0]
    if pool == "last":
        return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
    weight = mask.to(states.dtype)[..., None]
    return (states * weight).sum(1) / weight.sum(1).clamp_min(1)


class TextEncoder(nn.Module):
    """Sentences -> (B, features)."""

    def __init__(self, spec: TextSpec) -> None:
        """Raises: UnmaskError for a folder without an encoder or tokeniser, or with another tokeniser than before."""
        super().__init__()
        self.spec, own = spec, spec.encoder == "transformer"
        self.tokeniser = _tokeniser(spec)
        self.body: nn.Module
        if own:
            self.body = TextTransformer(
                self.tokeniser.size, spec.length, spec.width, spec.depth, spec.heads, spec.dropout
            )
            self.features = spec.width
        else:
            self.body = _published(Path(spec.encoder), spec.dropout)
            self.features = int(self.body.config.hidden_size)  # type: ignore[union-attr,arg-type]
        if spec.frozen:
            self.body.requires_grad_(False)

    def tokens(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Numbers (B, L) and which are the sentence's own (B, L), on the encoder's device.

        Raises: UnmaskError for no sentences.
        """
        if not texts:
            raise InputError("there are no sentences to read")
        ids, mask = self.tokeniser(texts, self.spec.length)
        device = next(self.body.parameters()).device
        return torch.from_numpy(ids).to(device), torch.from_numpy(mask).to(device)

    def states(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L, features)."""
        if isinstance(self.body, TextTransformer):
            found: Tensor = self.body(ids, mask, self.spec.causal)
            return found
        found = self.body(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return found

    def forward(self, texts: Sequence[str]) -> Tensor:
        ids, mask = self.tokens(texts)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.spec.frozen):
            return pooled(self.states(ids, mask), mask, self.spec.pool)

    def train(self, mode: bool = True) -> TextEncoder:
        """What is frozen has no dropout."""
        super().train(mode and not self.spec.frozen)
        return self


def _tokeniser(spec: TextSpec) -> tokens.Tokeniser:
    own = spec.encoder == "transformer"
    folder = spec.tokeniser or ("bytes" if own else spec.encoder)
    path = Path(folder) / tokens.FILE
    if spec.sha256 and path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() != spec.sha256:
        raise BundleError(f"{path} is not the tokeniser that this was trained with: put the old file back")
    return tokens.load(folder)


def _published(folder: Path, dropout: float) -> nn.Module:
    """transformers' model of a folder: safetensors alone, no code of the folder, nothing from the network."""
    from transformers import AutoConfig, AutoModel

    if not (folder / "config.json").is_file() or not (folder / "model.safetensors").is_file():
        raise BundleError(f"{folder} is no text encoder: it needs config.json, model.safetensors and tokenizer.json")
    config: Any = AutoConfig.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    for name in ("hidden_dropout_prob", "attention_probs_dropout_prob"):
        if dropout and hasattr(config, name):
            setattr(config, name, dropout)
    extra = {"add_pooling_layer": False} if config.model_type in ("bert", "roberta", "xlm-roberta") else {}
    model: nn.Module = AutoModel.from_pretrained(
        folder, config=config, local_files_only=True, trust_remote_code=False, use_safetensors=True, **extra
    )
    return model
