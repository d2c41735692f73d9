"""Published layouts, written key by key around small random encoders, against the libraries' own forward pass.

The independent pass below uses transformers' and timm's modules and plain formulas; nothing of `unmask.nn`.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from transformers import CLIPVisionConfig, CLIPVisionModel, DINOv3ViTConfig, DINOv3ViTModel
from typer.testing import CliRunner

from unmask.app.cli import app
from unmask.bundles import load, read_card
from unmask.exporting.checkpoints.encoder import to_file
from unmask.exporting.checkpoints.gend import to_bundle
from unmask.types import UnmaskError

State = dict[str, Tensor]
CLIP = ((0.48145466, 0.4578275, 0.40821073), (0.26862954, 0.26130258, 0.27577711))
DINO = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


def clip(act: str = "quick_gelu") -> nn.Module:
    return CLIPVisionModel(
        CLIPVisionConfig(
            hidden_size=192,
            intermediate_size=768,
            num_hidden_layers=6,
            num_attention_heads=3,
            image_size=96,
            patch_size=12,
            hidden_act=act,
        )
    )


def pe() -> nn.Module:
    return timm.create_model("vit_pe_core_tiny_patch16_384", num_classes=0, dynamic_img_size=True)


def dinov3() -> nn.Module:
    return DINOv3ViTModel(
        DINOv3ViTConfig(
            hidden_size=64,
            intermediate_size=256,
            num_hidden_layers=2,
            num_attention_heads=2,
            num_register_tokens=4,
            image_size=64,
        )
    )


def stirred(model: nn.Module) -> nn.Module:
    """Random everywhere: fresh models have ones and zeros, and an exchanged pair of those would not be noticed."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    return model.eval()


def inside(model: nn.Module, name: str) -> str:
    """A parameter's name as the published files have it: without what the installed transformers wraps it in."""
    return name.removeprefix("vision_model.").replace("model.layer.", "layer.")


def crops(size: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (3, size, size, 3), np.uint8)


def by_hand(model: nn.Module, feature: Callable[[Any], Tensor], norm: Any, head: State, size: int) -> np.ndarray:
    """Normalise, encode, scale to unit length, W z + b."""
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in norm)
    image = (torch.from_numpy(crops(size)).permute(0, 3, 1, 2).float() / 255 - mean) / std
    with torch.no_grad():
        x = feature(model(image))
    return (x / x.norm(dim=1, keepdim=True) @ head["weight"].T + head["bias"]).numpy()


KINDS: dict[str, Any] = {
    # our name: (module, its prefix in the file, what the detector looks at, mean and std, size)
    "tiny-vit": (clip, "vision_model", lambda out: out.pooler_output, CLIP, 96),
    "tiny-pe": (pe, "backbone", lambda out: out, ((0.5,) * 3, (0.5,) * 3), 64),
    "tiny-dinov3": (dinov3, "backbone", lambda out: out.last_hidden_state[:, 0], DINO, 64),
}


@pytest.fixture(params=KINDS)
def made(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Path, np.ndarray]:
    """A folder in the layout of GenD_CLIP_L_14, GenD_PE_L or GenD_DINOv3_L, and the logits it must give."""
    build, prefix, feature, norm, size = KINDS[request.param]
    model = stirred(build())
    head = {"weight": torch.randn(2, head_width(model)), "bias": torch.randn(2)}
    state = {f"feature_extractor.{prefix}.{inside(model, k)}": v for k, v in model.state_dict().items()}
    state |= {f"model.linear.{k}": v for k, v in head.items()}
    if prefix == "vision_model":
        state["feature_extractor.visual_projection.weight"] = torch.randn(128, 192)
        state["feature_extractor.vision_model.embeddings.position_ids"] = torch.arange(65)[None]
    folder = tmp_path / "published"
    publish(folder, state)
    return request.param, folder, by_hand(model, feature, norm, head, size)


def head_width(model: nn.Module) -> int:
    return int(getattr(model, "num_features", 0) or model.config.hidden_size)


def publish(folder: Path, state: State, head: str = "LinearNorm") -> None:
    folder.mkdir(exist_ok=True)
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "model.safetensors", {"format": "pt"})
    config = {"architectures": ["GenD"], "model_type": "GenD", "backbone": "any", "head": head, "dtype": "float32"}
    (folder / "config.json").write_text(json.dumps(config))


def test_a_published_folder_gives_the_logits_of_its_authors_formula(
    made: tuple[str, Path, np.ndarray], tmp_path: Path
) -> None:
    name, folder, want = made
    also_onnx = name == "tiny-dinov3"  # the quickest to export
    card = to_bundle(str(folder), tmp_path / "bundle", onnx=also_onnx)
    assert card.options == {"backbone": name, "head": "norm"}
    scorer = load(str(tmp_path / "bundle"), runtime="torch")
    np.testing.assert_allclose(scorer.logits(crops(card.input.size)), want, atol=1e-5)
    if also_onnx:
        np.testing.assert_allclose(load(str(tmp_path / "bundle")).logits(crops(card.input.size)), want, atol=1e-5)
    with pytest.raises(UnmaskError, match="carries no calibration"):
        scorer.score(crops(card.input.size))


