"""DeepfakeBench's checkpoints of video detectors (its layouts as of commit 8a4a7bf): names and shapes, translated.

I3D, FTCN and AltFreezing keep PySlowFast's names, and so do the files that FTCN's authors publish (from memory). Each
function takes the tensors by their published names and gives them ours; no line of its code is here.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor

from unmask.base.detector import Detector
from unmask.exporting.checkpoints.deepfakebench import held
from unmask.nn import i3d as network
from unmask.nn.video_encoders import VideoEncoder

State = dict[str, Tensor]
Translated = Callable[[Detector, State], State]
FTCN = (  # (theirs, ours) of the head, behind "head.time_T."
    (r"^pos_embedding$", "place"),
    (r"^cls_token$", "token"),
    (r"^transformer\.layers\.0\.0\.fn\.norm\.", "block.norm1."),
    (r"^transformer\.layers\.0\.0\.fn\.fn\.to_qkv\.", "block.attn.qkv."),
    (r"^transformer\.layers\.0\.0\.fn\.fn\.to_out\.0\.", "block.attn.proj."),
    (r"^transformer\.layers\.0\.1\.fn\.norm\.", "block.norm2."),
    (r"^transformer\.layers\.0\.1\.fn\.fn\.net\.0\.", "block.mlp.fc1."),
    (r"^transformer\.layers\.0\.1\.fn\.fn\.net\.3\.", "block.mlp.fc2."),
    (r"^mlp_head\.0\.", "norm."),
    (r"^mlp_head\.1\.", "head."),
)
STIL = (
    (r"^conv1\.", "stem."),
    (r"^bn1\.", "stem.7."),
    (r"^layer(\d)\.", lambda m: f"stages.{int(m[1]) - 1}."),
    (r"^fc\.", "head."),
    (r"\.conv1_a\.", ".enter_time.0."),
    (r"\.bn1_a\.", ".enter_time.1."),
    (r"\.conv1_b\.", ".enter_space.0."),
    (r"\.bn1_b\.", ".enter_space.1."),
    (r"\.tim\.conv1\.", ".temporal.squeeze.0."),
    (r"\.tim\.bn1\.", ".temporal.squeeze.1."),
    (r"\.tim\.conv_ht\.", ".temporal.rows.smooth."),
    (r"\.tim\.conv_tw\.", ".temporal.columns.smooth."),
    (r"\.tim\.htie_conv1\.", ".temporal.rows.coarse."),
    (r"\.tim\.htie_conv2\.", ".temporal.rows.fine."),
    (r"\.tim\.vtie_conv1\.", ".temporal.columns.coarse."),
    (r"\.tim\.vtie_conv2\.", ".temporal.columns.fine."),
    (r"\.tim\.ht_up_conv\.", ".temporal.rows.widen."),
    (r"\.tim\.tw_up_conv\.", ".temporal.columns.widen."),
    (r"\.shift\.conv\.", ".mix.conv."),
    (r"\.ism\.conv\.", ".supplement."),
    (r"\.k1\.", ".time."),
    (r"\.scconv\.f_w\.", ".space.across."),
    (r"\.scconv\.f_h\.", ".space.down."),
    (r"\.scconv\.k3\.", ".space.gated."),
    (r"\.scconv\.k4\.", ".space.last."),
    (r"\.conv3\.", ".leave.0."),
    (r"\.bn3\.", ".leave.1."),
    (r"\.downsample\.", ".skip."),
)


def read(translated: Translated) -> Callable[[Detector, Path], State]:
    """The same from a file."""
    return lambda detector, source: translated(detector, held(source))


def i3d(detector: Detector, state: State) -> State:
    """`i3d_best.pth` and `altfreezing_best.pth`: one logit, that of fake."""
    state = network.renamed(state)
    body = {f"body.{k}": v for k, v in state.items() if not k.startswith("head.")}
    return body | _of_fake({k.removeprefix("head.projection."): v for k, v in state.items() if k.startswith("head.")})


def ftcn(detector: Detector, state: State) -> State:
    """`ftcn_best.pth`: three stages of I3D without kernels over space, and a transformer of one layer."""
    ours, head = State(), State()
    for key, value in network.renamed(state).items():
        name = key.removeprefix("head.time_T.")
        if name == key:
            ours[f"body.{key}"] = value
            continue
        for theirs, mine in FTCN:
            name = re.sub(theirs, mine, name)
        (head if name.startswith("head.") else ours)[name] = value
    return ours | _of_fake({k.removeprefix("head."): v for k, v in head.items()})


def tall(detector: Detector, state: State) -> State:
    """`tall_best.pth`: Swin's own names; timm counts the merging of patches to the stage that follows."""
    ours = State()
    for key, value in state.items():
        name = key.removeprefix("model.")
        if name.endswith(("attn_mask", "relative_position_index")):
            continue  # computed, not learnt
        merge = re.match(r"layers\.(\d)\.downsample\.", name)
        if merge:
            name = f"layers.{int(merge[1]) + 1}.downsample.{name[merge.end() :]}"
        own = name.startswith("head.")
        ours["place" if name == "frame_pos_embed" else name if own else f"body.{name}"] = value
    return ours


def stil(detector: Detector, state: State) -> State:
    """`stil_best.pth`: along the width of an image theirs are kernels (1, 3), and ours (3, 1) on turned planes."""
    ours = State()
    for key, value in state.items():
        name = key.removeprefix("model.").removeprefix("base_model.")
        for theirs, mine in STIL:
            name = re.sub(theirs, mine, name)
        turned = ".temporal.columns." in name and value.ndim == 4 and value.shape[2:] == torch.Size([1, 3])
        ours[name] = value.transpose(2, 3).contiguous() if turned else value
    return ours


def transformer(detector: Detector, state: State) -> State:
    """`timesformer`, `videomae` and `xclip`: transformers' names, a norm where there is one, and the head."""
    encoder = detector.encoder
    assert isinstance(encoder, VideoEncoder)
    own = {k.replace("fc_norm.", "norm."): v for k, v in state.items() if k.startswith(("head.", "fc_norm."))}
    body = encoder.renamed({k: v for k, v in state.items() if not k.startswith(("head.", "fc_norm."))})
    return {f"encoder.body.{k}": v for k, v in body.items()} | own


def _of_fake(head: State) -> State:
    """One logit of fake, (1, D) and (1,) -> two: that of real is 0."""
    return {f"head.{k}": torch.cat([torch.zeros_like(v), v]) for k, v in head.items()}
