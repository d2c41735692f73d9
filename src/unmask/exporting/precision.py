"""Weights in fewer bytes: float16 or bfloat16 behind a cast, or int8 with scales that are found while it runs."""

from __future__ import annotations

import copy
import logging
from pathlib import Path
from typing import Literal, TypeVar

import torch
from torch import nn

from unmask.bundles.distance import is_large

Model = TypeVar("Model", bound=nn.Module)
Precision = Literal["fp32", "fp16", "bf16", "int8"]
TWO_BYTES = {"fp16": torch.float16, "bf16": torch.bfloat16}


@torch.no_grad()
def round_weights(model: Model, precision: Precision) -> Model:
    """A copy whose large weights are numbers of that type; itself where the precision asks for no such thing."""
    if precision not in TWO_BYTES:
        return model
    model = copy.deepcopy(model)
    for value in model.state_dict().values():
        if is_large(value):
            value.copy_(value.to(TWO_BYTES[precision]))
    return model


def quantize(model: Path, precision: Precision) -> None:
    """The ONNX file, in place, with its large weights in that precision.

    fp16, bf16: stored in two bytes and computed in float32, for runtimes on a CPU know little of either.
    int8: matrix products in whole numbers, one scale for each output channel of the weights and one for each input as
        it comes (dynamic). Seven bits, because CPUs without VNNI overflow with eight: a bundle must answer alike on
        all. Convolutions stay as they are.
    """
    if precision in TWO_BYTES:
        _store_in_two_bytes(model, precision)
    elif precision == "int8":
        import onnx
        from onnxruntime.quantization import QuantType, quantize_dynamic

        kinds = ["MatMul", "Gemm"]
        exact = [node.name for node in onnx.load(model).graph.node if "whiten" in node.input]  # the distance
        logging.disable(logging.WARNING)  # its advice to optimise the graph first: the runtime does that itself
        try:
            quantize_dynamic(
                model,
                model,
                kinds,
                per_channel=True,
                reduce_range=True,
                weight_type=QuantType.QInt8,
                nodes_to_exclude=exact,
            )
        finally:
            logging.disable(logging.NOTSET)


def _store_in_two_bytes(path: Path, precision: Precision) -> None:
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    kind = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}[precision]
    proto = onnx.load(path)
    casts, kept = [], []
    for tensor in proto.graph.initializer:
        value = torch.from_numpy(numpy_helper.to_array(tensor).copy())
        if value.dtype != torch.float32 or not is_large(value):
            kept.append(tensor)
            continue
        raw = value.to(TWO_BYTES[precision]).view(torch.int16).numpy().tobytes()
        name = f"{tensor.name}.{precision}"
        kept.append(helper.make_tensor(name, kind, value.shape, raw, raw=True))
        casts.append(helper.make_node("Cast", [name], [tensor.name], to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    del proto.graph.initializer[:], proto.graph.node[:]
    proto.graph.initializer.extend(kept)
    proto.graph.node.extend(nodes)
    onnx.checker.check_model(proto)
    onnx.save(proto, path)