def peft_layout() -> tuple[State, Callable[[bool], np.ndarray]]:
    """Paper 1's state_dict, and the logits with the tuned (True) or the original (False) LayerNorms."""
    original, tuned = stirred(clip()), clip().eval()
    tuned.load_state_dict(original.state_dict())
    norms = ("pre_layrnorm", "layer_norm1", "layer_norm2", "post_layernorm")
    with torch.no_grad():
        for key, value in tuned.named_parameters():
            if any(norm in key for norm in norms):
                value.add_(torch.randn_like(value) * 0.3)
    head = {"weight": torch.randn(2, 192), "bias": torch.randn(2)}
    state = {f"model.linear.{k}": v for k, v in head.items()}
    tuned_state = tuned.state_dict()
    for key, value in original.state_dict().items():
        place, leaf = f"feature_extractor.base_model.model.vision_model.{inside(original, key)}".rsplit(".", 1)
        if any(norm in key for norm in norms):
            state[f"{place}.base_layer.{leaf}"] = value
            state[f"{place}.ln_tuning_layers.default.{leaf}"] = tuned_state[key]
        else:
            state[f"{place}.{leaf}"] = value
    return state, lambda which: by_hand(tuned if which else original, lambda o: o.pooler_output, CLIP, head, 96)


def test_a_lightning_checkpoint_gives_its_tuned_norms_and_not_the_original_ones(tmp_path: Path) -> None:
    state, want = peft_layout()
    torch.save({"hyper_parameters": {"lr": 8e-5, "head": "LinearNorm"}, "state_dict": state}, tmp_path / "model.ckpt")
    to_bundle(str(tmp_path), tmp_path / "bundle")
    logits = load(str(tmp_path / "bundle"), runtime="torch").logits(crops(96))
    np.testing.assert_allclose(logits, want(True), atol=1e-5)
    assert np.abs(logits - want(False)).max() > 0.01  # what reading base_layer would have given


def test_a_norm_without_its_tuned_half_is_named(tmp_path: Path) -> None:
    state, _ = peft_layout()
    lost = "feature_extractor.base_model.model.vision_model.post_layernorm.{}.bias"
    del state[lost.format("ln_tuning_layers.default")]
    torch.save({"state_dict": state}, tmp_path / "model.ckpt")
    with pytest.raises(UnmaskError, match=r"post_layernorm\.base_layer\.bias without its ln_tuning_layers\.default"):
        to_bundle(str(tmp_path), tmp_path / "bundle")


class Anything:
    """An object, as Lightning's hyper-parameters may hold."""


def test_a_checkpoint_that_holds_objects_is_not_unpickled(tmp_path: Path) -> None:
    torch.save({"hyper_parameters": Anything(), "state_dict": {}}, tmp_path / "model.ckpt")
    with pytest.raises(UnmaskError, match="not unpickled: save its state_dict as safetensors"):
        to_bundle(str(tmp_path), tmp_path / "bundle")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"feature_extractor.vision_model.pre_layrnorm.bias": None}, r"missing: pre_layrnorm\.bias"),
        ({"feature_extractor.vision_model.more.weight": torch.ones(1)}, r"unknown: more\.weight"),
        ({"model.linear.bias": torch.ones(3)}, r"head .*bias \(3,\) instead of \(2,\)"),
        ({"classifier.weight": torch.ones(3)}, r"no known place: classifier\.weight"),
    ],
)
def test_tensors_that_do_not_fit_are_named(change: dict[str, Tensor | None], message: str, tmp_path: Path) -> None:
    model = clip()
    state = {f"feature_extractor.vision_model.{inside(model, k)}": v for k, v in model.state_dict().items()}
    state |= {"model.linear.weight": torch.ones(2, 192), "model.linear.bias": torch.ones(2)}
    publish(tmp_path / "p", {k: v for k, v in (state | change).items() if v is not None})
    with pytest.raises(UnmaskError, match=message):
        to_bundle(str(tmp_path / "p"), tmp_path / "bundle")
    assert not (tmp_path / "bundle").exists()


def test_the_command_imports_or_says_in_one_line_why_not(tmp_path: Path) -> None:
    runner = CliRunner()
    torch.save({"state_dict": peft_layout()[0]}, tmp_path / "model.ckpt")
    done = runner.invoke(app, ["import", "gend", str(tmp_path), "-o", str(tmp_path / "bundle"), "--head", "linear"])
    assert done.exit_code == 0, done.output
    assert read_card(tmp_path / "bundle" / "card.json").options == {"backbone": "tiny-vit", "head": "linear"}
    refused = runner.invoke(app, ["import", "encoder", str(tmp_path / "model.ckpt"), "-o", str(tmp_path / "e")])
    assert refused.exit_code == 2
    assert "of no known backbone" in refused.output
    assert "Traceback" not in refused.output


