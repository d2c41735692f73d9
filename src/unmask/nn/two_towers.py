"""An image encoder and a text encoder whose embeddings can be compared: what CLIP, ALIGN and their kin train.

Radford et al.: "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021, arXiv 2103.00020.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from unmask.errors import BundleError
from unmask.nn import backbones
from unmask.nn.backbones import BACKBONES, Encoder, fill
from unmask.nn.clip import fill_image_tower
from unmask.nn.convnets import ConvNet
from unmask.nn.text import TextEncoder, TextSpec
from unmask.types import InputSpec

WEIGHTS, CARD, SCHEMA = "model.safetensors", "two_towers.json", "unmask.two-towers/1"


class TwoTowers(nn.Module):
    """Both encoders, and a linear map without bias on each."""

    def __init__(self, network: str, size: int, text: TextSpec, dim: int, locked: bool = False) -> None:
        """
        Args:
            network: a name in `unmask.nn.convnets` or `unmask.nn.backbones`.
            size: side of the image, pixels; a backbone's own where it has one.
            dim: width of the joint space.
            locked: whether the image encoder stays as it is (LiT, Zhai et al., CVPR 2022, arXiv 2111.07991).
        """
        super().__init__()
        self.about = {"network": network, "size": size, "text": text.model_dump(mode="json"), "dim": dim}
        self.image = image_encoder(network)
        self.text = TextEncoder(text)
        self.image_head = nn.Linear(width(self.image), dim, bias=False)
        self.text_head = nn.Linear(self.text.features, dim, bias=False)
        self.input, self.locked = input_of(self.image, size), locked
        if locked:
            self.image.requires_grad_(False)
            self.roles = {"image": "frozen"}

    def features(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) RGB in 0..1 -> (B, D) of the image encoder."""
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.locked):
            return feature(self.image, image)

    def images(self, image: Tensor) -> Tensor:
        """(B, 3, S, S) RGB in 0..1 -> (B, dim), of any lengths."""
        found: Tensor = self.image_head(self.features(image))
        return found

    def texts(self, texts: Sequence[str]) -> Tensor:
        """B sentences -> (B, dim), of any lengths."""
        found: Tensor = self.text_head(self.text(texts))
        return found

    def train(self, mode: bool = True) -> TwoTowers:
        """What is locked keeps its running statistics."""
        super().train(mode)
        if self.locked:
            self.image.eval()
        return self

    def save(self, folder: Path) -> Path:
        """Weights, sizes and tokeniser as one folder, which `load` reads."""
        from safetensors.torch import save_file

        folder.mkdir(parents=True, exist_ok=True)
        state = {name: value.contiguous() for name, value in self.state_dict().items()}
        save_file(state, folder / WEIGHTS)
        self.text.tokeniser.save(folder)
        (folder / CARD).write_text(json.dumps({"schema": SCHEMA, **self.about}, indent=1), "utf-8")
        return folder


def load(folder: Path) -> TwoTowers:
    """What `save` wrote, in evaluation mode. Raises: UnmaskError for a folder that is none, or damaged."""
    from pydantic import ValidationError
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        about = json.loads((folder / CARD).read_bytes())
        if about.pop("schema", None) != SCHEMA:
            raise BundleError(f"{folder / CARD} is of another version than {SCHEMA}: export the run again")
        spec = TextSpec.model_validate(about.pop("text"))
        spec = spec.model_copy(update={"tokeniser": str(folder), "sha256": ""})
        towers = TwoTowers(about["network"], about["size"], spec, about["dim"])
        fill(towers, load_file(folder / WEIGHTS), str(folder / WEIGHTS))
    except (OSError, ValueError, KeyError, ValidationError, SafetensorError) as error:
        if isinstance(error, BundleError):
            raise
        raise BundleError(f"{folder} holds no image and text encoder that `unmask export` wrote: {error}") from error
    return towers.eval()


def image_encoder(network: str) -> ConvNet | Encoder:
    """Raises: UnmaskError for an unknown name."""
    return Encoder(network) if network in BACKBONES else ConvNet(network)


def width(encoder: ConvNet | Encoder) -> int:
    return encoder.features if isinstance(encoder, ConvNet) else encoder.kind.features


def input_of(encoder: ConvNet | Encoder, size: int) -> InputSpec:
    return encoder.input(size) if isinstance(encoder, ConvNet) else encoder.kind.input


def feature(encoder: nn.Module, image: Tensor) -> Tensor:
    """(B, D); maps are averaged over places."""
    found: Tensor = encoder(image)
    return found.mean((2, 3)) if found.ndim == 4 else found


def image_tokens(encoder: ConvNet | Encoder, image: Tensor) -> Tensor:
    """(B, N, D): places of a convolutional network's maps, or a transformer's last tokens."""
    if isinstance(encoder, ConvNet):
        return encoder(image).flatten(2).mT  # type: ignore[no-any-return]
    given = encoder.normalised(image)
    run = getattr(encoder.body, "forward_features", None)
    found: Tensor = run(given) if callable(run) else encoder.body(given).last_hidden_state
    return found


def load_image(encoder: ConvNet | Encoder, head: nn.Linear, weights: Path) -> None:
    """Weights of the image encoder: ours, ImageNet's in timm's layout, or CLIP's as `unmask pull` leaves it.

    CLIP's projection is loaded too, where `head` has its shape. Raises: UnmaskError for a file that does not fit.
    """
    if isinstance(encoder, ConvNet):
        encoder.load_pretrained(weights)
    elif not fill_image_tower(encoder, head, weights):
        backbones.load(encoder, weights)
