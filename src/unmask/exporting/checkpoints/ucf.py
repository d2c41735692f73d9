"""UCF's weights as DeepfakeBench publishes them: `ucf_best.pth`, two Xceptions, decoder, parts and heads."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor

from unmask.errors import BundleError
from unmask.exporting.checkpoints import layouts

NAMES = (  # (theirs, ours); the classifier that each Xception brought along is used by nobody
    (r"encoder_([fc])\.last_linear\..*", None),
    (r"encoder_f\.adjust_channel\.", "forgery.adjust."),
    (r"encoder_c\.adjust_channel\.", "content.adjust."),
    (r"encoder_f\.", "forgery.body.body."),
    (r"encoder_c\.", "content.body.body."),
    (r"block_sha\.conv2d\.", "common."),
    (r"block_spe\.conv2d\.", "specific."),
    (r"head_sha\.mlp\.", "common_head."),
    (r"head_spe\.mlp\.", "specific_head."),
    (r"con_gan\.dconv_up3\.", "decoder.stages.0."),
    (r"con_gan\.dconv_up2\.", "decoder.stages.1."),
    (r"con_gan\.dconv_up1\.", "decoder.stages.2."),
    (r"con_gan\.conv_last\.", "decoder.last."),
)


def layout(source: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Options of the detector and its weights. Raises: UnmaskError for a file that is no UCF's."""
    state = {k.removeprefix("module."): v for k, v in layouts.weights(layouts.read(source), source).items()}
    methods = state.get("head_spe.mlp.2.weight")
    if methods is None:
        raise BundleError(f"{source} is of no UCF: it has no head_spe.mlp.2.weight")
    named = ((_ours(key), value) for key, value in state.items())
    return {"methods": len(methods) - 1}, {key: value for key, value in named if key}


def _ours(key: str) -> str | None:
    for theirs, ours in NAMES:
        if found := re.match(theirs, key):
            return None if ours is None else ours + key[found.end() :]
    return key
