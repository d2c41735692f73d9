"""Pre-trained transformers of videos by name: transformers' own modules, built from their sizes, never downloaded.

An encoder starts with random weights; `VideoEncoder.load_pretrained` fills it from a safetensors file of the hub's.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.errors import BundleError, UnknownMethodError
from unmask.nn.backbones import CLIP, HALF, IMAGENET, Rgb, fill
from unmask.types import InputSpec


@dataclass(frozen=True)
class Video:
    """What an encoder of this name looks like.

    Attributes:
        features: length D of the feature of a window.
        size, frames: of the window that its published weights are trained on.
        norm: mean and deviation, RGB in 0..1.
        build: (side, frames) -> the module with random weights.
        feature: (module, normalised windows (B, T, 3, S, S)) -> (B, D).
        prefix: of its names in files that hold more than it.
    """

    features: int
    size: int
    frames: int
    norm: tuple[Rgb, Rgb]
    build: Callable[[int, int], nn.Module]
    feature: Callable[[nn.Module, Tensor], Tensor]
    prefix: str


class VideoEncoder(nn.Module):
    """(B, T, 3, S, S) RGB in 0..1 -> (B, D); it owns its normalisation. `body` is the library's module."""

    mean: Tensor
    std: Tensor

    def __init__(self, name: str, size: int = 0, frames: int = 0, *, half: bool = False) -> None:
        """`size`, `frames`: 0 = those of the published weights; `half`: a mean and deviation of 0.5 instead of theirs.

        Raises: UnmaskError for an unknown name.
        """
        super().__init__()
        if name not in ENCODERS:
            raise UnknownMethodError(f"there is no video encoder {name!r}; there is {', '.join(ENCODERS)}")
        self.kind = ENCODERS[name]
        self.size, self.frames = size or self.kind.size, frames or self.kind.frames
        self.body, self.norm = self.kind.build(self.size, self.frames), HALF if half else self.kind.norm
        for key, value in zip(("mean", "std"), self.norm, strict=True):
            self.register_buffer(key, torch.tensor(value).view(1, 1, 3, 1, 1), persistent=False)

    @property
    def input(self) -> InputSpec:
        return InputSpec(size=self.size, frames=self.frames, mean=self.norm[0], std=self.norm[1])

    def forward(self, video: Tensor) -> Tensor:
        return self.kind.feature(self.body, (video - self.mean) / self.std)

    def load_pretrained(self, weights: Path) -> None:
        """Load the encoder of a file of the hub's (model.safetensors); decoders and classifiers are left out.

        Raises: UnmaskError for a file that cannot be read, or whose tensors do not fit; they are named.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file

        try:
            state = load_file(weights)
        except (OSError, SafetensorError) as error:
            raise BundleError(f"cannot read the weights {weights}: {error}") from error
        fill(self.body, self.renamed(state), str(weights))

    def renamed(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The names of the installed transformers for those of a file, whatever release wrote it; others are left."""
        own, prefix = self.body.state_dict().keys(), self.kind.prefix
        if any(key.startswith(prefix) for key in state):
            state = {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}
        if not any(key.startswith("vision_model.") for key in own):  # transformers 4 wraps X-CLIP's tower once more
            state = {k.removeprefix("vision_model."): v for k, v in state.items()}
        for theirs, mine in ((".q_bias", ".query.bias"), (".v_bias", ".value.bias")):  # VideoMAE's in transformers 4
            if not any(key.endswith(theirs) for key in own):
                state = {k.replace(theirs, mine): v for k, v in state.items()}
        return {k: v for k, v in state.items() if not k.endswith("position_ids")}


# --- families --------------------------------------------------------------------------------------------------------


def timesformer(size: int, frames: int, patch: int, width: int, depth: int, heads: int) -> Video:
    """TimeSformer (Bertasius et al., ICML 2021), divided attention; its feature is the normed class token."""

    def build(side: int, count: int) -> nn.Module:
        from transformers import TimesformerConfig, TimesformerModel

        sizes = _sizes(side, count, patch, width, depth, heads)
        return TimesformerModel(TimesformerConfig(**sizes, attention_type="divided_space_time"))

    half: tuple[Rgb, Rgb] = ((0.45, 0.45, 0.45), (0.225, 0.225, 0.225))
    return Video(width, size, frames, half, build, lambda m, x: _last(m, x)[:, 0], "timesformer.")


def videomae(size: int, frames: int, patch: int, width: int, depth: int, heads: int) -> Video:
    """VideoMAE's encoder (Tong et al., NeurIPS 2022); its feature is the mean of the tokens."""

    def build(side: int, count: int) -> nn.Module:
        from transformers import VideoMAEConfig, VideoMAEModel

        return VideoMAEModel(VideoMAEConfig(**_sizes(side, count, patch, width, depth, heads)))

    return Video(width, size, frames, IMAGENET, build, lambda m, x: _last(m, x).mean(1), "videomae.")


def xclip(size: int, frames: int, patch: int, width: int, depth: int, heads: int) -> Video:
    """X-CLIP's vision tower (Ni et al., ECCV 2022): frames send each other messages; the mean of their class tokens.

    Of a window of a multiple of `frames`, each `frames` of it are among themselves.
    """

    def build(side: int, count: int) -> nn.Module:
        from transformers import XCLIPVisionConfig, XCLIPVisionModel

        count = frames if count % frames == 0 else count
        return XCLIPVisionModel(XCLIPVisionConfig(**_sizes(side, count, patch, width, depth, heads)))

    def feature(body: nn.Module, video: Tensor) -> Tensor:
        tokens: Tensor = body(video.flatten(0, 1)).pooler_output
        each: Tensor = tokens.unflatten(0, (-1, video.shape[1]))
        return each.mean(1)

    return Video(width, size, frames, CLIP, build, feature, "vision_model.")


def _sizes(side: int, frames: int, patch: int, width: int, depth: int, heads: int) -> dict[str, Any]:
    return {"image_size": side, "num_frames": frames, "patch_size": patch, "hidden_size": width,
            "num_hidden_layers": depth, "num_attention_heads": heads, "intermediate_size": 4 * width}  # fmt: skip


def _last(body: nn.Module, video: Tensor) -> Tensor:
    tokens: Tensor = body(video).last_hidden_state
    return tokens


ENCODERS = {
    "timesformer-b": timesformer(224, 8, 16, 768, 12, 12),
    "videomae-b": videomae(224, 16, 16, 768, 12, 12),
    "xclip-b-32": xclip(224, 8, 32, 768, 12, 12),
    # No published weights: small enough for a CPU, and for tests.
    "small-timesformer": timesformer(96, 8, 12, 96, 4, 3),
    "small-videomae": videomae(96, 8, 12, 96, 4, 3),
    "small-xclip": xclip(96, 8, 12, 96, 4, 3),
    "tiny-timesformer": timesformer(32, 4, 16, 32, 1, 2),
    "tiny-videomae": videomae(32, 4, 16, 32, 1, 2),
    "tiny-xclip": xclip(32, 4, 16, 32, 1, 2),
}
