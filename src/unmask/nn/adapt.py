"""Which weights of a pre-trained encoder are trained: one word of a recipe, the same for every encoder and method.

`ln`      LayerNorm's scale and shift alone (De Min et al., arXiv 2308.00295; GenD), in place: nothing is added.
`bitfit`  biases alone (Ben Zaken et al., ACL 2022).
`lora`    low-rank updates beside every linear map (Hu et al., ICLR 2022), by peft.
`dora`    the same with the weight's magnitude apart (Liu et al., ICML 2024), by peft.
`last_k`  the last `last` blocks and what follows them.
`probe`   nothing: only the head learns.
`full`    everything.
"""

from __future__ import annotations

import re
from typing import Literal

from torch import nn

from unmask.errors import InputError
from unmask.nn.backbones import Encoder

How = Literal["ln", "lora", "dora", "bitfit", "last_k", "probe", "full"]


def adapt(encoder: Encoder, how: How = "ln", *, rank: int = 8, last: int = 2) -> list[str]:
    """Freeze the encoder, in place, but for what `how` trains.

    Args:
        rank: of `lora` and `dora`; their scale alpha is twice the rank.
        last: blocks that `last_k` trains.
    Returns: the names of the parameters that train.
    Raises: UnmaskError when `how` finds nothing to train.
    """
    encoder.requires_grad_(how == "full")
    if how in ("lora", "dora"):
        _low_rank(encoder, rank, how == "dora")
    elif how not in ("full", "probe"):
        for name, parameter in encoder.body.named_parameters():
            parameter.requires_grad_(_wanted(encoder, name, how, last))
    trained = [name for name, parameter in encoder.named_parameters() if parameter.requires_grad]
    if not trained and how != "probe":
        raise InputError(f"the adaptation {how} finds nothing to train in {encoder.name}")
    return trained


def merge(encoder: Encoder) -> Encoder:
    """Fold low-rank updates into the weights they stand beside, in place; the names are then those of the bare encoder.

    What the encoder computes stays the same. Encoders without such updates are returned as they are.
    """
    from peft.tuners.tuners_utils import BaseTunerLayer

    for name, module in list(encoder.named_modules()):
        if isinstance(module, BaseTunerLayer):
            module.merge(safe_merge=True)
            parent, _, leaf = name.rpartition(".")
            setattr(encoder.get_submodule(parent), leaf, module.get_base_layer())
    return encoder


def _wanted(encoder: Encoder, name: str, how: How, last: int) -> bool:
    kind = encoder.kind
    if how == "ln":
        return any(norm in name for norm in kind.norms)
    if how == "bitfit":
        return name.endswith("bias")
    block = re.search(rf"(?:^|\.){re.escape(kind.blocks)}(\d+)\.", name)
    if block is None:  # the norms and the pooling after the last block; what stands before the first is left alone
        return not re.search(r"embed|cls_token|norm_pre|pre_layrnorm", name)
    return int(block[1]) >= _depth(encoder) - last


def _depth(encoder: Encoder) -> int:
    found = re.findall(rf"(?:^|\.){re.escape(encoder.kind.blocks)}(\d+)\.", "\n".join(encoder.body.state_dict()), re.M)
    return 1 + max(int(n) for n in found)


def _low_rank(encoder: Encoder, rank: int, magnitude: bool) -> None:
    from peft import LoraConfig, inject_adapter_in_model

    ends = "|".join(encoder.kind.linear)
    # Inside the blocks only: PE's pooling has maps of the same names.
    targets = rf".*{re.escape(encoder.kind.blocks)}\d+\..*\.({ends})"
    config = LoraConfig(r=rank, lora_alpha=2 * rank, use_dora=magnitude, target_modules=targets)
    inject_adapter_in_model(config, encoder.body)
    trained: list[nn.Parameter] = [p for n, p in encoder.named_parameters() if ".lora_" in n]
    for parameter in trained:
        parameter.requires_grad_(True)
