"""DeepfakeBench's UCF layout against a forward pass that reads the published names with plain functions of torch."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from unmask.detectors.ucf import UCF
from unmask.exporting.checkpoints.published import published
from unmask.types import UnmaskError

State = dict[str, Tensor]
BLOCKS = {1: (64, 128), 2: (128, 256), 3: (256, 728), **dict.fromkeys(range(4, 12), (728, 728)), 12: (728, 1024)}


# --- the published names and shapes ----------------------------------------------------------------------------------


def weight(*shape: int) -> Tensor:
    fan = torch.Size(shape[1:]).numel()
    return torch.randn(*shape) * (0.7 / fan) ** 0.5


def norm(name: str, n: int) -> State:
    parts = {"weight": torch.rand(n) + 0.5, "bias": 0.1 * torch.randn(n)}
    parts |= {"running_mean": 0.1 * torch.randn(n), "running_var": torch.rand(n) + 0.5}
    return {f"{name}.{k}": v for k, v in parts.items()} | {f"{name}.num_batches_tracked": torch.tensor(7)}


def separable(name: str, inside: int, outside: int) -> State:
    return {f"{name}.conv1.weight": weight(inside, 1, 3, 3), f"{name}.pointwise.weight": weight(outside, inside, 1, 1)}


def units(n: int) -> list[tuple[int, int, int]]:
    """Of a block: place of each separable convolution in `rep`, and its channels."""
    inside, outside = BLOCKS[n]
    if n == 1:
        return [(0, inside, outside), (3, outside, outside)]
    if n == 12:  # it widens at its end, the others at their beginning
        return [(1, inside, inside), (4, inside, outside)]
    return [(1, inside, outside), *((p, outside, outside) for p in ((4,) if n < 4 else (4, 7)))]


def xception() -> State:
    state = {"conv1.weight": weight(32, 3, 3, 3), "conv2.weight": weight(64, 32, 3, 3), **norm("bn1", 32)}
    state |= norm("bn2", 64)
    for n, (inside, outside) in BLOCKS.items():
        for place, a, b in units(n):
            state |= separable(f"block{n}.rep.{place}", a, b) | norm(f"block{n}.rep.{place + 1}", b)
        if inside != outside:
            state |= {f"block{n}.skip.weight": weight(outside, inside, 1, 1)} | norm(f"block{n}.skipbn", outside)
    state |= separable("conv3", 1024, 1536) | norm("bn3", 1536) | separable("conv4", 1536, 2048) | norm("bn4", 2048)
    state |= {"last_linear.weight": weight(2, 2048), "last_linear.bias": torch.randn(2)}
    return state | layer("adjust_channel.0", 512, 2048, 1, 1) | norm("adjust_channel.1", 512)


def layer(name: str, *shape: int) -> State:
    return {f"{name}.weight": weight(*shape), f"{name}.bias": 0.1 * torch.randn(shape[0])}


def checkpoint(methods: int = 4) -> State:
    state: State = {}
    for encoder in ("encoder_f", "encoder_c"):
        state |= {f"{encoder}.{k}": v for k, v in xception().items()}
    for part, classes in (("sha", 2), ("spe", methods + 1)):
        for place, inside in ((0, 512), (2, 256), (4, 256)):
            state |= layer(f"block_{part}.conv2d.{place}", 256, inside, 1, 1)
        state |= layer(f"head_{part}.mlp.0", 512, 256) | layer(f"head_{part}.mlp.2", classes, 512)
    for n, (inside, outside) in ((3, (512, 256)), (2, (256, 128)), (1, (128, 64))):
        state |= layer(f"con_gan.dconv_up{n}.0", outside, inside, 3, 3)
        state |= layer(f"con_gan.dconv_up{n}.2", outside, outside, 3, 3)
    return state | layer("con_gan.conv_last", 3, 64, 1, 1)


# --- their forward pass ----------------------------------------------------------------------------------------------


class Theirs:
    def __init__(self, state: State) -> None:
        self.w = state

    def bn(self, name: str, x: Tensor) -> Tensor:
        mean, var, scale, shift = (
            self.w[f"{name}.{k}"].view(1, -1, 1, 1) for k in ("running_mean", "running_var", "weight", "bias")
        )
        return (x - mean) / (var + 1e-5).sqrt() * scale + shift

    def sep(self, name: str, x: Tensor) -> Tensor:
        x = F.conv2d(x, self.w[f"{name}.conv1.weight"], padding=1, groups=x.shape[1])
        return F.conv2d(x, self.w[f"{name}.pointwise.weight"])

    def layer(self, name: str, x: Tensor, padding: int = 0) -> Tensor:
        w, b = self.w[f"{name}.weight"], self.w[f"{name}.bias"]
        return F.linear(x, w, b) if w.ndim == 2 else F.conv2d(x, w, b, padding=padding)

    def encode(self, e: str, image: Tensor) -> Tensor:
        x = F.relu(self.bn(f"{e}.bn1", F.conv2d(image, self.w[f"{e}.conv1.weight"], stride=2)))
        x = F.relu(self.bn(f"{e}.bn2", F.conv2d(x, self.w[f"{e}.conv2.weight"])))
        for n in BLOCKS:
            name, stride, y = f"{e}.block{n}", 2 if n in (1, 2, 3, 12) else 1, x
            for place, _, _ in units(n):
                y = F.relu(y) if place else y  # the first block begins without one
                y = self.bn(f"{name}.rep.{place + 1}", self.sep(f"{name}.rep.{place}", y))
            if stride == 2:
                y = F.max_pool2d(y, 3, 2, 1)
                x = self.bn(f"{name}.skipbn", F.conv2d(x, self.w[f"{name}.skip.weight"], stride=2))
            x = x + y
        x = F.relu(self.bn(f"{e}.bn3", self.sep(f"{e}.conv3", x)))
        x = self.bn(f"{e}.bn4", self.sep(f"{e}.conv4", x))  # no ReLU between this and the mapping
        return F.relu(self.bn(f"{e}.adjust_channel.1", self.layer(f"{e}.adjust_channel.0", x)))

    def part(self, name: str, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.layer(f"block_{name}.conv2d.0", x), 0.01)
        x = F.leaky_relu(self.layer(f"block_{name}.conv2d.2", x), 0.01)
        return self.layer(f"block_{name}.conv2d.4", x)

    def head(self, name: str, x: Tensor) -> Tensor:
        x = F.leaky_relu(self.layer(f"head_{name}.mlp.0", x.mean((2, 3))), 0.01)
        return self.layer(f"head_{name}.mlp.2", x)

    def decode(self, c: Tensor, x: Tensor) -> Tensor:
        def statistics(m: Tensor) -> tuple[Tensor, Tensor]:
            flat = m.flatten(2)
            return flat.mean(2)[..., None, None], (flat.var(2) + 1e-5).sqrt()[..., None, None]

        def stage(n: int, m: Tensor) -> Tensor:
            m = F.interpolate(m, scale_factor=2, mode="bilinear", align_corners=True)
            m = F.relu(self.layer(f"con_gan.dconv_up{n}.0", m, 1))
            return F.relu(self.layer(f"con_gan.dconv_up{n}.2", m, 1))

        for n in (3, 2, 1):
            (mean, std), (to, wide) = statistics(x), statistics(c)
            x, c = stage(n, (x - mean) / std * wide + to), stage(n, c)
        x = F.interpolate(self.layer("con_gan.conv_last", x), scale_factor=4, mode="bilinear", align_corners=True)
        return torch.tanh(x)


@torch.no_grad()
def test_the_published_layout_answers_as_its_formulas(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state, image = checkpoint(), torch.rand(2, 3, 128, 128)
    torch.save({f"module.{k}": v for k, v in state.items()}, tmp_path / "ucf_best.pth")
    detector, theirs, x = cast(UCF, published("ucf", tmp_path / "ucf_best.pth")), Theirs(state), 2 * image - 1
    f, c = theirs.encode("encoder_f", x), theirs.encode("encoder_c", x)
    assert 0.1 < f.std() < 10  # numbers that could differ, and do not hide it
    torch.testing.assert_close(detector(image).logits, theirs.head("sha", theirs.part("sha", f)), atol=1e-4, rtol=1e-4)
    specific, common = theirs.part("spe", f), theirs.part("sha", f)
    ours = detector.specific(detector.forgery(image))
    torch.testing.assert_close(ours, specific, atol=1e-4, rtol=1e-4)
    said = detector.specific_head(ours.mean((2, 3)))
    torch.testing.assert_close(said, theirs.head("spe", specific), atol=1e-4, rtol=1e-4)
    style = torch.cat([specific, common], 1)
    rebuilt = detector.decoder(style, detector.content(image), (128, 128))
    torch.testing.assert_close(rebuilt, theirs.decode(style, c), atol=1e-4, rtol=1e-4)


def test_the_number_of_methods_is_read_from_the_file_and_faults_are_named(tmp_path: Path) -> None:
    torch.manual_seed(0)
    state = {k: v for k, v in checkpoint(methods=2).items() if k != "encoder_c.bn3.bias"}
    torch.save(state, tmp_path / "ucf.pth")
    with pytest.raises(UnmaskError, match=r"does not fit: missing: content\.body\.body\.bn3\.bias$"):
        published("ucf", tmp_path / "ucf.pth")  # and nothing about the shape of the head
    torch.save({"weight": torch.zeros(1)}, tmp_path / "ucf.pth")
    with pytest.raises(UnmaskError, match=r"is of no UCF: it has no head_spe\.mlp\.2\.weight"):
        published("ucf", tmp_path / "ucf.pth")
