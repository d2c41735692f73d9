"""Small real bundles: a convolutional net with random weights, written with the onnx package."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from unmask.bundles import write
from unmask.types import Calibration, Card, InputSpec

SIZE = 32
CALIBRATION = Calibration(
    slope=2.0,
    intercept=-0.5,
    knots=(-2.0, 0.0, 2.0),
    low=(0.0, 0.3, 0.9),
    high=(0.1, 0.5, 1.0),
    real=(-3.0, -2.0, -1.0, 0.5),
    fake=(-0.5, 1.0, 2.0),
    data="made up",
)
CARD = Card(
    name="small",
    version="1",
    summary="a test",
    method="cnn",
    input=InputSpec(size=SIZE),
    licence="Apache-2.0",
    files={},
)


def small_net(
    path: Path, *, distance: bool = True, classes: int = 2, scale: float = 1.0, inputs: str = "image"
) -> Path:
    """Two convolutions, mean pooling, a linear head; "distance" is the squared length of the features."""
    rng = np.random.default_rng(0)
    shapes = {"w1": (8, 3, 3, 3), "b1": (8,), "w2": (16, 8, 3, 3), "b2": (16,), "head": (16, classes)}
    weights = {name: (rng.normal(0, 0.4, shape) * scale).astype(np.float32) for name, shape in shapes.items()}
    nodes = [
        helper.make_node("Conv", [inputs, "w1", "b1"], ["c1"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("Conv", ["r1", "w2", "b2"], ["c2"], strides=[2, 2], pads=[1, 1, 1, 1]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("GlobalAveragePool", ["r2"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"]),
        helper.make_node("MatMul", ["features", "head"], ["logits"]),
    ]
    outputs = [helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["N", classes])]
    if distance:
        nodes.append(helper.make_node("ReduceSumSquare", ["features"], ["distance"], axes=[1], keepdims=0))
        outputs.append(helper.make_tensor_value_info("distance", TensorProto.FLOAT, ["N"]))
    image = helper.make_tensor_value_info(inputs, TensorProto.FLOAT, ["N", 3, SIZE, SIZE])
    constants = [numpy_helper.from_array(value, name) for name, value in weights.items()]
    graph = helper.make_graph(nodes, "small", [image], outputs, constants)
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=9), path)
    return path


@pytest.fixture
def make(tmp_path: Path) -> Callable[..., Path]:
    """make(card=CARD, **options of small_net) -> the folder of a bundle."""

    def bundle(card: Card | None = None, **options: object) -> Path:
        model = small_net(tmp_path / "net.onnx", **options)  # type: ignore[arg-type]
        write(tmp_path / "bundle", card or CARD.model_copy(update={"calibration": CALIBRATION}), {"model.onnx": model})
        return tmp_path / "bundle"

    return bundle


@pytest.fixture
def crops() -> np.ndarray:
    rng = np.random.default_rng(1)
    colours = rng.uniform(0, 255, (37, 1, 1, 3))  # of all kinds, so that their scores differ
    return np.clip(colours + rng.normal(0, 40, (37, SIZE, SIZE, 3)), 0, 255).astype(np.uint8)
