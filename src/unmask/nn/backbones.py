"""Pre-trained image encoders by name: transformers' and timm's own modules, built from their sizes, never downloaded.

An encoder starts with random weights; `load` fills it from a safetensors file (`unmask import encoder` writes one).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from unmask.errors import BundleError, RecipeError, UnknownMethodError
from unmask.types import InputSpec

CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))
HALF = ((0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
VGGFACE2 = ((0.54822, 0.42341, 0.36547), (0.27892, 0.24385, 0.23494))
Rgb = tuple[float, float, float]


@dataclass(frozen=True)
class Backbone:
    """What an encoder of this name looks like.

    Attributes:
        features: length D of the feature of one image.
        size: side of the square image it is run at, pixels.
        mean, std: its normalisation of RGB in 0..1.
        norms: a parameter belongs to a LayerNorm exactly if its name contains one of these.
        blocks: prefix of the names of its transformer blocks, before their number.
        linear: names of the linear maps in each block, which low-rank adapters stand beside.
        build: the module, from its sizes, with random weights.
        feature: (module, normalised images (B, 3, S, S)) -> (B, D).
        patches: (module, normalised images, share of the patches to look at) -> their mean (B, D), where there is one.
    """

    features: int
    size: int
    norm: tuple[Rgb, Rgb]
    norms: tuple[str, ...]
    blocks: str
    linear: tuple[str, ...]
    build: Callable[[], nn.Module]
    feature: Callable[[nn.Module, Tensor], Tensor]
    patches: Callable[[nn.Module, Tensor, float], Tensor] | None = None

    @property
    def input(self) -> InputSpec:
        return InputSpec(size=self.size, mean=self.norm[0], std=self.norm[1])


class Encoder(nn.Module):
    """(B, 3, S, S) RGB in 0..1 -> features (B, D); it owns its normalisation. `body` is the library's module."""

    def __init__(self, name: str) -> None:
        """Raises: UnmaskError for an unknown name."""
        super().__init__()
        if name not in BACKBONES:
            raise UnknownMethodError(f"there is no backbone {name!r}; there is {', '.join(BACKBONES)}")
        self.name, self.kind = name, BACKBONES[name]
        self.body = self.kind.build()
        for key, value in zip(("mean", "std"), self.kind.norm, strict=True):
            self.register_buffer(key, torch.tensor(value).view(1, 3, 1, 1), persistent=False)

    def forward(self, image: Tensor) -> Tensor:
        return self.kind.feature(self.body, self.normalised(image))

    def patches(self, image: Tensor, share: float = 1.0) -> Tensor:
        """The normed mean of the patch tokens (B, D), of a random `share` of the patches, the same ones in all images.

        Raises: UnmaskError for an encoder whose patches are not accessible here.
        """
        if self.kind.patches is None:
            raise RecipeError(f'{self.name} gives no mean of patches: choose pool "class" or one of CLIP\'s encoders')
        return self.kind.patches(self.body, self.normalised(image), share)

    def shorten(self, blocks: int) -> None:
        """Keep the first `blocks` transformer blocks, in place. Raises: UnmaskError where there are not so many."""
        parent, _, leaf = self.kind.blocks.rstrip(".").rpartition(".")
        held: nn.ModuleList = getattr(self.body.get_submodule(parent), leaf)
        if not 0 < blocks <= len(held):
            raise RecipeError(f"{self.name} has {len(held)} blocks, of which {blocks} cannot be kept")
        setattr(self.body.get_submodule(parent), leaf, held[:blocks])

    def normalised(self, image: Tensor) -> Tensor:
        return (image - self.mean) / self.std  # type: ignore[operator]


# --- families --------------------------------------------------------------------------------------------------------


def clip(size: int, patch: int, width: int, depth: int, heads: int, act: str = "quick_gelu") -> Backbone:
    """CLIP's vision tower (Radford et al., ICML 2021); its feature is the normed class token, unprojected."""

    def build() -> nn.Module:
        from transformers import CLIPVisionConfig, CLIPVisionModel

        model = CLIPVisionModel(
            CLIPVisionConfig(
                hidden_size=width,
                intermediate_size=4 * width,
                num_hidden_layers=depth,
                num_attention_heads=heads,
                image_size=size,
                patch_size=patch,
                hidden_act=act,
            )
        )
        inner: nn.Module = getattr(model, "vision_model", model)  # transformers 4 wraps the tower once more
        return inner

    norms = ("pre_layrnorm", "layer_norm1", "layer_norm2", "post_layernorm")  # the spelling is CLIP's
    linear = ("q_proj", "k_proj", "v_proj", "out_proj", "fc1", "fc2")
    return Backbone(width, size, CLIP, norms, "encoder.layers.", linear, build, _pooled, _mean_patch)


