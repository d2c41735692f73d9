"""Weights in fewer bytes: bfloat16 behind a cast, or int8 with scales that are found while it runs."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from unmask.base.detector import Detector

Precision = Literal["fp32", "bf16", "int8"]
LARGE = 4096  # numbers in a tensor, from which on its size matters


def large(value: Tensor) -> bool:
    return value.is_floating_point() and value.numel() >= LARGE


@torch.no_grad()
def rounded(detector: Detector, precision: Precision) -> Detector:
    """A copy whose large weights are bfloat16 numbers; itself where the precision asks for no such thing."""
    if precision != "bf16":
        return detector
    detector = copy.deepcopy(detector)
    for value in detector.state_dict().values():
        if large(value):
            value.copy_(value.bfloat16())
    return detector


def reduced(model: Path, precision: Precision) -> None:
    """The ONNX file, in place, with its large weights in that precision.

    bf16: stored in two bytes and computed in float32, for runtimes on a CPU know little of bfloat16.
    int8: matrix products in whole numbers, one scale for each output channel of the weights and one for each input as
        it comes (dynamic). Seven bits, because CPUs without VNNI overflow with eight: a bundle must answer alike on
        all. Convolutions stay as they are.
    """
    if precision == "bf16":
        _halved(model)
    elif precision == "int8":
        from onnxruntime.quantization import QuantType, quantize_dynamic

        kinds = ["MatMul", "Gemm"]
        logging.disable(logging.WARNING)  # its advice to optimise the graph first: the runtime does that itself
        try:
            quantize_dynamic(model, model, kinds, per_channel=True, reduce_range=True, weight_type=QuantType.QInt8)
        finally:
            logging.disable(logging.NOTSET)


def _halved(model: Path) -> None:
    import numpy as np
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    proto = onnx.load(model)
    casts, kept = [], []
    for tensor in proto.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if value.dtype != np.float32 or value.size < LARGE:
            kept.append(tensor)
            continue
        raw = torch.from_numpy(value.copy()).bfloat16().view(torch.int16).numpy().tobytes()
        name = f"{tensor.name}.bf16"
        kept.append(helper.make_tensor(name, TensorProto.BFLOAT16, value.shape, raw, raw=True))
        casts.append(helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.initializer[:], proto.graph.node[:]
    proto.graph.initializer.extend(kept)
    proto.graph.node.extend(nodes)
    onnx.checker.check_model(proto)
    onnx.save(proto, model)
