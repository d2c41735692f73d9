"""DeepfakeBench's layouts: names and shapes as described, forward passes that share nothing with ours but the file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.bundles import load, read
from unmask.exporting.checkpoints import deepfakebench
from unmask.exporting.checkpoints.published import OPTIONS, published, to_bundle
from unmask.nn.backbones import Encoder
from unmask.registry import FAMILIES
from unmask.types import UnmaskError

State = dict[str, Tensor]


class Tensors:
    """Random tensors under published names, of a size that keeps maps near unit variance."""

    def __init__(self) -> None:
        self.state, self.random = State(), torch.Generator().manual_seed(0)

    def add(self, name: str, *shape: int) -> None:
        fan = max(torch.Size(shape[1:]).numel(), 1)
        self.state[name] = torch.randn(shape, generator=self.random) / fan**0.5

    def norm(self, name: str, width: int) -> None:
        for part, base in (("weight", 1.0), ("bias", 0.0), ("running_mean", 0.0)):
            self.state[f"{name}.{part}"] = base + 0.1 * torch.randn(width, generator=self.random)
        self.state[f"{name}.running_var"] = 0.5 + torch.rand(width, generator=self.random)
        self.state[f"{name}.num_batches_tracked"] = torch.tensor(7)


def normed(w: State, name: str, x: Tensor, eps: float) -> Tensor:
    names = ("running_mean", "running_var", "weight", "bias")
    if "fitting" in w:
        w[f"{name}.running_mean"].copy_(x.mean((0, 2, 3)))
        w[f"{name}.running_var"].copy_(x.var((0, 2, 3)))
    mean, var, scale, shift = (w[f"{name}.{p}"].view(1, -1, 1, 1) for p in names)
    return (x - mean) / (var + eps).sqrt() * scale + shift


def fitted(answer: Callable[[State, Tensor], Tensor], state: State) -> State:
    """With statistics of real maps in the norms, in place: else little of an image reaches the end of a deep net."""
    answer(state | {"fitting": torch.ones(1)}, torch.rand(4, 3, 96, 96, generator=torch.Generator().manual_seed(2)))
    return state


def ours(method: str, state: State, folder: Path, **options: object) -> torch.nn.Module:
    """The detector that the import makes of a DeepfakeBench file."""
    torch.save(state, folder / "file.pth")
    assert options == OPTIONS.get(method, {})
    return published(method, folder / "file.pth")


# --- Xception --------------------------------------------------------------------------------------------------------

# (in, out, separable convolutions, stride, whether the first of them widens, whether a ReLU comes first)
BLOCKS = [(64, 128, 2, 2, True, False), (128, 256, 2, 2, True, True), (256, 728, 2, 2, True, True)]
BLOCKS += [(728, 728, 3, 1, True, True)] * 8 + [(728, 1024, 2, 2, False, True)]


def separable(block: tuple[int, int, int, int, bool, bool]) -> list[tuple[int, int, int]]:
    """Of each separable convolution of a block: its place in `rep`, and its channels."""
    inside, out, count, _, grow, relu = block
    widths = [inside, *[out if grow else inside] * (count - 1), out]
    return [(3 * n + relu, widths[n], widths[n + 1]) for n in range(count)]


def xception_file() -> State:
    t = Tensors()
    t.add("conv1.weight", 32, 3, 3, 3)
    t.norm("bn1", 32)
    t.add("conv2.weight", 64, 32, 3, 3)
    t.norm("bn2", 64)
    for n, block in enumerate(BLOCKS, 1):
        inside, out, _, stride, *_ = block
        if inside != out or stride != 1:
            t.add(f"block{n}.skip.weight", out, inside, 1, 1)
            t.norm(f"block{n}.skipbn", out)
        for place, a, b in separable(block):
            t.add(f"block{n}.rep.{place}.conv1.weight", a, 1, 3, 3)
            t.add(f"block{n}.rep.{place}.pointwise.weight", b, a, 1, 1)
            t.norm(f"block{n}.rep.{place + 1}", b)
    for n, a, b in ((3, 1024, 1536), (4, 1536, 2048)):
        t.add(f"conv{n}.conv1.weight", a, 1, 3, 3)
        t.add(f"conv{n}.pointwise.weight", b, a, 1, 1)
        t.norm(f"bn{n}", b)
    t.add("last_linear.weight", 2, 2048)
    t.add("last_linear.bias", 2)
    assert sum(v.numel() for k, v in t.state.items() if "running" not in k and "tracked" not in k) == 20_811_050
    t.add("adjust_channel.0.weight", 512, 2048, 1, 1)  # in every file, used by none of these detectors
    t.add("adjust_channel.0.bias", 512)
    t.norm("adjust_channel.1", 512)
    return {f"backbone.{k}": v for k, v in t.state.items()}


def xception_answer(state: State, image: Tensor) -> Tensor:
    w = {k.removeprefix("backbone."): v for k, v in state.items()}

    def pair(name: str, x: Tensor) -> Tensor:
        x = F.conv2d(x, w[f"{name}.conv1.weight"], padding=1, groups=x.shape[1])
        return F.conv2d(x, w[f"{name}.pointwise.weight"])

    x = (image - 0.5) / 0.5
    x = F.relu(normed(w, "bn1", F.conv2d(x, w["conv1.weight"], stride=2), 1e-5))
    x = F.relu(normed(w, "bn2", F.conv2d(x, w["conv2.weight"]), 1e-5))
    for n, block in enumerate(BLOCKS, 1):
        stride, y = block[3], x
        for k, (place, *_) in enumerate(separable(block)):
            y = y if k == 0 and not block[5] else F.relu(y)
            y = normed(w, f"block{n}.rep.{place + 1}", pair(f"block{n}.rep.{place}", y), 1e-5)
        if stride == 2:
            y = F.max_pool2d(y, 3, 2, 1)
        if f"block{n}.skip.weight" in w:
            x = normed(w, f"block{n}.skipbn", F.conv2d(x, w[f"block{n}.skip.weight"], stride=stride), 1e-5)
        x = x + y
    for n in (3, 4):
        x = F.relu(normed(w, f"bn{n}", pair(f"conv{n}", x), 1e-5))
    return x.mean((2, 3)) @ w["last_linear.weight"].T + w["last_linear.bias"]


@pytest.mark.parametrize("form", ["plain", "dropout", "wrapped"])
def test_xception_answers_as_its_layout_says(form: str, tmp_path: Path) -> None:
    state = fitted(xception_answer, xception_file())
    image = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    want = xception_answer(state, image)
    assert (want[0] - want[1]).abs().max() > 0.01
    if form == "dropout":  # the head behind one is the second of two
        state = {k.replace("last_linear.", "last_linear.1."): v for k, v in state.items()}
    if form == "wrapped":
        state = {f"module.{k}": v for k, v in state.items()}
    detector = ours("xception", state, tmp_path)
    with torch.inference_mode():
        torch.testing.assert_close(detector(image).logits, want, atol=1e-4, rtol=1e-4)


# --- EfficientNet-B4 -------------------------------------------------------------------------------------------------

STAGES = [  # (kernel, stride, expansion, in, out, blocks, pads of the first block before and after)
    (3, 1, 1, 48, 24, 2, (1, 1)),
    (3, 2, 6, 24, 32, 4, (0, 1)),
    (5, 2, 6, 32, 56, 4, (2, 2)),
    (3, 2, 6, 56, 112, 6, (0, 1)),
    (5, 1, 6, 112, 160, 6, (2, 2)),
    (5, 2, 6, 160, 272, 8, (1, 2)),
    (3, 1, 6, 272, 448, 2, (1, 1)),
]
B4 = [
    (kernel, stride if n == 0 else 1, expansion, inside if n == 0 else out, out, pads if n == 0 else (kernel // 2,) * 2)
    for kernel, stride, expansion, inside, out, count, pads in STAGES
    for n in range(count)
]


def efficientnet_file() -> State:
    t = Tensors()
    t.add("efficientnet._conv_stem.weight", 48, 3, 3, 3)
    t.norm("efficientnet._bn0", 48)
    for n, (kernel, _, expansion, inside, out, _) in enumerate(B4):
        name, wide, narrow = f"efficientnet._blocks.{n}", inside * expansion, max(1, inside // 4)
        if expansion != 1:
            t.add(f"{name}._expand_conv.weight", wide, inside, 1, 1)
            t.norm(f"{name}._bn0", wide)
        t.add(f"{name}._depthwise_conv.weight", wide, 1, kernel, kernel)
        t.norm(f"{name}._bn1", wide)
        for part, a, b in (("reduce", wide, narrow), ("expand", narrow, wide)):
            t.add(f"{name}._se_{part}.weight", b, a, 1, 1)
            t.add(f"{name}._se_{part}.bias", b)
        t.add(f"{name}._project_conv.weight", out, wide, 1, 1)
        t.norm(f"{name}._bn2", out)
    t.add("efficientnet._conv_head.weight", 1792, 448, 1, 1)
    t.norm("efficientnet._bn1", 1792)
    t.add("last_layer.weight", 2, 1792)
    t.add("last_layer.bias", 2)
    count = sum(v.numel() for k, v in t.state.items() if "running" not in k and "tracked" not in k)
    assert count / 1e6 == pytest.approx(17.55, abs=0.01)
    return {f"backbone.{k}": v for k, v in t.state.items()}


def efficientnet_answer(state: State, image: Tensor, *, sbi: bool = False) -> Tensor:
    """`sbi`: pixels as they are, and a first layer that pads as the library does for 380 pixels."""
    w = {k.removeprefix("backbone.").removeprefix("efficientnet."): v for k, v in state.items()}
    x = F.pad(image, (0, 1, 0, 1)) if sbi else (image - 0.5) / 0.5
    x = F.conv2d(x, w["_conv_stem.weight"], stride=2)
    x = F.silu(normed(w, "_bn0", x, 1e-3))
    for n, (_, stride, expansion, inside, out, (low, high)) in enumerate(B4):
        name, y = f"_blocks.{n}", x
        if expansion != 1:
            y = F.silu(normed(w, f"{name}._bn0", F.conv2d(y, w[f"{name}._expand_conv.weight"]), 1e-3))
        y = F.pad(y, (low, high, low, high))
        y = F.conv2d(y, w[f"{name}._depthwise_conv.weight"], stride=stride, groups=y.shape[1])
        y = F.silu(normed(w, f"{name}._bn1", y, 1e-3))
        squeezed = y.mean((2, 3), keepdim=True)
        squeezed = F.silu(F.conv2d(squeezed, w[f"{name}._se_reduce.weight"], w[f"{name}._se_reduce.bias"]))
        y = y * F.conv2d(squeezed, w[f"{name}._se_expand.weight"], w[f"{name}._se_expand.bias"]).sigmoid()
        y = normed(w, f"{name}._bn2", F.conv2d(y, w[f"{name}._project_conv.weight"]), 1e-3)
        x = x + y if stride == 1 and inside == out else y
    x = F.silu(normed(w, "_bn1", F.conv2d(x, w["_conv_head.weight"]), 1e-3))
    return x.mean((2, 3)) @ w["last_layer.weight"].T + w["last_layer.bias"]


def test_efficientnet_answers_as_its_layout_says_pads_included(tmp_path: Path) -> None:
    state = fitted(efficientnet_answer, efficientnet_file())
    image = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    detector = ours("efficientnet_b4", state, tmp_path, network="efficientnet-b4-static")
    with torch.inference_mode():
        want = efficientnet_answer(state, image)
        assert (want[0] - want[1]).abs().max() > 0.01
        # 32 blocks deep: processors differ by some 2e-4 in the order of their sums.
        torch.testing.assert_close(detector(image).logits, want, atol=1e-4, rtol=1e-3)
        # The pads matter: timm's own network gives other answers with the same weights.
        plain = FAMILIES["detector"].create("efficientnet_b4").eval()
        plain.load_state_dict(detector.state_dict())
        assert (plain(image).logits - want).abs().max() > 1e-2


def test_its_bundle_says_what_it_is_built_with(tmp_path: Path) -> None:
    torch.save(efficientnet_file(), tmp_path / "effnb4_best.pth")
    to_bundle("efficientnet_b4", tmp_path / "effnb4_best.pth", tmp_path / "box")
    assert read(tmp_path / "box").card.options == {"network": "efficientnet-b4-static"}
    crops = torch.zeros(1, 256, 256, 3, dtype=torch.uint8).numpy()
    assert load(str(tmp_path / "box"), runtime="torch").logits(crops).shape == (1, 2)


@pytest.mark.slow
def test_sbi_answers_as_its_layout_says(tmp_path: Path) -> None:
    """As the authors' file has it: {"model": {"net._conv_stem.weight": ...}}, the head `_fc`."""
    state = fitted(lambda w, x: efficientnet_answer(w, x, sbi=True), efficientnet_file())
    names = {k: k.removeprefix("backbone.").removeprefix("efficientnet.").replace("last_layer", "_fc") for k in state}
    torch.save({"model": {f"net.{names[k]}": v for k, v in state.items()}}, tmp_path / "FFc23.tar")
    detector = published("sbi", tmp_path / "FFc23.tar")
    image = torch.rand(2, 3, 96, 96, generator=torch.Generator().manual_seed(1))
    with torch.inference_mode():
        want = efficientnet_answer(state, image, sbi=True)
        torch.testing.assert_close(detector(image).logits, want, atol=1e-4, rtol=1e-3)
        assert (efficientnet_answer(state, image) - want).abs().max() > 1e-2