def perception(name: str, width: int, size: int) -> Backbone:
    """Perception Encoder's vision tower with its attention pooling (Bolya et al., arXiv 2504.13181), by timm."""

    def build() -> nn.Module:
        import timm

        return timm.create_model(name, pretrained=False, num_classes=0, dynamic_img_size=True)

    norms = ("norm_pre", "norm1", "norm2", "norm")  # the last catches the pooling's norm too, as in the authors' code
    return Backbone(width, size, HALF, norms, "blocks.", ("qkv", "proj", "fc1", "fc2"), build, _called)


def plain(size: int, patch: int, width: int, depth: int, heads: int) -> Backbone:
    """MAE's and FSFM's plain ViT; its feature is the normed mean of the patch tokens, in FSFM's normalisation."""

    def build() -> nn.Module:
        from timm.models.vision_transformer import VisionTransformer

        return VisionTransformer(
            img_size=size,
            patch_size=patch,
            embed_dim=width,
            depth=depth,
            num_heads=heads,
            num_classes=0,
            global_pool="avg",
        )

    linear = ("qkv", "proj", "fc1", "fc2")
    return Backbone(width, size, VGGFACE2, ("norm1", "norm2", "fc_norm"), "blocks.", linear, build, _called)


def dinov2(size: int, width: int, depth: int, heads: int, trained_at: int = 518) -> Backbone:
    """DINOv2 (Oquab et al., TMLR 2024); its feature is the normed class token."""

    def build() -> nn.Module:
        from transformers import Dinov2Config, Dinov2Model

        config = Dinov2Config(
            hidden_size=width, num_hidden_layers=depth, num_attention_heads=heads, image_size=trained_at, patch_size=14
        )
        return Dinov2Model(config)

    linear = ("q_proj", "k_proj", "v_proj", "o_proj", "query", "key", "value", "dense", "fc1", "fc2")
    norms = ("norm1", "norm2", "layernorm")
    return Backbone(width, size, IMAGENET, norms, "encoder.layer.", linear, build, _class_token)


def dinov3(size: int, width: int, depth: int, heads: int) -> Backbone:
    """DINOv3 (Siméoni et al., arXiv 2508.10104) with four register tokens; its feature is the normed class token."""

    def build() -> nn.Module:
        from transformers import DINOv3ViTConfig, DINOv3ViTModel

        config = DINOv3ViTConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=depth,
            num_attention_heads=heads,
            num_register_tokens=4,
            image_size=size,
        )
        return DINOv3ViTModel(config)

    linear = ("q_proj", "k_proj", "v_proj", "o_proj", "up_proj", "down_proj")
    return Backbone(width, size, IMAGENET, ("norm1", "norm2", "norm"), "layer.", linear, build, _class_token)


def _pooled(body: nn.Module, image: Tensor) -> Tensor:
    feature: Tensor = body(image).pooler_output
    return feature


def _mean_patch(body: Any, image: Tensor, share: float) -> Tensor:
    tokens = body.embeddings(image)
    if share < 1:
        count = tokens.shape[1] - 1
        seen = 1 + torch.randperm(count)[: max(1, round(share * count))]
        tokens = tokens[:, torch.cat([torch.zeros(1, dtype=torch.long), seen]).to(tokens.device)]
    tokens = body.encoder(inputs_embeds=body.pre_layrnorm(tokens)).last_hidden_state
    feature: Tensor = body.post_layernorm(tokens[:, 1:].mean(1))
    return feature


def _class_token(body: nn.Module, image: Tensor) -> Tensor:
    feature: Tensor = body(image).last_hidden_state[:, 0]
    return feature


def _called(body: nn.Module, image: Tensor) -> Tensor:
    feature: Tensor = body(image)
    return feature


