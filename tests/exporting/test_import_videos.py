"""DeepfakeBench's video detectors: each published name and shape is one of ours, and none of ours is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
import torch
from torch import Tensor

from unmask.base.detector import Detector
from unmask.exporting.checkpoints import videos
from unmask.exporting.checkpoints.published import OPTIONS
from unmask.registry import FAMILIES

Shape = tuple[int, ...]
Named = Iterator[tuple[str, Shape]]
TIME = ((3,), (3, 1), (3, 1), (1, 3))
DEPTHS = (3, 4, 6, 3)


def norm(name: str, width: int) -> Named:
    yield from ((f"{name}.{part}", (width,)) for part in ("weight", "bias", "running_mean", "running_var"))
    yield f"{name}.num_batches_tracked", ()


def dense(name: str, inside: int, out: int, *, bias: bool = True) -> Named:
    yield f"{name}.weight", (out, inside)
    if bias:
        yield f"{name}.bias", (out,)


def pyslowfast(stages: int, *, temporal: bool) -> Named:
    """Of a stride that FTCN takes away, the norm comes with a pooling, which makes it the first of two."""
    wide, space = (1, 1) if temporal else (7, 3)
    behind = ".0" if temporal else ""
    yield "resnet.s1.pathway0_stem.conv.weight", (64, 3, 5, wide, wide)
    yield from norm(f"resnet.s1.pathway0_stem.bn{behind}", 64)
    inside = 64
    for n in range(stages):
        inner, out = 64 * 2**n, 256 * 2**n
        for block in range(DEPTHS[n]):
            at, strided = f"resnet.s{n + 2}.pathway0_res{block}", behind if n and not block else ""
            if not block:
                yield f"{at}.branch1.weight", (out, inside, 1, 1, 1)
                yield from norm(f"{at}.branch1_bn{strided}", out)
            yield f"{at}.branch2.a.weight", (inner, inside, TIME[n][block % len(TIME[n])], 1, 1)
            yield from norm(f"{at}.branch2.a_bn", inner)
            yield f"{at}.branch2.b.weight", (inner, inner, 1, space, space)
            yield from norm(f"{at}.branch2.b_bn{strided}", inner)
            yield f"{at}.branch2.c.weight", (out, inner, 1, 1, 1)
            yield from norm(f"{at}.branch2.c_bn", out)
            inside = out


def i3d() -> Named:
    yield from pyslowfast(4, temporal=False)
    yield from dense("resnet.head.projection", 2048, 1)


def ftcn() -> Named:
    yield from pyslowfast(3, temporal=True)
    head = "resnet.head.time_T"
    yield f"{head}.pos_embedding", (1, 17, 1024)
    yield f"{head}.cls_token", (1, 1, 1024)
    attention, mlp = f"{head}.transformer.layers.0.0.fn", f"{head}.transformer.layers.0.1.fn"
    for name in (f"{attention}.norm", f"{mlp}.norm", f"{head}.mlp_head.0"):
        yield from ((f"{name}.{part}", (1024,)) for part in ("weight", "bias"))
    yield from dense(f"{attention}.fn.to_qkv", 1024, 3072, bias=False)
    yield from dense(f"{attention}.fn.to_out.0", 1024, 1024)
    yield from dense(f"{mlp}.fn.net.0", 1024, 2048)
    yield from dense(f"{mlp}.fn.net.3", 2048, 1024)
    yield from dense(f"{head}.mlp_head.1", 1024, 1)


def tall() -> Named:
    yield "model.frame_pos_embed", (1, 4, 128)
    yield "model.patch_embed.proj.weight", (128, 3, 4, 4)
    yield "model.patch_embed.proj.bias", (128,)
    for name, width in (("patch_embed.norm", 128), ("norm", 1024)):
        yield from ((f"model.{name}.{part}", (width,)) for part in ("weight", "bias"))
    for n, (depth, heads, side) in enumerate(zip((2, 2, 18, 2), (4, 8, 16, 32), (14, 14, 14, 7), strict=True)):
        width = 128 * 2**n
        for block in range(depth):
            at = f"model.layers.{n}.blocks.{block}"
            for name in (f"{at}.norm1", f"{at}.norm2"):
                yield from ((f"{name}.{part}", (width,)) for part in ("weight", "bias"))
            yield f"{at}.attn.relative_position_bias_table", ((2 * side - 1) ** 2, heads)
            yield f"{at}.attn.relative_position_index", (side**2, side**2)
            yield from dense(f"{at}.attn.qkv", width, 3 * width)
            yield from dense(f"{at}.attn.proj", width, width)
            yield from dense(f"{at}.mlp.fc1", width, 4 * width)
            yield from dense(f"{at}.mlp.fc2", 4 * width, width)
            if block % 2 and side == 14:
                yield f"{at}.attn_mask", ((56 // 2**n // side) ** 2, side**2, side**2)
        if n < 3:
            yield from dense(f"model.layers.{n}.downsample.reduction", 4 * width, 2 * width, bias=False)
            yield from ((f"model.layers.{n}.downsample.norm.{part}", (4 * width,)) for part in ("weight", "bias"))
    yield from dense("model.head", 1024, 2)


def stil() -> Named:
    top = "model.base_model"
    for place, a, b in ((0, 3, 32), (3, 32, 32), (6, 32, 64)):
        yield f"{top}.conv1.{place}.weight", (b, a, 3, 3)
    yield from (named for place in (1, 4) for named in norm(f"{top}.conv1.{place}", 32))
    yield from norm(f"{top}.bn1", 64)
    inside = 64
    for n, depth in enumerate(DEPTHS):
        width, out = 32 * 2**n, 256 * 2**n
        inner = width // 16
        for block in range(depth):
            at = f"{top}.layer{n + 1}.{block}"
            for letter in "ab":
                yield f"{at}.conv1_{letter}.weight", (width, inside, 1, 1)
                yield from norm(f"{at}.bn1_{letter}", width)
            yield f"{at}.tim.conv1.weight", (inner, width, 1, 1)
            yield from norm(f"{at}.tim.bn1", inner)
            for kind, kernel in (("h", (3, 1)), ("v", (1, 3))):
                yield f"{at}.tim.conv_{'ht' if kind == 'h' else 'tw'}.weight", (inner, 1, *kernel)
                for number in (1, 2):
                    yield f"{at}.tim.{kind}tie_conv{number}.0.weight", (inner, inner, *kernel)
                    yield from norm(f"{at}.tim.{kind}tie_conv{number}.1", inner)
            for kind in ("ht", "tw"):
                yield f"{at}.tim.{kind}_up_conv.0.weight", (width, inner, 1, 1)
                yield from norm(f"{at}.tim.{kind}_up_conv.1", width)
            yield f"{at}.shift.conv.weight", (width, 1, 3)
            yield f"{at}.ism.conv.weight", (1, 1, 3)
            yield f"{at}.k1.0.weight", (width, width, 3, 3)
            yield from norm(f"{at}.k1.1", width)
            for part, place, kernel in (("f_w", 1, (1, 3)), ("f_h", 0, (3, 1)), ("k3", 0, (3, 3)), ("k4", 0, (3, 3))):
                yield f"{at}.scconv.{part}.{place}.weight", (width, width, *kernel)
                yield from norm(f"{at}.scconv.{part}.{place + 1}", width)
            yield f"{at}.conv3.weight", (out, 2 * width, 1, 1)
            yield from norm(f"{at}.bn3", out)
            if not block:
                yield f"{at}.downsample.1.weight", (out, inside, 1, 1)
                yield from norm(f"{at}.downsample.2", out)
            inside = out
    yield from dense(f"{top}.fc", 2048, 2)


def blocks(attentions: dict[str, tuple[str, ...]], norms: tuple[str, ...], *, query: bool = True) -> Named:
    """Twelve transformer blocks as transformers 4 names them: `attentions`: each with the names of its first maps."""
    for n in range(12):
        at = f"backbone.encoder.layer.{n}"
        for name, maps in attentions.items():
            for one in maps:
                yield from dense(f"{at}.{name}.attention.{one}", 768, 2304 if one == "qkv" else 768, bias=query)
            yield from dense(f"{at}.{name}.output.dense", 768, 768)
        yield from dense(f"{at}.intermediate.dense", 768, 3072)
        yield from dense(f"{at}.output.dense", 3072, 768)
        yield from ((f"{at}.{name}.{part}", (768,)) for name in norms for part in ("weight", "bias"))


def timesformer() -> Named:
    yield "backbone.embeddings.cls_token", (1, 1, 768)
    yield "backbone.embeddings.position_embeddings", (1, 197, 768)
    yield "backbone.embeddings.time_embeddings", (1, 8, 768)
    yield "backbone.embeddings.patch_embeddings.projection.weight", (768, 3, 16, 16)
    yield "backbone.embeddings.patch_embeddings.projection.bias", (768,)
    yield from blocks(
        {"attention": ("qkv",), "temporal_attention": ("qkv",)},
        ("layernorm_before", "layernorm_after", "temporal_layernorm"),
    )
    yield from (named for n in range(12) for named in dense(f"backbone.encoder.layer.{n}.temporal_dense", 768, 768))
    yield from ((f"backbone.layernorm.{part}", (768,)) for part in ("weight", "bias"))
    yield from dense("head", 768, 2)


def videomae() -> Named:
    yield "backbone.embeddings.patch_embeddings.projection.weight", (768, 3, 2, 16, 16)
    yield "backbone.embeddings.patch_embeddings.projection.bias", (768,)
    maps = ("query", "key", "value")
    yield from blocks({"attention": maps}, ("layernorm_before", "layernorm_after"), query=False)
    for n in range(12):
        yield from ((f"backbone.encoder.layer.{n}.attention.attention.{b}", (768,)) for b in ("q_bias", "v_bias"))
    yield from ((f"fc_norm.{part}", (768,)) for part in ("weight", "bias"))
    yield from dense("head", 768, 2)


def xclip() -> Named:
    top = "backbone.vision_model"
    yield f"{top}.embeddings.class_embedding", (768,)
    yield f"{top}.embeddings.position_ids", (1, 50)
    yield f"{top}.embeddings.patch_embedding.weight", (768, 3, 32, 32)
    yield f"{top}.embeddings.position_embedding.weight", (50, 768)
    for n in range(12):
        at = f"{top}.encoder.layers.{n}"
        for attention in ("self_attn", "message_attn"):
            for one in ("q_proj", "k_proj", "v_proj", "out_proj"):
                yield from dense(f"{at}.{attention}.{one}", 768, 768)
        yield from dense(f"{at}.message_fc", 768, 768)
        yield from dense(f"{at}.mlp.fc1", 768, 3072)
        yield from dense(f"{at}.mlp.fc2", 3072, 768)
        for name in ("layer_norm1", "layer_norm2", "message_ln"):
            yield from ((f"{at}.{name}.{part}", (768,)) for part in ("weight", "bias"))
    for name in (f"{top}.pre_layernorm", f"{top}.post_layernorm", "fc_norm"):
        yield from ((f"{name}.{part}", (768,)) for part in ("weight", "bias"))
    yield from dense("head", 768, 2)


@pytest.mark.parametrize(
    ("method", "published", "translated"),
    [
        ("i3d", i3d, videos.i3d),
        ("altfreezing", i3d, videos.i3d),
        ("ftcn", ftcn, videos.ftcn),
        ("tall", tall, videos.tall),
        ("stil", stil, videos.stil),
        ("timesformer", timesformer, videos.transformer),
        ("videomae", videomae, videos.transformer),
        ("xclip", xclip, videos.transformer),
    ],
)
def test_every_published_tensor_has_its_place(
    method: str, published: Callable[[], Named], translated: videos.Translated
) -> None:
    """On the meta device: the weights would be a gigabyte."""
    with torch.device("meta"):
        detector: Detector = FAMILIES["detector"].create(method, OPTIONS.get(method, {}))
        state = {name.removeprefix("backbone."): torch.empty(shape) for name, shape in published()}
    found = {name: tuple(value.shape) for name, value in translated(detector, state).items()}
    assert found == {name: tuple(value.shape) for name, value in detector.state_dict().items()}


def test_a_kernel_along_the_width_is_turned_with_its_plane() -> None:
    kernel = torch.arange(3.0).view(1, 1, 1, 3)
    name = "layer1.0.tim.conv_tw.weight"
    (found,) = videos.stil(FAMILIES["detector"].create("stil", {"network": "tiny-scnet"}), {name: kernel}).items()
    assert found[0] == "stages.0.0.temporal.columns.smooth.weight"
    assert torch.equal(found[1], kernel.view(1, 1, 3, 1))


def test_one_logit_becomes_two() -> None:
    head: dict[str, Tensor] = {"head.projection.weight": torch.ones(1, 64), "head.projection.bias": torch.tensor([3.0])}
    found = videos.i3d(FAMILIES["detector"].create("i3d", {"network": "tiny-i3d"}), head)
    assert found["head.weight"].sum(1).tolist() == [0.0, 64.0]
    assert found["head.bias"].tolist() == [0.0, 3.0]
