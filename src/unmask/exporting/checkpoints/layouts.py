"""The layouts in which checkpoints are published, translated into our names. Pure functions of names and tensors."""

from __future__ import annotations

import argparse
import pickle
import re
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmask.errors import BundleError
from unmask.nn.backbones import BACKBONES, shapes

State = dict[str, Tensor]
LEFT_OUT = ("visual_projection.weight", "position_ids", "logit_scale")  # of CLIP; the detector uses none of them


def read(path: Path) -> dict[str, Any]:
    """A safetensors file's tensors, or what a torch file holds besides code.

    Raises: UnmaskError for a file that is neither, or that would need unpickling of objects.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        if path.suffix == ".safetensors":
            return dict(load_file(path))
        with torch.serialization.safe_globals([argparse.Namespace]):  # plain settings: MAE and its kin keep them
            held = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise BundleError(
            f"{path} holds objects besides tensors, and they are not unpickled: save its state_dict as safetensors"
        ) from error
    except (OSError, SafetensorError, RuntimeError, EOFError, ValueError) as error:
        raise BundleError(f"cannot read the checkpoint {path}: {str(error).splitlines()[0]}") from error
    if not isinstance(held, dict):
        raise BundleError(f"{path} holds no table of weights but a {type(held).__name__}")
    return held


def weights(held: dict[str, Any], path: Path) -> State:
    """The named tensors of what `read` gave: all of it, or its `state_dict` or `model`.

    Raises: UnmaskError without any.
    """
    inner = next((held[key] for key in ("state_dict", "model") if isinstance(held.get(key), dict)), held)
    if not isinstance(inner, dict) or not inner or not all(isinstance(v, Tensor) for v in inner.values()):
        raise BundleError(f"{path} holds no named tensors")
    return {str(k): v.float() if v.is_floating_point() else v for k, v in inner.items()}


def gend(state: State) -> tuple[State, State]:
    """A published GenD or LN-tuned CLIP -> its encoder's weights and its head's.

    In the Lightning checkpoints of paper 1 peft keeps each LayerNorm twice: `base_layer` as it was before training, and
    `ln_tuning_layers.default`, which is the trained one.

    Raises: UnmaskError that names tensors of no known place.
    """
    encoder, head, unknown = State(), State(), []
    tuned = {k.replace(".ln_tuning_layers.default.", ".") for k in state if ".ln_tuning_layers.default." in k}
    for key, value in state.items():
        name = key.removeprefix("feature_extractor.").removeprefix("base_model.model.")
        if name.endswith(LEFT_OUT):
            continue
        if ".base_layer." in key:
            if key.replace(".base_layer.", ".") not in tuned:
                unknown.append(f"{key} without its ln_tuning_layers.default")
            continue
        place = re.match(r"(vision_model|backbone)\.", name)
        if key.startswith("feature_extractor.") and place:
            encoder[name[place.end() :].replace(".ln_tuning_layers.default.", ".")] = value
        elif key.startswith("model.linear."):
            head[key.removeprefix("model.linear.")] = value
        else:
            unknown.append(key)
    if unknown:
        more = f" and {len(unknown) - 4} more" if len(unknown) > 4 else ""
        raise BundleError(f"the checkpoint has tensors of no known place: {', '.join(unknown[:4])}{more}")
    return _as_installed(encoder), head


def vision_tower(state: State) -> tuple[State, bool]:
    """A published encoder -> its vision tower's weights, and whether they come in OpenAI's and open_clip's layout.

    Known are that layout, transformers' CLIPModel and CLIPVisionModel, bare DINOv2, DINOv3 and Perception Encoder, and
    FSFM's plain ViT, pre-trained or fine-tuned.
    """
    if "patch_embed.proj.weight" in state and "cls_token" in state and not any("attn_pool" in k for k in state):
        return plain_vit(state), False
    if "visual.conv1.weight" in state or "conv1.weight" in state:
        prefix = "visual." if "visual.conv1.weight" in state else ""
        return _from_open_clip({k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}), True
    if any(k.startswith("vision_model.") for k in state):
        state = {k.removeprefix("vision_model."): v for k, v in state.items() if k.startswith("vision_model.")}
    return _as_installed({k: v for k, v in state.items() if not k.endswith(LEFT_OUT)}), False


MASKED = ("mask_token", "decoder", "rep_decoder", "projector", "predictor", "norm", "head")


def plain_vit(state: State) -> State:
    """MAE's and FSFM's checkpoints -> the encoder alone, without decoders, projector, predictor and classifier.

    A pre-trained one has no norm of the pooled feature: it begins as 1 and 0, as in the authors' fine-tuning, where
    the norm of single tokens is left out. A fine-tuned one has it.
    """
    ours = {k: v for k, v in state.items() if not re.match(rf"({'|'.join(MASKED)})(_|\.|$)", k)}
    width = state["cls_token"].shape[-1]
    return {"fc_norm.weight": torch.ones(width), "fc_norm.bias": torch.zeros(width)} | ours


OPEN_CLIP = (  # (theirs, ours), applied in this order
    (r"^class_embedding$", "embeddings.class_embedding"),
    (r"^conv1\.", "embeddings.patch_embedding."),
    (r"^positional_embedding$", "embeddings.position_embedding.weight"),
    (r"^ln_pre\.", "pre_layrnorm."),
    (r"^ln_post\.", "post_layernorm."),
    (r"^transformer\.resblocks\.", "encoder.layers."),
    (r"\.ln_([12])\.", r".layer_norm\1."),
    (r"\.attn\.out_proj\.", ".self_attn.out_proj."),
    (r"\.mlp\.c_fc\.", ".mlp.fc1."),
    (r"\.mlp\.c_proj\.", ".mlp.fc2."),
)


def _from_open_clip(state: State) -> State:
    """One matrix for query, key and value becomes three; the projection into the space of captions is left out."""
    ours = State()
    for key, value in state.items():
        if key == "proj":
            continue
        for theirs, name in OPEN_CLIP:
            key = re.sub(theirs, name, key)
        stacked = re.fullmatch(r"(.*)\.attn\.in_proj_(weight|bias)", key)
        if stacked is None:
            ours[key] = value
            continue
        for letter, part in zip("qkv", value.chunk(3), strict=True):
            ours[f"{stacked[1]}.self_attn.{letter}_proj.{stacked[2]}"] = part
    return ours


def _as_installed(encoder: State) -> State:
    """DINOv3's blocks are `layer.N` in its files, and `model.layer.N` in transformers 5."""
    wrapped = any(k.startswith("model.layer.") for k in _shapes("tiny-dinov3"))
    bare = {re.sub(r"^model\.layer\.", "layer.", k): v for k, v in encoder.items()}
    return {re.sub(r"^layer\.", "model.layer.", k): v for k, v in bare.items()} if wrapped else bare


def backbone_of(encoder: State) -> str:
    """The backbone that shares the most names and shapes with these weights: the first of equals.

    Raises: UnmaskError when none shares half of them.
    """
    given = {k: tuple(v.shape) for k, v in encoder.items()}
    shared = {name: sum(given.get(k) == s for k, s in _shapes(name).items()) for name in BACKBONES}
    best = max(shared, key=lambda name: shared[name])
    if shared[best] * 2 < len(_shapes(best)) or not shared[best]:
        raise BundleError(f"these weights are of no known backbone; there is {', '.join(BACKBONES)}")
    return best


@cache
def _shapes(name: str) -> dict[str, tuple[int, ...]]:
    return shapes(name)