# --- Effort ----------------------------------------------------------------------------------------------------------


def effort_file(shapes: dict[str, tuple[int, ...]], rank: int = 1) -> State:
    """A CLIP image tower whose attention maps are split, and a head."""
    t = Tensors()
    for name, shape in shapes.items():
        if "layer_norm" in name or "layernorm" in name or "layrnorm" in name:
            t.add(name, *shape)
            t.state[name] = 0.1 * t.state[name] + name.endswith("weight")
        elif ".self_attn." in name and name.endswith(".weight"):
            place, side = name.removesuffix("weight"), shape[0]
            t.add(f"{place}weight_main", side, side)
            t.add(f"{place}S_residual", rank)
            t.add(f"{place}U_residual", side, rank)
            t.add(f"{place}V_residual", rank, side)
        else:
            t.add(name, *shape)
    state = {f"backbone.{k}": v for k, v in t.state.items()}
    width = shapes["post_layernorm.weight"][0]
    return state | {"head.weight": torch.randn(2, width, generator=t.random), "head.bias": torch.ones(2)}


def test_effort_answers_as_transformers_with_the_maps_put_together(tmp_path: Path) -> None:
    encoder = Encoder("face-vit-128").eval()  # CLIP's tower, small
    state = effort_file({k: tuple(v.shape) for k, v in encoder.body.state_dict().items()}, rank=3)
    whole = {}
    for name in encoder.body.state_dict():
        key = f"backbone.{name}"
        if key in state:
            whole[name] = state[key]
        else:
            place = key.removesuffix("weight")
            u, s, v = (state[f"{place}{letter}_residual"] for letter in "USV")
            whole[name] = state[f"{place}weight_main"] + u @ torch.diag(s) @ v
    encoder.body.load_state_dict(whole)
    image = torch.rand(2, 3, 128, 128)
    detector = FAMILIES["detector"].create("effort", {"backbone": "face-vit-128", "rank": 3}).eval()
    torch.save({f"module.{k}": v for k, v in state.items()}, tmp_path / "effort.pth")
    detector.load_state_dict(deepfakebench.effort(detector, tmp_path / "effort.pth"))
    with torch.inference_mode():
        want = encoder(image) @ state["head.weight"].T + state["head.bias"]
        torch.testing.assert_close(detector(image).logits, want, atol=1e-4, rtol=1e-4)
    # The frozen directions are those of the frozen part: an orthonormal basis of what it does not send to nothing.
    split = detector.encoder.body.get_submodule("encoder.layers.0.self_attn.q_proj")
    torch.testing.assert_close(split.left.T @ split.left, torch.eye(125), atol=1e-4, rtol=0)


