"""GenConViT's weights as its authors publish them: a file for each net, `genconvit_ed_inference.pth` and `..._vae_...`.

Their index 0 is fake; it is turned round here. What their forward pass never touches is left out: the Swin, twice in
each file, and the layers for the logarithm of the variance, which they take from the mean.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from unmask.errors import BundleError
from unmask.exporting.checkpoints import layouts

State = dict[str, Tensor]
DEAD = r"embedder\.|(convnext_)?backbone\.patch_embed\.|encoder\.(fc1|fc2|var)\.|fc3\."
NAMES = (  # (theirs, ours)
    (r"^(encoder|decoder)\.features\.", r"generator.\1."),
    (r"^encoder\.mu\.", "generator.mu."),
    (r"^(convnext_)?backbone\.", "body.convnext."),
)


def layout(source: Path) -> tuple[dict[str, Any], State]:
    """Options of the detector and its weights.

    Args:
        source: one of the two files, or a folder with one or both.
    Raises: UnmaskError for a folder without them, a file of another kind, and two that do not belong together.
    """
    files = sorted(source.glob("genconvit_*.pth")) if source.is_dir() else [source]
    options: dict[str, Any] = {"faithful": "release", "margin": 1.0, "nets": []}
    ours = State()
    for file in files:
        state = layouts.weights(layouts.read(file), file)
        net, shape = _kind(state, file)
        if net in options["nets"] or any(options.get(k, v) != v for k, v in shape.items()):
            raise BundleError(f"{file} does not belong to the other files of {source}: give it alone")
        options |= shape
        options["nets"].append(net)
        ours |= {f"nets.{net}.{key}": value for key, value in _net(state).items()}
    if not files:
        raise BundleError(f"no genconvit_ed_inference.pth or genconvit_vae_inference.pth in {source}")
    return options, ours


def _kind(state: State, file: Path) -> tuple[str, dict[str, int]]:
    """Which net, and the options that its shapes decide."""
    first, mu = state.get("encoder.features.0.weight"), state.get("encoder.mu.weight")
    if first is None or "fc2.weight" not in state:
        raise BundleError(f"{file} is of no GenConViT: it has no encoder.features.0.weight or no fc2.weight")
    width = len(first)
    if mu is None:
        return "ed", {"width": width}
    return "vae", {"width": width, "size": 16 * round((mu.shape[1] / (8 * width)) ** 0.5)}


def _net(state: State) -> State:
    ours = State()
    for key, value in state.items():
        if re.match(DEAD, key):
            continue
        for theirs, name in NAMES:
            key = re.sub(theirs, name, key)
        ours[key] = value.flip(0) if key.startswith("fc2.") else value
    return ours
