"""TALL: four frames are made small and laid side by side as one image, and an image network sees the video.

The idea in three sentences. Networks of videos are dear, and networks of images are good. If the frames of a window are
shrunk and tiled to one thumbnail image, the attention windows of a Swin transformer reach from frame to frame, and what
changes between frames is what differs between tiles. In training the same block is blacked out in all frames, so that
no single place decides.

Xu, Liang, Jia, Yang, Zhang, He: "TALL: Thumbnail Layout for Deepfake Video Detection", ICCV 2023, arXiv 2307.07494.

Where it differs from the paper. The share of the blacked-out block is ours (a quarter of the side); each frame has an
embedding of its own on top, as in DeepfakeBench's code.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from unmask.base.detector import Detector, Output
from unmask.errors import BundleError, RecipeError
from unmask.nn.backbones import IMAGENET, fill
from unmask.nn.fixed import exactly
from unmask.types import InputSpec

CARD = {
    "title": "TALL (thumbnail layout, Swin)",
    "paper": "Xu et al., ICCV 2023, arXiv 2307.07494",
    "task": "4 frames in a row of one face -> real or fake",
    "evidence": "time",
    "licence": "Apache-2.0; the network is timm's, Apache-2.0",
    "verified": "the layout by hand; names and shapes of DeepfakeBench's layout; no published weights or table",
    "small": {"network": "tiny-swin", "size": 32},
}
SIZES = {  # width of the first stage, depths, heads, side of the attention windows
    "swin-b": (128, (2, 2, 18, 2), (4, 8, 16, 32), 14),
    # No published weights: one that a CPU trains in minutes, and one for tests.
    "small-swin": (32, (1, 1, 2), (2, 4, 8), 7),
    "tiny-swin": (16, (1, 1), (1, 2), 4),
}


class TALL(Detector):
    """Thumbnail, Swin with a place for each frame, mean over places, linear head, cross-entropy."""

    def __init__(
        self,
        network: Literal["swin-b", "small-swin", "tiny-swin"] = "swin-b",
        size: int = 224,
        frames: int = 4,
        block: float = 0.25,
    ) -> None:
        """
        Args:
            size: side of the crop and of the thumbnail image, pixels.
            frames: of a window, in a row: a square number.
            block: side of the square that training blacks out, as a share of the frame's; 0 = none.
        Raises: UnmaskError for a number of frames that is no square, and a block larger than the frame.
        """
        super().__init__()
        from timm.models.swin_transformer import SwinTransformer

        self.rows = math.isqrt(frames)
        if self.rows**2 != frames or not 0 <= block < 1:
            raise RecipeError(f"frames is a square number and block below 1, not {frames} and {block:g}")
        width, depths, heads, window = SIZES[network]
        self.input = InputSpec(size=size, frames=frames, mean=IMAGENET[0], std=IMAGENET[1])
        self.block = round(block * size)
        self.body = SwinTransformer(
            img_size=size, patch_size=4, embed_dim=width, depths=depths, num_heads=heads, window_size=window,
            num_classes=0, drop_path_rate=0.1 if network == "swin-b" else 0.0,
        )  # fmt: skip
        self.place = nn.Parameter(0.02 * torch.randn(1, frames, width))
        self.head = nn.Linear(int(self.body.num_features), len(self.classes))
        for name, value in zip(("mean", "std"), IMAGENET, strict=True):
            self.register_buffer(name, torch.tensor(value).view(1, 1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Output:
        """Raises: UnmaskError for crops of another size."""
        exactly(image[:, 0], self.input.size)
        video = (image - self.mean) / self.std  # type: ignore[operator]
        if self.training and self.block:
            video = blacked_out(video, self.block)
        maps = self.body.patch_embed(thumbnail(video, self.rows))
        maps = self.body.norm(self.body.layers(maps + self._places(maps)))
        features = maps.mean((1, 2))
        return Output(self.head(features), features)

    def _places(self, maps: Tensor) -> Tensor:
        """(1, h, w, C): at each patch the embedding of the frame that it is of."""
        side = maps.shape[1] // self.rows
        grid = self.place.view(1, self.rows, self.rows, -1)
        return grid.repeat_interleave(side, 1).repeat_interleave(side, 2)

    def load_pretrained(self, weights: Path) -> None:
        """Load ImageNet weights of Swin in timm's layout; its classifier is left out.

        Raises: UnmaskError for a file that cannot be read, or whose tensors do not fit; they are named.
        """
        from safetensors import SafetensorError
        from safetensors.torch import load_file
        from timm.layers import resize_rel_pos_bias_table  # type: ignore[attr-defined]

        try:
            state = load_file(weights)
        except (OSError, SafetensorError) as error:
            raise BundleError(f"cannot read the weights {weights}: {error}") from error
        own = self.body.state_dict()
        state = {k: v for k, v in state.items() if not k.startswith("head.")}
        for key, value in state.items():  # a Swin of windows of 7 starts one of 14: its table of offsets is stretched
            if key.endswith("relative_position_bias_table") and key in own and value.shape != own[key].shape:
                side = (math.isqrt(len(own[key])) + 1) // 2
                state[key] = resize_rel_pos_bias_table(value, (side, side), tuple(own[key].shape))
        fill(self.body, state, str(weights))


def thumbnail(video: Tensor, rows: int) -> Tensor:
    """(B, rows^2, 3, S, S) -> (B, 3, S, S): each frame shrunk `rows` times, frame after frame, row by row."""
    small = F.interpolate(video.flatten(0, 1), scale_factor=1 / rows, mode="bilinear")
    tiles: Tensor = small.unflatten(0, (-1, rows, rows))
    return tiles.permute(0, 3, 1, 4, 2, 5).flatten(4, 5).flatten(2, 3)


def blacked_out(video: Tensor, side: int) -> Tensor:
    """The same square of `side` pixels, drawn for each window, is 0 in all of its frames (B, T, 3, S, S)."""
    count, size = len(video), video.shape[-1]
    low = torch.randint(size - side + 1, (2, count, 1))
    at = torch.arange(size)
    inside = (at >= low) & (at < low + side)  # (2, B, S): rows and columns
    hidden = (inside[0, :, :, None] & inside[1, :, None, :]).to(video.device)
    return video.masked_fill(hidden[:, None, None], 0.0)
