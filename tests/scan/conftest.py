"""A small detector whose opinion is known (red faces are forged), and pictures and clips with faces to scan."""

from __future__ import annotations

import hashlib
from pathlib import Path

import av
import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image
from skimage import data

from unmask.nouns import Calibration, Card, InputSpec, Pixels
from unmask.scan.options import Options

SIZE = 64


def calibration(n: int = 99) -> Calibration:
    """p = sigmoid(x); real examples score -4..0, forged ones 0..4; the band is a tenth to either side."""
    knots = np.linspace(-6, 6, 25)
    p = 1 / (1 + np.exp(-knots))
    return Calibration(
        slope=1.0,
        intercept=0.0,
        knots=tuple(knots),
        low=tuple(np.clip(p - 0.1, 0, 1)),
        high=tuple(np.clip(p + 0.1, 0, 1)),
        real=tuple(np.linspace(-4, 0, n)),
        fake=tuple(np.linspace(0, 4, n)),
        data="made by hand",
    )


def write_bundle(folder: Path, *, margin: float = 1.3, far: float | None = None, calibrated: bool = True) -> Path:
    """A net that averages a blurred crop and says fake for red: margin = 40 * (mean red - mean blue) - 8.

    `distance` is 0 for pictures that are not black, so that `far` = -1 finds every face unfamiliar.
    """
    folder.mkdir(parents=True, exist_ok=True)
    blur = np.zeros((3, 3, 3, 3), np.float32)
    blur[np.arange(3), np.arange(3)] = 1 / 9
    head = np.array([[-20, 20], [0, 0], [20, -20]], np.float32)
    weights = {"blur": blur, "head": head, "bias": np.array([4, -4], np.float32), "zero": np.zeros((3, 1), np.float32)}
    nodes = [
        helper.make_node("Conv", ["image", "blur"], ["blurred"], pads=[1, 1, 1, 1]),
        helper.make_node("GlobalAveragePool", ["blurred"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "head", "bias"], ["logits"]),
        helper.make_node("MatMul", ["features", "zero"], ["column"]),
        helper.make_node("Flatten", ["column"], ["distance2"]),
        helper.make_node("ReduceSum", ["distance2"], ["distance"], keepdims=0),
    ]
    nodes[-1] = helper.make_node("ReduceMax", ["distance2"], ["distance"], axes=[1], keepdims=0)
    graph = helper.make_graph(
        nodes,
        "red",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", 2]),
            helper.make_tensor_value_info("distance", TensorProto.FLOAT, ["n"]),
        ],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    content = model.SerializeToString()
    (folder / "model.onnx").write_bytes(content)
    card = Card(
        name="red-is-forged",
        version="1",
        summary="For tests: red faces are forged.",
        method="by hand",
        input=InputSpec(size=SIZE, margin=margin),
        calibration=calibration() if calibrated else None,
        far=far,
        knows=("red faces",),
        limits=("sunburn",),
        licence="Apache-2.0",
        files={"model.onnx": hashlib.sha256(content).hexdigest()},
    )
    (folder / "card.json").write_text(card.model_dump_json(indent=1))
    return folder


def tinted(picture: Pixels, red: float) -> Pixels:
    """The picture with its red raised and its blue lowered by `red` of 255."""
    shift = np.array([red, 0, -red]) * 255
    return np.clip(picture + shift, 0, 255).astype(np.uint8)


@pytest.fixture(scope="session")
def portrait() -> Pixels:
    """(512, 512, 3): Eileen Collins, NASA, public domain."""
    return np.asarray(data.astronaut())


@pytest.fixture(scope="session")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_bundle(tmp_path_factory.mktemp("bundle"))


@pytest.fixture(scope="session")
def options(bundle: Path, shared_weights: Path) -> Options:
    return Options(detector=str(bundle), faces=str(shared_weights / "yunet_n_dynamic.onnx"))


def save(picture: Pixels, path: Path) -> Path:
    Image.fromarray(picture).save(path)
    return path


def clip(pictures: list[Pixels], path: Path, fps: int = 8) -> Path:
    """An H.264 clip of these pictures, nearly lossless."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "12"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv444p"
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path
