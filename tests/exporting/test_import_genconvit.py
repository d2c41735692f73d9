"""GenConViT's published layout against a forward pass that reads the published names with plain functions of torch.

The autoencoder's file has the published sizes. The variational one's has the published names at 64 pixels, for which
its two linear layers have 2 million weights each instead of 315.
"""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any, cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.bundles import load
from unmask.detectors.genconvit import GenConViT
from unmask.exporting.checkpoints.published import published, to_bundle
from unmask.types import UnmaskError

State = dict[str, Tensor]
DIMS, DEPTHS = (96, 192, 384, 768), (3, 3, 9, 3)
MEAN, STD = (torch.tensor(v).view(1, 3, 1, 1) for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


# --- the published names and shapes ----------------------------------------------------------------------------------


def layer(name: str, *shape: int, fan: int = 0) -> State:
    fan = fan or torch.Size(shape[1:]).numel()
    outside = shape[0] if not name.startswith("decoder") else shape[1]  # transposed kernels stand the other way
    return {f"{name}.weight": torch.randn(*shape) * (1.5 / fan) ** 0.5, f"{name}.bias": 0.1 * torch.randn(outside)}


def norm(name: str, n: int) -> State:
    return {f"{name}.weight": torch.rand(n) + 0.5, f"{name}.bias": 0.1 * torch.randn(n)}


def convnext(name: str) -> State:
    state = layer("stem.0", 96, 3, 4, 4) | norm("stem.1", 96)
    for s, (dim, depth) in enumerate(zip(DIMS, DEPTHS, strict=True)):
        if s:
            before = DIMS[s - 1]
            state |= norm(f"stages.{s}.downsample.0", before) | layer(f"stages.{s}.downsample.1", dim, before, 2, 2)
        for b in range(depth):
            block = f"stages.{s}.blocks.{b}"
            state |= layer(f"{block}.conv_dw", dim, 1, 7, 7) | norm(f"{block}.norm", dim)
            state |= layer(f"{block}.mlp.fc1", 4 * dim, dim) | layer(f"{block}.mlp.fc2", dim, 4 * dim)
            state[f"{block}.gamma"] = 0.2 * torch.randn(dim)
    state |= norm("head.norm", 768) | layer("head.fc", 1000, 768)
    return {f"{name}.{k}": v for k, v in state.items()}


def dead(body: str) -> State:
    """What the forward pass never touches: here one tensor of each kind."""
    return {
        "embedder.norm.weight": torch.ones(768),
        f"{body}.patch_embed.backbone.norm.weight": torch.ones(768),
        f"{body}.patch_embed.proj.weight": torch.randn(768, 768, 1, 1),
    }


def autoencoder() -> State:
    state, plan = convnext("backbone") | dead("backbone"), (3, 16, 32, 64, 128, 256)
    for n, (a, b) in enumerate(pairwise(plan)):
        state |= layer(f"encoder.features.{3 * n}", b, a, 3, 3)
        state |= layer(f"decoder.features.{8 - 2 * n}", b, a, 2, 2, fan=b)
    return state | layer("fc", 500, 2000) | layer("fc2", 2, 500)


def variational(size: int) -> State:
    state, plan = convnext("convnext_backbone") | dead("convnext_backbone"), (3, 16, 32, 64, 128)
    for n, (a, b) in enumerate(pairwise(plan)):
        state |= layer(f"encoder.features.{3 * n}", b, a, 3, 3) | norm(f"encoder.features.{3 * n + 1}", b)
        state |= {
            f"encoder.features.{3 * n + 1}.running_mean": 0.1 * torch.randn(b),
            f"encoder.features.{3 * n + 1}.running_var": torch.rand(b) + 0.5,
            f"encoder.features.{3 * n + 1}.num_batches_tracked": torch.tensor(3),
        }
    for n, (a, b) in enumerate(((256, 64), (64, 32), (32, 16), (16, 3))):
        state |= layer(f"decoder.features.{2 * n}", a, b, 2, 2, fan=a)
    inside, code = 128 * (size // 16) ** 2, 256 * (size // 32) ** 2
    state |= layer("encoder.mu", code, inside) | layer("encoder.var", code, inside)
    state |= layer("encoder.fc1", 16, code) | layer("encoder.fc2", 128, 16)
    return state | layer("fc", 500, 2000) | layer("fc2", 2, 500) | layer("fc3", 2, 500)


# --- their forward pass ----------------------------------------------------------------------------------------------


def apply(w: State, name: str, x: Tensor, **how: Any) -> Tensor:
    weight, bias = w[f"{name}.weight"], w[f"{name}.bias"]
    return F.linear(x, weight, bias) if weight.ndim == 2 else F.conv2d(x, weight, bias, **how)


def layer_norm(w: State, name: str, x: Tensor) -> Tensor:
    """Over the last axis."""
    spread = (x.var(-1, unbiased=False, keepdim=True) + 1e-6).sqrt()
    return (x - x.mean(-1, keepdim=True)) / spread * w[f"{name}.weight"] + w[f"{name}.bias"]


def over_channels(w: State, name: str, x: Tensor) -> Tensor:
    return layer_norm(w, name, x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


def backbone(w: State, p: str, x: Tensor) -> Tensor:
    x = over_channels(w, f"{p}.stem.1", apply(w, f"{p}.stem.0", x, stride=4))
    for s, depth in enumerate(DEPTHS):
        if s:
            x = over_channels(w, f"{p}.stages.{s}.downsample.0", x)
            x = apply(w, f"{p}.stages.{s}.downsample.1", x, stride=2)
        for b in range(depth):
            block = f"{p}.stages.{s}.blocks.{b}"
            y = apply(w, f"{block}.conv_dw", x, padding=3, groups=DIMS[s]).permute(0, 2, 3, 1)
            y = F.gelu(apply(w, f"{block}.mlp.fc1", layer_norm(w, f"{block}.norm", y)))
            x = x + (w[f"{block}.gamma"] * apply(w, f"{block}.mlp.fc2", y)).permute(0, 3, 1, 2)
    return apply(w, f"{p}.head.fc", layer_norm(w, f"{p}.head.norm", x.mean((2, 3))))


def ed(w: State, x: Tensor) -> Tensor:
    """Logits with index 0 = fake."""
    y = x
    for n in range(5):
        y = F.max_pool2d(F.relu(apply(w, f"encoder.features.{3 * n}", y, padding=1)), 2)
    assert y.shape[1] == 256
    for n in range(5):
        name = f"decoder.features.{2 * n}"
        y = F.relu(F.conv_transpose2d(y, w[f"{name}.weight"], w[f"{name}.bias"], stride=2))
    answers = F.gelu(torch.cat([backbone(w, "backbone", y), backbone(w, "backbone", x)], 1))
    return apply(w, "fc2", F.gelu(apply(w, "fc", answers)))


def vae(w: State, x: Tensor, noise: Tensor | float) -> Tensor:
    """Logits with index 0 = fake."""
    y = x
    for n in range(4):
        y = apply(w, f"encoder.features.{3 * n}", y, stride=2, padding=1)
        name = f"encoder.features.{3 * n + 1}"
        mean, var, scale, shift = (
            w[f"{name}.{k}"].view(1, -1, 1, 1) for k in ("running_mean", "running_var", "weight", "bias")
        )
        y = F.leaky_relu((y - mean) / (var + 1e-5).sqrt() * scale + shift, 0.01)
    mu = apply(w, "encoder.mu", y.flatten(1))
    side = round((mu.shape[1] / 256) ** 0.5)
    y = (mu + noise * torch.exp(0.5 * mu)).view(-1, 256, side, side)
    for n in range(4):
        name = f"decoder.features.{2 * n}"
        y = F.leaky_relu(F.conv_transpose2d(y, w[f"{name}.weight"], w[f"{name}.bias"], stride=2), 0.01)
    assert y.shape[-1] * 2 == x.shape[-1]
    answers = F.relu(torch.cat([backbone(w, "convnext_backbone", p) for p in (x, y)], 1))
    return apply(w, "fc2", F.relu(apply(w, "fc", answers)))


# --- ours against theirs ---------------------------------------------------------------------------------------------


@torch.no_grad()
def test_the_autoencoders_file_answers_as_its_formulas(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state, image = autoencoder(), torch.rand(1, 3, 224, 224)
    torch.save({"state_dict": state}, tmp_path / "genconvit_ed_inference.pth")
    detector, want = cast(GenConViT, published("genconvit", tmp_path)), ed(state, (image - MEAN) / STD)
    assert (want[:, 0] - want[:, 1]).abs().max() > 0.01
    judged = detector.judged(image)
    assert list(judged) == ["ed"]
    torch.testing.assert_close(judged["ed"].logits, want.flip(1), atol=1e-3, rtol=1e-3)
    # Their decision: the larger of the two sigmoids; index 0 is fake.
    assert torch.equal(detector(image).logits.argmax(1), 1 - torch.sigmoid(want).argmax(1))


@torch.no_grad()
def test_the_variational_file_answers_as_its_formulas_with_noise_and_without(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state, image = variational(64), torch.rand(2, 3, 64, 64)
    torch.save(state, tmp_path / "mine.pth")
    detector, x = cast(GenConViT, published("genconvit", tmp_path / "mine.pth")), (image - MEAN) / STD
    want = vae(state, x, 0.0).flip(1)
    torch.testing.assert_close(detector.judged(image)["vae"].logits, want, atol=1e-3, rtol=1e-3)
    detector.nets["vae"].generator.noise = True  # type: ignore[union-attr]
    torch.manual_seed(5)
    noisy = detector.judged(image)["vae"].logits
    torch.manual_seed(5)
    drawn = vae(state, x, torch.randn(2, 1024)).flip(1)
    torch.testing.assert_close(noisy, drawn, atol=1e-3, rtol=1e-3)
    assert not torch.allclose(drawn, want, atol=1e-2)


@torch.no_grad()
def test_both_files_decide_by_the_mean_of_their_sigmoids(tmp_path: Path) -> None:
    torch.manual_seed(0)
    files = {"ed": autoencoder(), "vae": variational(64)}
    for net, state in files.items():
        torch.save(state, tmp_path / f"genconvit_{net}_inference.pth")
    image = torch.rand(3, 3, 64, 64)
    detector, x = published("genconvit", tmp_path), (image - MEAN) / STD
    theirs = torch.sigmoid(torch.stack([ed(files["ed"], x), vae(files["vae"], x, 0.0)])).mean(0)
    share = detector(image).logits.softmax(1)[:, 1]
    torch.testing.assert_close(share, theirs[:, 0] / theirs.sum(1), atol=1e-3, rtol=1e-3)
    assert torch.equal(share > 0.5, theirs[:, 0] > theirs[:, 1])


@pytest.mark.slow
@torch.no_grad()
def test_the_bundle_of_an_import_answers_as_it_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    torch.save(variational(64), tmp_path / "vae.pth")
    card = to_bundle("genconvit", tmp_path / "vae.pth", tmp_path / "box")
    assert card.options == {"faithful": "release", "margin": 1.0, "nets": ["vae"], "width": 16, "size": 64}
    crops = torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    logits = load(str(tmp_path / "box"), runtime="torch").logits(crops.numpy())
    want = published("genconvit", tmp_path / "vae.pth")(crops.permute(0, 3, 1, 2).float() / 255).logits
    torch.testing.assert_close(torch.from_numpy(logits), want, atol=1e-3, rtol=1e-3)


def test_files_that_do_not_belong_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UnmaskError, match=r"no genconvit_ed_inference\.pth or"):
        published("genconvit", tmp_path)
    state = {"encoder.features.0.weight": torch.zeros(16, 3, 3, 3), "fc2.weight": torch.zeros(2, 500)}
    torch.save(state, tmp_path / "genconvit_ed_inference.pth")
    with pytest.raises(UnmaskError, match=r"does not fit: missing: nets\.ed\.body"):
        published("genconvit", tmp_path)
    torch.save(state, tmp_path / "genconvit_other.pth")
    with pytest.raises(UnmaskError, match=r"genconvit_other\.pth does not belong to the other files"):
        published("genconvit", tmp_path)
    torch.save({"fc1.weight": torch.zeros(1)}, tmp_path / "genconvit_ed_inference.pth")
    with pytest.raises(UnmaskError, match="is of no GenConViT"):
        published("genconvit", tmp_path / "genconvit_ed_inference.pth")