def test_the_published_effort_has_the_names_and_shapes_of_ours() -> None:
    """ViT-L/14 with one trained direction of 1024, on the meta device: its weights would be 1.2 GB."""
    from transformers import CLIPVisionConfig, CLIPVisionModel

    sizes = {"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24, "num_attention_heads": 16}
    with torch.device("meta"):
        tower = CLIPVisionModel(CLIPVisionConfig(**sizes, image_size=224, patch_size=14))
        detector = FAMILIES["detector"].create("effort")
    shapes = {k.removeprefix("vision_model."): tuple(v.shape) for k, v in tower.state_dict().items()}
    theirs = {f"encoder.body.{k}": s for k, s in shapes.items() if not (".self_attn." in k and k.endswith(".weight"))}
    split = {k.removesuffix("weight") for k in shapes if ".self_attn." in k and k.endswith(".weight")}
    assert len(split) == 96
    of_one = {"main": (1024, 1024), "left": (1024, 1023), "right": (1023, 1024), "whole": ()}
    of_one |= {"u": (1024, 1), "s": (1,), "v": (1, 1024)}
    theirs |= {f"encoder.body.{k}{part}": shape for k in split for part, shape in of_one.items()}
    theirs |= {"head.weight": (2, 1024), "head.bias": (2,)}
    assert {k: tuple(v.shape) for k, v in detector.state_dict().items()} == theirs


# --- files that do not fit -------------------------------------------------------------------------------------------


def test_what_does_not_fit_is_named(tmp_path: Path) -> None:
    state = xception_file()
    del state["backbone.block5.rep.2.weight"]
    with pytest.raises(UnmaskError, match=r"missing: body\.body\.block5\.rep\.2\.weight"):
        ours("xception", state, tmp_path)
    torch.save({"backbone.encoder.layers.0.self_attn.q_proj.weight_main": torch.rand(4, 4)}, tmp_path / "e.pth")
    with pytest.raises(UnmaskError, match="no trained directions for encoder"):
        deepfakebench.effort(FAMILIES["detector"].create("effort", {"backbone": "face-vit-128"}), tmp_path / "e.pth")
