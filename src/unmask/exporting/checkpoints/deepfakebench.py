"""DeepfakeBench's checkpoints (SCLBD/DeepfakeBench, its layouts as of commit 8a4a7bf): names and shapes, translated.

Published under CC BY-NC 4.0; the weights follow the terms of what they were trained on. No line of its code is here.
"""

from __future__ import annotations

import re
from pathlib import Path

import torch
from torch import Tensor

from unmask.base.detector import Detector
from unmask.errors import BundleError
from unmask.exporting.checkpoints import layouts

State = dict[str, Tensor]
EFFICIENTNET = (  # (theirs, ours), applied in this order; inside a block the norms are numbered by what they follow
    (r"^_conv_stem\.", "conv_stem."),
    (r"^_bn0\.", "bn1."),
    (r"^_conv_head\.", "conv_head."),
    (r"^_bn1\.", "bn2."),
    (r"\._se_(reduce|expand)\.", r".se.conv_\1."),
    (r"\._depthwise_conv\.", ".conv_dw."),
)
WITH_EXPANSION = (
    ("_expand_conv", "conv_pw"),
    ("_bn0", "bn1"),
    ("_bn1", "bn2"),
    ("_project_conv", "conv_pwl"),
    ("_bn2", "bn3"),
)
WITHOUT = ("_bn1", "bn1"), ("_project_conv", "conv_pw"), ("_bn2", "bn2")
DEPTHS = (2, 4, 4, 6, 6, 8, 2)  # blocks of B4's stages, which efficientnet_pytorch counts through


def xception(detector: Detector, source: Path) -> State:
    """`xception_best.pth`: names are Cadene's, as timm's, but for the head. 512-channel layers that nothing uses go."""
    return _renamed(held(source), r"last_linear\.(?:1\.)?")


def efficientnet_b4(detector: Detector, source: Path) -> State:
    """`effnb4_best.pth`: efficientnet_pytorch's names. The pads need the network "efficientnet-b4-static"."""
    state = {k.removeprefix("efficientnet."): v for k, v in held(source).items()}
    return _renamed({_efficientnet(k): v for k, v in state.items()}, r"last_layer\.")


def sbi(detector: Detector, source: Path) -> State:
    """SBI's `FFraw.tar` or `FFc23.tar` of its authors: efficientnet_pytorch's names under "model", after `net.`.

    The pads and pixels without normalisation need the network "efficientnet-b4-sbi".
    """
    state = {k.removeprefix("net."): v for k, v in held(source).items()}
    return _renamed({_efficientnet(k): v for k, v in state.items()}, r"_fc\.")


def effort(detector: Detector, source: Path) -> State:
    """`effort_*.pth`: each map of attention as its frozen part, and its last directions U, S and V."""
    state, ours = held(source), State()
    heads = {f"head.{part}" for part in ("weight", "bias")}
    for name, value in state.items():
        place = re.fullmatch(r"(.*\.)(weight_main|[USV]_residual)", name)
        if place is None:
            key = name if name in heads else f"encoder.body.{name}"
            ours[key] = value
        elif place[2] == "weight_main":
            rank = len(state.get(f"{place[1]}S_residual", ()))
            if not 0 < rank < min(value.shape):
                raise BundleError(f"{source} has no trained directions for {name}")
            u, _, v = torch.linalg.svd(value, full_matrices=False)
            ours |= {f"encoder.body.{place[1]}main": value, f"encoder.body.{place[1]}left": u[:, :-rank].contiguous()}
            ours[f"encoder.body.{place[1]}right"] = v[:-rank].contiguous()
            # What the whole map measured before training is not in the file: the frozen part and today's rest instead.
            rest = state[f"{place[1]}S_residual"].square().sum()
            ours[f"encoder.body.{place[1]}whole"] = value.square().sum() + rest
        else:
            ours[f"encoder.body.{place[1]}{place[2][0].lower()}"] = value
    return ours


def held(source: Path) -> State:
    """The named tensors, without the prefixes of its two wrappers."""
    state = layouts.weights(layouts.read(source), source)
    return {k.removeprefix("module.").removeprefix("backbone."): v for k, v in state.items()}


def _renamed(state: State, head: str) -> State:
    ours = State()
    for name, value in state.items():
        if name.startswith("adjust_channel."):
            continue
        place = re.match(head, name)
        ours[f"head.{name[place.end() :]}" if place else f"body.body.{name}"] = value
    return ours


def _efficientnet(name: str) -> str:
    block = re.match(r"_blocks\.(\d+)\.", name)
    if block is None:
        for theirs, mine in EFFICIENTNET[:4]:
            name = re.sub(theirs, mine, name)
        return name
    number, stage = int(block[1]), 0
    while stage < len(DEPTHS) and number >= DEPTHS[stage]:
        number, stage = number - DEPTHS[stage], stage + 1
    layer, _, rest = name[block.end() :].partition(".")
    layer = dict(WITH_EXPANSION if stage else WITHOUT).get(layer, layer)
    name = f"blocks.{stage}.{number}.{layer}.{rest}"
    for theirs, mine in EFFICIENTNET[4:]:
        name = re.sub(theirs, mine, name)
    return name
