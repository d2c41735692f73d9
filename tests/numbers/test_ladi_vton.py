"""LaDI-VTON's parts in closed form: surgery, pseudo-words, EMASC, thin-plate spline, and the names of its weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.portraits import Everyone, face
from unmask.errors import BundleError
from unmask.generators.ladi_vton import (
    EMASC,
    InversionAdapter,
    LadiVton,
    decoded_with,
    encoder_features,
    extend,
    pose_map,
    prompt,
    pseudo_words,
)
from unmask.nn.diffusion import Prompts, untrained
from unmask.nn.garments import Refinement, Warping, control_points, thin_plate
from unmask.types import InputSpec

diffusers = pytest.importorskip("diffusers")


def test_new_channels_change_nothing_bitwise_and_learn() -> None:
    model = untrained(masked=True)
    z, known, t = torch.randn(2, 18, 8, 8), torch.randn(2, 19, 8, 8), torch.tensor([3, 900])
    before = model.predicted(z, t, None, known)
    extend(model.unet, 36)
    assert model.unet.config.in_channels == 73  # 9 + 22 = 31 with four latents
    for more in (torch.zeros(2, 36, 8, 8), 100 * torch.randn(2, 36, 8, 8)):
        after = model.predicted(z, t, None, torch.cat([known, more], 1))
        torch.testing.assert_close(after, before, rtol=1e-5, atol=1e-5)
    conv: nn.Conv2d = model.unet.conv_in
    conv.requires_grad_(True)
    model.predicted(z, t, None, torch.cat([known, torch.randn(2, 36, 8, 8)], 1)).square().mean().backward()
    assert conv.weight.grad is not None
    assert conv.weight.grad[:, 37:].abs().min() > 0


class Words:
    """A tokenizer of words split at spaces; the placeholder is token 1."""

    model_max_length, unk_token_id = 12, 0

    def __init__(self) -> None:
        self.known = {"": 0, "$": 1}

    def convert_tokens_to_ids(self, token: str) -> int:
        return 1 if token == "$</w>" else 0

    def __call__(self, prompts: list[str], **_: object) -> object:
        rows = [[self.known.setdefault(w, len(self.known)) for w in p.split()] for p in prompts]
        ids = torch.tensor([r[:12] + [0] * (12 - len(r)) for r in rows])
        return type("Made", (), {"input_ids": ids})


def prompts() -> Prompts:
    from transformers import CLIPTextConfig, CLIPTextModel

    torch.manual_seed(0)
    config = CLIPTextConfig(
        vocab_size=64, hidden_size=8, intermediate_size=16, num_hidden_layers=1, num_attention_heads=2,
        max_position_embeddings=12, eos_token_id=0, bos_token_id=0, pad_token_id=0,
    )  # fmt: skip
    return Prompts(Words(), CLIPTextModel(config))


def test_placeholders_and_nothing_else_are_replaced() -> None:
    """A batch of two prompts, one without a placeholder; the hook sees what goes on to the positions."""
    words, vectors = prompts(), torch.randn(2, 3, 8)
    said, seen = ["a dress $ $ $", "a dress"], list[Tensor]()
    plain = words.embedding(words.ids(said))

    def look(module: nn.Module, given: tuple[Tensor, ...]) -> None:
        seen.append(given[0])

    norm = next(m for m in words.encoder.modules() if isinstance(m, nn.LayerNorm))
    with_words = pseudo_words(words, said, vectors)
    torch.testing.assert_close(with_words[1], words(said)[1])
    assert (with_words[0] - words(said)[0])[2:].abs().max() > 1e-3
    torch.testing.assert_close(with_words[0, :2], words(said)[0, :2])  # causal: what comes before does not change
    handle = norm.register_forward_pre_hook(look)
    pseudo_words(words, said, vectors)
    handle.remove()
    positions = next(m for n, m in words.encoder.named_modules() if n.endswith("position_embedding")).weight
    changed = seen[0] - positions - plain
    torch.testing.assert_close(changed[0, 2:5] + plain[0, 2:5], vectors[0])
    assert changed[0, :2].abs().max() < 1e-6
    assert changed[0, 5:].abs().max() < 1e-6
    assert changed[1].abs().max() < 1e-6
    assert prompt("upper", 16).count("$") == 16
    words.tokenizer.convert_tokens_to_ids = lambda token: 0
    with pytest.raises(BundleError, match=r"no word"):
        pseudo_words(words, said, vectors)


def test_the_adapter_reads_every_row_of_a_batch() -> None:
    """In transformers 5 a layer gives a tensor; taking its first item would keep the first row of the batch alone."""
    from transformers import CLIPVisionConfig

    config = CLIPVisionConfig(hidden_size=8, intermediate_size=16, num_attention_heads=2)
    adapter = InversionAdapter(config, 24).eval()
    states = torch.randn(3, 5, 8)
    together = adapter(states)
    assert together.shape == (3, 24)
    torch.testing.assert_close(together, torch.cat([adapter(one) for one in states.split(1)]))
    assert set(adapter.state_dict()) >= {"encoder_layers.0.self_attn.k_proj.weight", "layers.6.bias"}


def vae() -> nn.Module:
    torch.manual_seed(0)
    made = diffusers.AutoencoderKL(
        block_out_channels=(4, 8), norm_num_groups=4, down_block_types=("DownEncoderBlock2D",) * 2,
        up_block_types=("UpDecoderBlock2D",) * 2,
    )  # fmt: skip
    return made.eval().requires_grad_(False)  # type: ignore[no-any-return]


def test_skips_have_the_published_widths() -> None:
    widths = [(c[0].in_channels, c[2].out_channels) for c in EMASC().conv]  # type: ignore[index]
    assert widths == [(128, 128), (128, 256), (128, 512), (256, 512), (512, 512)]
    assert "conv.4.2.bias" in EMASC().state_dict()


def test_without_skips_it_is_the_decoder_and_under_the_mask_there_are_none() -> None:
    model, image = vae(), torch.rand(1, 3, 32, 32) * 2 - 1
    emasc, z = EMASC((4, 8)), torch.randn(1, 4, 16, 16)
    features = encoder_features(model, image)
    assert [tuple(f.shape[1:]) for f in features] == [(4, 32, 32), (4, 32, 32), (4, 16, 16)]
    full, empty = torch.ones(1, 1, 32, 32), torch.zeros(1, 1, 32, 32)
    none = emasc(features, full)
    assert all(not skip.any() for skip in none)
    torch.testing.assert_close(decoded_with(model, z, none), model.decode(z).sample)  # type: ignore[operator]
    skips = emasc(features, empty)
    assert [s.shape[1] for s in skips] == [4, 8, 8]
    assert (decoded_with(model, z, skips) - model.decode(z).sample).abs().max() > 1e-3  # type: ignore[operator]
    half = empty.clone()
    half[..., 16:] = 1
    for skip in emasc(features, half):
        middle = skip.shape[3] // 2
        assert not skip[..., middle:].any()
        assert skip[..., :middle].abs().max() > 0


def test_the_spline_goes_through_its_points() -> None:
    """Unmoved control points give the identity, a shift gives that shift, moved ones are met exactly."""
    points = control_points()[None]
    y, x = torch.meshgrid(torch.linspace(-1, 1, 9), torch.linspace(-1, 1, 7), indexing="ij")
    identity = torch.stack([x, y], 2)[None]
    torch.testing.assert_close(thin_plate(points, 9, 7), identity, rtol=0, atol=2e-4)
    torch.testing.assert_close(thin_plate(points + 0.1, 9, 7), identity + 0.1, rtol=0, atol=2e-4)
    moved = points + 0.1 * torch.randn(1, 25, 2, generator=torch.Generator().manual_seed(0))
    at = thin_plate(moved, 41, 41)  # of 41 places from -1 to 1, the control points lie at 2, 11, 20, 29, 38
    where = torch.tensor([2, 11, 20, 29, 38])
    torch.testing.assert_close(at[0][where][:, where].reshape(25, 2), moved[0], rtol=0, atol=2e-3)


def test_warping_begins_at_the_identity_and_has_the_published_names() -> None:
    warping, refinement = Warping(width=8).eval(), Refinement(width=8)
    found = warping(torch.randn(2, 3, 256, 192), torch.randn(2, 21, 256, 192))
    torch.testing.assert_close(found, control_points().expand(2, 25, 2))
    names = set(warping.state_dict())
    assert {"extractionA.model.0.weight", "extractionB.model.14.bias", "loc_net.regression.linear.bias"} <= names
    assert "loc_net.regression.conv.9.weight" in names
    assert refinement.eval()(torch.randn(1, 24, 32, 16)).shape == (1, 3, 32, 16)
    assert {"inc.double_conv.0.weight", "down4.maxpool_conv.1.double_conv.3.weight", "outc.conv.bias"} <= set(
        refinement.state_dict()
    )
    assert refinement.get_submodule("up1.conv.double_conv.0").weight.shape[:2] == (64, 128)


def test_only_the_clothes_change_and_published_weights_are_read(tmp_path: Path) -> None:
    from safetensors.torch import save_file

    image, points, _ = face("collins", InputSpec(size=96, margin=1.6))
    maker = LadiVton(weights="untrained", steps=2)
    made = maker(image, points, np.random.default_rng(0), Everyone("collins"))
    assert not made.mask[: int(points.points[30, 1])].any()
    assert made.mask[-1].all()
    np.testing.assert_array_equal(made.image[made.mask == 0], image[made.mask == 0])
    save_file({k: v.contiguous() for k, v in maker.model.unet.state_dict().items()}, tmp_path / "unet.safetensors")
    again = LadiVton(weights="untrained", parts=str(tmp_path), steps=2)
    same = again(image, points, np.random.default_rng(0), Everyone("collins"))
    np.testing.assert_array_equal(same.image, made.image)
    assert list(again.origin().weights) == ["unet.safetensors"]
    save_file({"a": torch.zeros(1)}, tmp_path / "unet.safetensors")
    with pytest.raises(BundleError, match="does not fit"):
        LadiVton(weights="untrained", parts=str(tmp_path))(image, points, np.random.default_rng(0), Everyone("collins"))


def test_the_pose_has_what_a_face_has() -> None:
    _, points, _ = face("collins", InputSpec(size=96, margin=1.6))
    maps = pose_map(points, 96, 192)
    assert [n for n in range(18) if maps[n].any()] == [0, 14, 15, 16, 17]
    x, y = (points.five[2] * 2).round().astype(int)
    assert maps[0, y, x] == 1
