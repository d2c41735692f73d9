"""How the nets of this package run: ONNX Runtime on the CPU, quiet, and an error that names the net."""

from __future__ import annotations

import onnxruntime

from unmask.errors import BundleError


def session(weights: bytes, name: str, threads: int) -> onnxruntime.InferenceSession:
    """A session that threads may share.

    Args:
        weights: the content of an ONNX file.
        name: of the net, as an error calls it: "face detector yunet".
    Raises: UnmaskError when the weights are no such file.
    """
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(weights, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own errors share no base class
        raise BundleError(f"{name} is not a readable ONNX file: {error}") from error