BACKBONES = {
    "clip-vit-b-32": clip(224, 32, 768, 12, 12),
    "clip-vit-b-16": clip(224, 16, 768, 12, 12),
    "clip-vit-l-14": clip(224, 14, 1024, 24, 16),
    "clip-vit-l-14-336": clip(336, 14, 1024, 24, 16),
    "pe-core-l-14-336": perception("vit_pe_core_large_patch14_336", 1024, 224),
    "dinov2-vit-b-14": dinov2(224, 768, 12, 12),
    "dinov2-vit-l-14": dinov2(224, 1024, 24, 16),
    "dinov3-vit-b-16": dinov3(224, 768, 12, 12),
    "dinov3-vit-l-16": dinov3(224, 1024, 24, 16),
    "fsfm-vit-s-16": plain(224, 16, 384, 12, 12),
    "fsfm-vit-b-16": plain(224, 16, 768, 12, 12),
    "fsfm-vit-l-16": plain(224, 16, 1024, 24, 16),
    # The same shapes with the plain GELU: LAION's and DataComp's weights, where OpenAI's have the quick one.
    "clip-vit-b-32-gelu": clip(224, 32, 768, 12, 12, "gelu"),
    "clip-vit-b-16-gelu": clip(224, 16, 768, 12, 12, "gelu"),
    "clip-vit-l-14-gelu": clip(224, 14, 1024, 24, 16, "gelu"),
    # No published weights: small enough for a CPU and for tests.
    "tiny-vit": clip(96, 12, 192, 6, 3),
    "face-vit-128": clip(128, 16, 128, 6, 2),  # `recipes/face-encoder-tiny.yaml` trains one
    "tiny-pe": perception("vit_pe_core_tiny_patch16_384", 192, 64),
    "tiny-dinov2": dinov2(56, 64, 2, 2, 56),
    "tiny-dinov3": dinov3(64, 64, 2, 2),
    "tiny-fsfm": plain(64, 8, 128, 4, 4),
}


# --- weights ---------------------------------------------------------------------------------------------------------


def shapes(name: str) -> dict[str, tuple[int, ...]]:
    """Names and shapes of an encoder's weights, without making them."""
    with torch.device("meta"):
        return {key: tuple(value.shape) for key, value in BACKBONES[name].build().state_dict().items()}


def save(encoder: Encoder, path: Path) -> None:
    """The encoder's weights, and which backbone they are of."""
    from safetensors.torch import save_file

    state = {key: value.contiguous() for key, value in encoder.body.state_dict().items()}
    save_file(state, path, {"backbone": encoder.name})


def load(encoder: Encoder, path: Path) -> None:
    """What `save` wrote. Raises: UnmaskError for a file that cannot be read, or of another backbone."""
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, "pt") as file:
            of = (file.metadata() or {}).get("backbone")
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - it is no mapping
    except (OSError, SafetensorError) as error:
        raise BundleError(f"cannot read the encoder {path}: {error}") from error
    if of != encoder.name:
        whose = f"of the backbone {of!r}" if of else "no encoder that `unmask import encoder` wrote"
        raise BundleError(f"{path} is {whose}, and {encoder.name!r} is wanted")
    fill(encoder.body, state, str(path))


def fill(module: nn.Module, state: dict[str, Tensor], what: str) -> None:
    """Load exactly these weights. Raises: UnmaskError that names missing, unknown and wrongly shaped tensors."""
    own = module.state_dict()
    faults = []
    for word, names in (("missing", own.keys() - state.keys()), ("unknown", state.keys() - own.keys())):
        if names:
            faults.append(f"{word}: {_some(sorted(names))}")
    wrong = [k for k in sorted(own.keys() & state.keys()) if own[k].shape != state[k].shape]
    if wrong:
        shown = [f"{k} {tuple(state[k].shape)} instead of {tuple(own[k].shape)}" for k in wrong]
        faults.append(f"of another shape: {_some(shown)}")
    if faults:
        raise BundleError(f"{what} does not fit: {'; '.join(faults)}")
    module.load_state_dict(state)


def _some(names: list[str]) -> str:
    return ", ".join(names[:4]) + (f" and {len(names) - 4} more" if len(names) > 4 else "")
