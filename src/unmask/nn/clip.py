"""A published CLIP on disk, in transformers' layout: its image tower, and where its text tower puts sentences.

Radford et al.: "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, arXiv 2103.00020.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.errors import BundleError
from unmask.nn.backbones import Encoder, fill

VOCABULARY = ("tokenizer.json", "vocab.json")


class PublishedCLIP:
    """A model.safetensors with its config.json, and for sentences its tokeniser, beside it."""

    def __init__(self, weights: Path) -> None:
        """Raises: UnmaskError for files that cannot be read, or are no whole CLIP of transformers."""
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        self.path = weights
        try:
            self.state = load_file(weights)
        except (OSError, SafetensorError) as error:
            raise BundleError(f"cannot read the weights {weights}: {error}") from error
        missing = {"visual_projection.weight", "text_projection.weight", "logit_scale"} - self.state.keys()
        if missing:
            raise BundleError(
                f"{weights} is no whole CLIP, it has no {', '.join(sorted(missing))}: give model.safetensors of "
                "transformers' layout, with config.json beside it"
            )
        try:
            self.config: dict[str, Any] = json.loads((weights.parent / "config.json").read_bytes())
        except (OSError, ValueError) as error:
            raise BundleError(f"cannot read config.json beside {weights}: {error}") from error

    @property
    def scale(self) -> float:
        """What its cosines are multiplied by."""
        return float(self.state["logit_scale"].exp())

    def fill(self, encoder: Encoder, projection: nn.Linear) -> None:
        """The image tower's weights. Raises: UnmaskError for a tower of other sizes or another activation."""
        said = (self.config.get("vision_config") or {}).get("hidden_act", "quick_gelu")
        configs: list[Any] = [m.config for m in encoder.body.modules() if hasattr(m, "config")]
        own = str(configs[0].hidden_act)
        if said != own:
            raise BundleError(f"{self.path} was trained with {said}, and {encoder.name} has {own}: choose its sister")
        fill(encoder.body, self._part("vision_model."), str(self.path))
        fill(projection, {"weight": self.state["visual_projection.weight"].float()}, str(self.path))

    @torch.no_grad()
    def sentences(self, texts: Sequence[str]) -> Tensor:
        """Where the text tower puts each sentence: unit vectors (N, P).

        Raises: UnmaskError without a tokeniser beside the weights.
        """
        from transformers import CLIPTextConfig, CLIPTextModelWithProjection, CLIPTokenizer

        folder = self.path.parent
        if not any((folder / name).is_file() for name in VOCABULARY):
            raise BundleError(
                f"{folder} has no tokeniser, and sentences cannot be read without: put {' or '.join(VOCABULARY)} "
                "(with merges.txt) of the same CLIP beside its weights"
            )
        tokens = CLIPTokenizer.from_pretrained(str(folder), local_files_only=True)
        width = len(self.state["text_projection.weight"])  # its configuration says it in another place
        config = CLIPTextConfig(**{**(self.config.get("text_config") or {}), "projection_dim": width})
        tower: nn.Module = CLIPTextModelWithProjection(config)
        tower.eval()
        names = {k: v.float() for k, v in self.state.items() if k.startswith(("text_model.", "text_projection."))}
        fill(tower, {k: v for k, v in names.items() if not k.endswith("position_ids")}, str(self.path))
        said = tokens(list(texts), padding=True, truncation=True, max_length=config.max_position_embeddings)
        ids, mask = (torch.tensor(said[k]) for k in ("input_ids", "attention_mask"))
        return F.normalize(tower(input_ids=ids, attention_mask=mask).text_embeds, dim=1)

    def _part(self, prefix: str) -> dict[str, Tensor]:
        held = {k.removeprefix(prefix): v.float() for k, v in self.state.items() if k.startswith(prefix)}
        return {k: v for k, v in held.items() if not k.endswith("position_ids")}


def fill_image_tower(encoder: Encoder, projection: nn.Linear, weights: Path) -> bool:
    """Fill an image encoder from a CLIP in transformers' layout, whole or its image half, as `unmask pull` leaves it.

    Args:
        projection: is filled too, where it has the shape of CLIP's.
    Returns: False for a safetensors file that holds no CLIP.
    Raises: UnmaskError for a file that cannot be read, or a CLIP of other sizes.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        state = load_file(weights)
    except (OSError, SafetensorError) as error:
        raise BundleError(f"cannot read the weights {weights}: {error}") from error
    own = {k.removeprefix("vision_model."): v.float() for k, v in state.items() if k.startswith("vision_model.")}
    if not own:
        return False
    fill(encoder.body, {k: v for k, v in own.items() if not k.endswith("position_ids")}, str(weights))
    head = state.get("visual_projection.weight")
    if head is not None and head.shape == projection.weight.shape:
        fill(projection, {"weight": head.float()}, str(weights))
    return True
