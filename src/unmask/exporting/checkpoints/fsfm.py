"""FSFM's fine-tuned detectors as their authors publish them: timm's ViT with `fc_norm` and `head` under "model".

Their index 0 is fake, because ImageFolder sorts "fake_..." before "real_...": the two rows of the head change places.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from torch import Tensor

from unmask.errors import BundleError
from unmask.exporting.checkpoints import layouts


def layout(source: Path) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Options of the detector and its weights. Raises: UnmaskError for a file of another kind, and for other heads."""
    state = layouts.weights(layouts.read(source), source)
    missing = {"head.weight", "head.bias", "fc_norm.weight", "cls_token"} - state.keys()
    if missing:
        raise BundleError(
            f"{source} is no fine-tuned FSFM, it has no {', '.join(sorted(missing))}; a pre-trained one is an encoder: "
            "`unmask import encoder`"
        )
    if len(state["head.weight"]) != 2:
        raise BundleError(f"the head of {source} tells {len(state['head.weight'])} classes apart, not fake and real")
    encoder = layouts.plain_vit(state)
    ours = {f"encoder.body.{name}": value for name, value in encoder.items()}
    ours |= {f"head.{part}": state[f"head.{part}"].flip(0) for part in ("weight", "bias")}
    return {"backbone": layouts.backbone_of(encoder)}, ours
