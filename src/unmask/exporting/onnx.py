"""From a trained detector to the one file that scans run, and proof that both decide alike."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unmask.bundles.distance import ExportWrapper
from unmask.errors import BundleError
from unmask.types import Pixels


def to_onnx(model: ExportWrapper, path: Path, crops: Pixels, tolerance: float = 0.02, *, halves: bool = True) -> float:
    """Write `path` and run it on real crops at batch 1 and 5 beside the torch model.

    Args:
        crops: uint8 (N >= 5, S, S, 3).
        halves: store large weights in half precision, as `unmask.bundles.distance.halved` rounded them.
    Returns: the largest difference of a logit.
    Raises:
        UnmaskError: a logit differs by more than `tolerance`, or a decision that is not within it of a tie.
    """
    import onnxruntime

    image = torch.from_numpy(crops.transpose(0, 3, 1, 2).copy()).float() / 255
    write_onnx(model, path, image[:2], halves=halves)
    with torch.no_grad():
        want, *far = (t.numpy() for t in model(image))
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for size in (1, 5):
        parts = [session.run(None, {"image": image[i : i + size].numpy()}) for i in range(0, len(image), size)]
        logits, *distance = (np.concatenate([p[k] for p in parts]) for k in range(len(model.outputs)))
        worst = max(worst, float(np.abs(logits - want).max()))
        moved = any(np.abs(a - b).max() > 0.01 for a, b in zip(distance, far, strict=True))
        top = np.sort(want, 1)
        turned = (logits.argmax(1) != want.argmax(1)) & (top[:, -1] - top[:, -2] > tolerance)
        if turned.any() or worst > tolerance or moved:
            raise BundleError(
                f"the exported model answers otherwise at batch {size}: logits differ by up to {worst:.2g}"
            )
    return worst


def write_onnx(model: ExportWrapper, path: Path, image: Tensor, *, halves: bool = False) -> None:
    """Write `path`: "image" float32 (N, 3, S, S) in 0..1 -> the outputs that the model names, for any N.

    Args:
        image: two images, whatever they show.
    """
    torch.onnx.export(
        model.eval(),
        (image,),
        str(path),
        input_names=["image"],
        output_names=list(model.outputs),
        dynamic_shapes={"image": {0: torch.export.Dim("batch", min=1, max=4096)}},
        dynamo=True,
        external_data=False,
        verbose=False,  # it would write to standard output, where a scan may be writing its report
    )
    cleaned(path, halves)


def cleaned(path: Path, halves: bool) -> None:
    """No notes of where it was made; with `halves`, large weights in two bytes, behind a cast that runtimes fold."""
    import onnx
    from onnx import TensorProto, helper, numpy_helper

    proto = onnx.load(path)
    casts, kept = [], []
    for tensor in proto.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if not halves or value.dtype != np.float32 or value.size < 4096:
            kept.append(tensor)
            continue
        kept.append(numpy_helper.from_array(value.astype(np.float16), f"{tensor.name}.half"))
        casts.append(helper.make_node("Cast", [f"{tensor.name}.half"], [tensor.name], to=TensorProto.FLOAT))
    nodes = [*casts, *proto.graph.node]
    for node in nodes:  # the exporter notes where in whose folders each node was written: nobody's business
        del node.metadata_props[:]
        node.doc_string = ""
    del proto.graph.metadata_props[:], proto.graph.value_info[:], proto.metadata_props[:]
    del proto.graph.initializer[:], proto.graph.node[:]
    proto.graph.initializer.extend(kept)
    proto.graph.node.extend(nodes)
    onnx.checker.check_model(proto)
    onnx.save(proto, path)