def test_the_head_that_the_configuration_names_is_built(tmp_path: Path) -> None:
    model = clip()
    state = {f"feature_extractor.vision_model.{inside(model, k)}": v for k, v in model.state_dict().items()}
    state |= {"model.linear.weight": torch.ones(2, 192), "model.linear.bias": torch.ones(2)}
    publish(tmp_path / "p", state, "linear")
    to_bundle(str(tmp_path / "p"), tmp_path / "bundle")
    assert read_card(tmp_path / "bundle" / "card.json").options["head"] == "linear"
    publish(tmp_path / "p", state, "cosine")
    with pytest.raises(UnmaskError, match="has the head 'cosine'; known are LinearNorm, linear"):
        to_bundle(str(tmp_path / "p"), tmp_path / "other")


def open_clip_layout(model: nn.Module) -> State:
    """A CLIP tower as OpenAI and open_clip name it: query, key and value are stacked in one matrix."""
    own = {inside(model, k): v for k, v in model.state_dict().items()}
    state = {
        "visual.class_embedding": own["embeddings.class_embedding"],
        "visual.conv1.weight": own["embeddings.patch_embedding.weight"],
        "visual.positional_embedding": own["embeddings.position_embedding.weight"],
        "visual.proj": torch.randn(192, 64),
        "logit_scale": torch.tensor(1.0),
        "transformer.resblocks.0.ln_1.weight": torch.ones(7),
    }
    for leaf in ("weight", "bias"):
        for theirs, ours in (("ln_pre", "pre_layrnorm"), ("ln_post", "post_layernorm")):
            state[f"visual.{theirs}.{leaf}"] = own[f"{ours}.{leaf}"]
        for i in range(6):
            block, mine = f"visual.transformer.resblocks.{i}", f"encoder.layers.{i}"
            stacked = [own[f"{mine}.self_attn.{x}_proj.{leaf}"] for x in "qkv"]
            state[f"{block}.attn.in_proj_{leaf}"] = torch.cat(stacked)
            for theirs, ours in (
                ("attn.out_proj", "self_attn.out_proj"),
                ("ln_1", "layer_norm1"),
                ("ln_2", "layer_norm2"),
                ("mlp.c_fc", "mlp.fc1"),
                ("mlp.c_proj", "mlp.fc2"),
            ):
                state[f"{block}.{theirs}.{leaf}"] = own[f"{mine}.{ours}.{leaf}"]
    return state


def feature_of(file: Path) -> Tensor:
    from unmask.detectors.gend import GenD

    detector = GenD("tiny-vit", head="linear").eval()
    detector.load_pretrained(file)
    with torch.no_grad():
        return detector(torch.from_numpy(crops(96)).permute(0, 3, 1, 2).float() / 255).features


@pytest.mark.parametrize("layout", ["open_clip", "transformers"])
def test_an_encoder_gives_the_features_of_its_library(layout: str, tmp_path: Path) -> None:
    model = stirred(clip())
    if layout == "open_clip":
        save_file(open_clip_layout(model), tmp_path / "open_clip_model.safetensors")
    else:
        state = {f"vision_model.{inside(model, k)}": v for k, v in model.state_dict().items()}
        save_file(state | {"text_model.final.weight": torch.ones(3)}, tmp_path / "model.safetensors")
    assert to_file(str(tmp_path), tmp_path / "encoder.safetensors") == "tiny-vit"
    mean, std = (torch.tensor(v).view(1, 3, 1, 1) for v in CLIP)
    with torch.no_grad():
        want = model((torch.from_numpy(crops(96)).permute(0, 3, 1, 2).float() / 255 - mean) / std).pooler_output
    torch.testing.assert_close(feature_of(tmp_path / "encoder.safetensors"), want, atol=1e-5, rtol=0)


def test_what_is_no_encoder_is_refused(tmp_path: Path) -> None:
    save_file({"conv.weight": torch.ones(3)}, tmp_path / "model.safetensors")
    with pytest.raises(UnmaskError, match="of no known backbone"):
        to_file(str(tmp_path), tmp_path / "encoder.safetensors")
    (tmp_path / "model.safetensors").write_bytes(b"nothing")
    with pytest.raises(UnmaskError, match="cannot read the checkpoint"):
        to_file(str(tmp_path), tmp_path / "encoder.safetensors")
    with pytest.raises(UnmaskError, match="no encoder at"):
        to_file(str(tmp_path / "nowhere"), tmp_path / "encoder.safetensors")
