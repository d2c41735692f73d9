"""Zero-shot: the logits of transformers' own CLIPModel on random weights, and what trains in each mode."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import CLIPConfig, CLIPModel, CLIPTokenizer

from unmask.detectors.clip_probe import ClipProbe
from unmask.nn.backbones import Encoder, save
from unmask.types import UnmaskError

REAL, FAKE = ("a photo",), ("a fake photo", "fake")


def vocabulary(folder: Path) -> int:
    """CLIP's tokeniser with an alphabet for a vocabulary, in its published two files. Returns: the number of tokens."""
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = [*letters, *(f"{c}</w>" for c in letters), "ph", "<|startoftext|>", "<|endoftext|>"]
    (folder / "vocab.json").write_text(json.dumps({w: n for n, w in enumerate(words)}))
    (folder / "merges.txt").write_text("#version: 0.2\np h\n")
    return len(words)


@pytest.fixture
def published(tmp_path: Path) -> Path:
    """A CLIP of random weights as it is published: model.safetensors, config.json, vocab.json, merges.txt."""
    count = vocabulary(tmp_path)
    torch.manual_seed(0)
    text = {"vocab_size": count, "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2}
    text |= {
        "num_attention_heads": 2,
        "max_position_embeddings": 24,
        "bos_token_id": count - 2,
        "eos_token_id": count - 1,
    }
    vision = {"hidden_size": 192, "intermediate_size": 768, "num_hidden_layers": 6, "num_attention_heads": 3}
    vision |= {"image_size": 96, "patch_size": 12, "hidden_act": "quick_gelu"}
    model = CLIPModel(CLIPConfig(text_config=text, vision_config=vision, projection_dim=192))
    model.config.save_pretrained(tmp_path)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, tmp_path / "model.safetensors")
    return tmp_path


def test_zero_shot_logits_are_those_of_transformers(published: Path) -> None:
    model = CLIPModel.from_pretrained(published, local_files_only=True).eval()
    tokens = CLIPTokenizer.from_pretrained(published, local_files_only=True)
    image = torch.rand(3, 3, 96, 96)
    detector = ClipProbe("tiny-vit", "zero-shot", ("a photo",), ("fake",)).eval()
    detector.load_pretrained(published / "model.safetensors")
    mean = torch.tensor((0.48145466, 0.4578275, 0.40821073)).view(3, 1, 1)
    std = torch.tensor((0.26862954, 0.26130258, 0.27577711)).view(3, 1, 1)
    said = tokens(["a photo", "fake"], padding=True, return_tensors="pt")
    with torch.inference_mode():
        want = model(**said, pixel_values=(image - mean) / std).logits_per_image
        found = detector(image).logits
    assert want.std() > 0.01
    torch.testing.assert_close(found, want, atol=1e-4, rtol=1e-4)


def test_several_sentences_are_their_mean(published: Path) -> None:
    one, both = ClipProbe("tiny-vit", "zero-shot", REAL, FAKE[:1]), ClipProbe("tiny-vit", "zero-shot", REAL, FAKE)
    other = ClipProbe("tiny-vit", "zero-shot", REAL, FAKE[1:])
    for detector in (one, other, both):
        detector.load_pretrained(published / "model.safetensors")
    first, second, mean = (d.directions.weight[1].detach() for d in (one, other, both))
    assert (first - second).norm() > 1e-3
    torch.testing.assert_close(mean, (first + second) / (first + second).norm())


def test_what_trains_without_sentences_cannot_reorder_pictures(published: Path) -> None:
    detector = ClipProbe("tiny-vit", "zero-shot", REAL, FAKE)
    assert {n for n, p in detector.named_parameters() if p.requires_grad} == {"log_scale", "offset"}
    detector.load_pretrained(published / "model.safetensors")
    image = torch.rand(6, 3, 96, 96)
    before = detector.eval()(image).logits
    with torch.no_grad():
        detector.log_scale.sub_(2)
        detector.offset.copy_(torch.tensor([0.3, -4.0]))
    after = detector(image).logits
    order = [(x[:, 1] - x[:, 0]).argsort() for x in (before, after)]
    assert torch.equal(*order)


def test_a_linear_probe_learns_the_directions_and_leaves_clip_alone(published: Path, tmp_path: Path) -> None:
    with torch.device("meta"):
        large = ClipProbe()
    trained = [p.numel() for p in large.parameters() if p.requires_grad]
    assert sum(trained) == 2 * 768 + 2 + 1
    detector = ClipProbe("tiny-vit")
    save(Encoder("tiny-vit"), tmp_path / "encoder.safetensors")
    detector.load_pretrained(tmp_path / "encoder.safetensors")
    assert torch.equal(detector.projection.weight, torch.eye(192))


def test_what_is_missing_is_named(published: Path) -> None:
    detector = ClipProbe("tiny-vit", "zero-shot", REAL, FAKE)
    (published / "vocab.json").unlink()
    with pytest.raises(UnmaskError, match=r"has no tokeniser.*tokenizer\.json or vocab\.json"):
        detector.load_pretrained(published / "model.safetensors")
    config = json.loads((published / "config.json").read_text())
    config["vision_config"]["hidden_act"] = "gelu"
    (published / "config.json").write_text(json.dumps(config))
    with pytest.raises(UnmaskError, match="was trained with gelu, and tiny-vit has quick_gelu"):
        detector.load_pretrained(published / "model.safetensors")
    save_file(Encoder("tiny-vit").body.state_dict(), published / "tower.safetensors")
    with pytest.raises(UnmaskError, match=r"no whole CLIP, it has no logit_scale, text_projection\.weight"):
        detector.load_pretrained(published / "tower.safetensors")
    with pytest.raises(UnmaskError, match="each class needs a sentence"):
        ClipProbe("tiny-vit", "zero-shot", (), FAKE)
