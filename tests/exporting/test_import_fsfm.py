"""FSFM's published layout, written key by key around a small random network."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

import pytest
import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from unmask.exporting.checkpoints.encoder import to_file
from unmask.nn.backbones import Encoder, load
from unmask.types import UnmaskError

WIDTH, HEADS = 128, ("projector", "predictor")
SHAPE = {"img_size": 64, "patch_size": 8, "embed_dim": WIDTH, "depth": 4, "num_heads": 4}


def vit(classes: int) -> VisionTransformer:
    """timm's ViT as the authors fine-tune it: the mean of patch tokens, `fc_norm`, `head`."""
    norm = partial(nn.LayerNorm, eps=1e-6)
    return VisionTransformer(**SHAPE, num_classes=classes, global_pool="avg", norm_layer=norm)


def pretrained() -> dict[str, Tensor]:
    """What the online checkpoint of pre-training holds under "model", by the names of the published one."""
    torch.manual_seed(0)
    state = {k: torch.randn_like(v) for k, v in vit(0).state_dict().items() if not k.startswith("fc_norm")}
    state |= {"norm.weight": torch.randn(WIDTH), "norm.bias": torch.randn(WIDTH)}
    state["mask_token"] = torch.randn(1, 1, WIDTH)
    for decoder in ("rep_decoder", "decoder"):
        state |= {f"{decoder}_embed.weight": torch.randn(64, WIDTH), f"{decoder}_pos_embed": torch.randn(1, 65, 64)}
        state |= {f"{decoder}_blocks.0.attn.qkv.weight": torch.randn(192, 64), f"{decoder}_norm.bias": torch.randn(64)}
        state |= {f"{decoder}_pred.weight": torch.randn(192, 64)}
    for name in HEADS:
        state |= {f"{name}.projection_head.{n}.weight": torch.randn(4, 4) for n in (0, 1, 3)}
    return state


def written(folder: Path, state: dict[str, Tensor]) -> Path:
    path = folder / "checkpoint-400.pth"
    torch.save({"model": state, "epoch": 400, "scaler": {}, "args": argparse.Namespace(mask_ratio=0.75, lr=1e-4)}, path)
    return path


def test_a_pretrained_encoder_is_read_and_the_rest_left_behind(tmp_path: Path) -> None:
    state, out = pretrained(), tmp_path / "encoder.safetensors"
    assert to_file(str(written(tmp_path, state)), out) == "tiny-fsfm"
    encoder = Encoder("tiny-fsfm").eval()
    load(encoder, out)
    theirs = vit(2).eval()
    fault = theirs.load_state_dict(state, strict=False)
    assert set(fault.missing_keys) == {"head.weight", "head.bias", "fc_norm.weight", "fc_norm.bias"}
    parts = {key.partition(".")[0].removesuffix("_token").split("_")[0] for key in fault.unexpected_keys}
    assert parts == {"norm", "mask", "rep", "decoder", *HEADS}
    image = torch.rand(2, 3, 64, 64)
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.54822, 0.42341, 0.36547), (0.27892, 0.24385, 0.23494)))
    with torch.no_grad():
        expected = theirs.forward_head(theirs.forward_features((image - mean) / std), pre_logits=True)
        torch.testing.assert_close(encoder(image), expected)


def test_a_fine_tuned_one_keeps_its_norm(tmp_path: Path) -> None:
    torch.manual_seed(1)
    state, out = {k: torch.randn_like(v) for k, v in vit(2).state_dict().items()}, tmp_path / "encoder.safetensors"
    assert to_file(str(written(tmp_path, state)), out) == "tiny-fsfm"
    encoder = Encoder("tiny-fsfm")
    load(encoder, out)
    assert torch.equal(encoder.body.fc_norm.weight, state["fc_norm.weight"])


def test_other_objects_than_settings_are_not_unpickled(tmp_path: Path) -> None:
    path = tmp_path / "checkpoint-400.pth"
    torch.save({"model": pretrained(), "args": Path("settings")}, path)
    with pytest.raises(UnmaskError, match="not unpickled"):
        to_file(str(path), tmp_path / "encoder.safetensors")
