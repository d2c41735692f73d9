"""A small detector whose opinion is known (red faces are forged), and the images and videos to show it."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from unmask.bundles import write
from unmask.types import Calibration, Card, Explanation, InputSpec, Pixels

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


EXPLANATION = Explanation(
    explainer="occlusion",
    pointing=0.8,
    mass=0.6,
    centre_pointing=0.5,
    centre_mass=0.4,
    localises=True,
    crops=50,
    data="made up",
)


def write_bundle(
    folder: Path,
    *,
    sees: str = "red",
    margin: float = 1.3,
    tiles: int = 0,
    ood_threshold: float | None = None,
    calibrated: bool = True,
    explanation: Explanation | None = EXPLANATION,
) -> Path:
    """A net that averages a filtered crop and turns it into logits; its `distance` is 0 for every crop.

    sees: "red": margin = 40 * (mean red - mean blue) - 8; "grain": margin = 200 * mean |Laplacian| - 20, which any
        blur takes away.
    ood_threshold: with -1, every face is unfamiliar.
    """
    kernel = np.full((3, 3), 1 / 9) if sees == "red" else np.array([[0, -1, 0], [-1, 4, -1], [0, -1, 0]])
    fake, bias = (np.array([20, 0, -20]), -4) if sees == "red" else (np.full(3, 100 / 3), -10)
    filters = np.zeros((3, 3, 3, 3), np.float32)
    filters[np.arange(3), np.arange(3)] = kernel
    weights = {
        "filters": filters,
        "head": np.stack([-fake, fake], axis=1).astype(np.float32),
        "bias": np.array([-bias, bias], np.float32),
        "zero": np.zeros((3, 1), np.float32),
    }
    nodes = [
        helper.make_node("Conv", ["image", "filters"], ["filtered"], pads=[1, 1, 1, 1]),
        helper.make_node("Abs", ["filtered"], ["strength"]),
        helper.make_node("GlobalAveragePool", ["strength"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("Gemm", ["features", "head", "bias"], ["logits"]),
        helper.make_node("MatMul", ["features", "zero"], ["column"]),
        helper.make_node("ReduceMax", ["column"], ["distance"], axes=[1], keepdims=0),
    ]
    outputs = {"logits": ["n", 2], "distance": ["n"]}
    graph = helper.make_graph(
        nodes,
        sees,
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, ["n", 3, SIZE, SIZE])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in weights.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    folder.mkdir(parents=True, exist_ok=True)
    source = folder.with_name(folder.name + ".onnx")
    source.write_bytes(model.SerializeToString())
    card = Card(
        name=f"{sees}-is-forged",
        version="1",
        summary="For tests only.",
        method="by hand",
        input=InputSpec(size=SIZE, margin=margin, tiles=tiles),
        calibration=calibration() if calibrated else None,
        ood_threshold=ood_threshold,
        explanation=explanation,
        trained_on=("red faces",),
        limits=("sunburn",),
        licence="Apache-2.0",
        files={},
    )
    write(folder, card, {"model.onnx": source})
    return folder


def tinted(picture: Pixels, red: float) -> Pixels:
    """The image with its red raised and its blue lowered by `red` of 255."""
    shift = np.array([red, 0, -red]) * 255
    return np.clip(picture + shift, 0, 255).astype(np.uint8)


def save(picture: Pixels, path: Path) -> Path:
    Image.fromarray(picture).save(path)
    return path


def clip(pictures: list[Pixels], path: Path, fps: int = 8, pix_fmt: str = "yuv444p") -> Path:
    """An H.264 video of these images, nearly lossless. Browsers show yuv420p only."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "12"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = pix_fmt
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path
