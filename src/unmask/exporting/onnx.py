"""From a trained detector to the one file that scans run."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from unmask.base.predict import to_tensor
from unmask.bundles.distance import ExportWrapper
from unmask.errors import BundleError
from unmask.exporting.precision import Precision, quantize
from unmask.types import Pixels


def to_onnx(
    model: ExportWrapper, path: Path, crops: Pixels, tolerance: float = 0.02, precision: Precision = "fp32"
) -> float:
    """Write `path` and run it at batch 1 and 5 beside the torch model, for a detector that has no calibration yet.

    Args:
        crops: uint8 (N >= 5, S, S, 3).
    Returns: the largest difference of a logit.
    Raises:
        UnmaskError: a logit differs by more than `tolerance`, or a decision that is not within it of a tie.
    """
    import onnxruntime

    image = to_tensor(crops)
    write_onnx(model, path, image[:2])
    quantize(path, precision)
    with torch.no_grad():
        want = model(image)[0].numpy()
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    worst = 0.0
    for size in (1, 5):
        parts = [session.run(["logits"], {"image": i.numpy()})[0] for i in image.split(size)]
        logits = np.concatenate(parts)
        worst = max(worst, float(np.abs(logits - want).max()))
        top = np.sort(want, 1)
        turned = (logits.argmax(1) != want.argmax(1)) & (top[:, -1] - top[:, -2] > tolerance)
        if turned.any() or worst > tolerance:
            raise BundleError(
                f"the exported model answers otherwise at batch {size}: logits differ by up to {worst:.2g}"
            )
    return worst


def write_onnx(model: ExportWrapper, path: Path, image: Tensor) -> None:
    """Write `path`: "image" float32 (N, 3, S, S) in 0..1, or (N, T, 3, S, S), -> the model's named outputs, for any N.

    Args:
        image: two images or windows, whatever they show.
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
    strip_metadata(path)


def strip_metadata(path: Path) -> None:
    """Remove, in place, the exporter's notes of where in whose folders each node was written."""
    import onnx

    proto = onnx.load(path)
    for node in proto.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    del proto.graph.metadata_props[:], proto.graph.value_info[:], proto.metadata_props[:]
    onnx.checker.check_model(proto)
    onnx.save(proto, path)
