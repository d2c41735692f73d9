"""What runs a bundle's network: ONNX Runtime, or OpenVINO or PyTorch where their extras are installed.

All of them take "image", float32 (N, 3, size, size) RGB in 0..1, of a video detector (N, T, 3, size, size), and give
"logits" (N, K) and perhaps "distance" (N,).
"""

from __future__ import annotations

import importlib
import io
import re
import sys
from collections.abc import Callable, Collection, Mapping
from importlib.util import find_spec
from typing import Any

import numpy as np
import onnxruntime

from unmask.errors import BundleError, InputError, MissingExtraError
from unmask.types import Floats

RUNTIMES = ("onnx", "openvino", "torch")
Network = Callable[[Floats], dict[str, Floats]]  # image -> outputs by name
MODEL, WEIGHTS = "model.onnx", "model.safetensors"
_FILES = {"onnx": MODEL, "openvino": MODEL, "torch": WEIGHTS}
_MODULES = {"onnx": "onnxruntime", "openvino": "openvino", "torch": "torch"}
# A tensor kept in another file has an entry with key "location", of length 8, in any encoding that protobuf allows.
_ELSEWHERE = re.compile(rb"(?:\x0a|\x8a\x80{0,8}\x00)(?:\x08|\x88\x80{0,8}\x00)location")


def choose(runtime: str, files: Collection[str], name: str) -> tuple[str, str]:
    """The runtime for a bundle `name` that holds these files, and the file that it runs.

    Args:
        runtime: "auto" = the first of `RUNTIMES` that the bundle has a file for and that is installed.
    Raises: UnmaskError for an unknown runtime, a file that the bundle lacks, and where nothing installed can run it.
    """
    if runtime not in ("auto", *RUNTIMES):
        raise InputError(f"unknown runtime {runtime!r}; there is auto, {', '.join(RUNTIMES)}")
    served = [one for one in RUNTIMES if _FILES[one] in files]
    for one in served:
        if runtime == one or (runtime == "auto" and find_spec(_MODULES[one])):
            return one, _FILES[one]
    held = ", ".join(files) or "no weights"
    if runtime != "auto":
        raise BundleError(f"bundle {name!r} holds {held}, but the runtime {runtime} needs {_FILES[runtime]}")
    if served:
        raise MissingExtraError(f'bundle {name!r} holds {held}, which needs an extra: pip install "unmask[train]"')
    raise BundleError(f"bundle {name!r} holds {held}, and nothing that a runtime could run: {MODEL} or {WEIGHTS}")


def start(runtime: str, model: bytes, method: str, options: Mapping[str, Any], threads: int) -> Network:
    """A network on `threads` CPU threads, from the content of the file that `choose` names.

    Raises: UnmaskError for an unknown runtime, a missing extra, or a file that the runtime cannot read.
    """
    if runtime == "torch":
        return _torch(model, method, options, threads)
    if _ELSEWHERE.search(model):  # the runtimes would read it from the working directory, and no hash covers it
        raise BundleError(f"{MODEL} keeps weights in other files; export it with all weights inside")
    return _openvino(model, threads) if runtime == "openvino" else _onnx(model, threads)


def _onnx(model: bytes, threads: int) -> Network:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = 3
    # Idle threads would spin on the cores that are decoding the next frames.
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    try:
        session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # ONNX Runtime's own errors share no base class
        raise BundleError(f"ONNX Runtime cannot read {MODEL}: {error}") from error
    names = _checked({i.name for i in session.get_inputs()}, [o.name for o in session.get_outputs()])

    def run(image: Floats) -> dict[str, Floats]:
        return dict(zip(names, session.run(names, {"image": image}), strict=True))

    return run


def _openvino(model: bytes, threads: int) -> Network:
    # OpenVINO reports its use to Google Analytics, from a forked process. Where that module is missing it takes a stub,
    # so to Python it is missing: nothing of a scan leaves this machine.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    try:
        import openvino
    except ImportError as error:
        raise MissingExtraError('the runtime openvino is an extra: pip install "unmask[openvino]"') from error
    core = openvino.Core()
    # By itself OpenVINO computes in bf16 where the CPU can, which moves scores of small CNNs by several per cent.
    settings = {"INFERENCE_PRECISION_HINT": "f32", "INFERENCE_NUM_THREADS": threads}
    try:
        compiled: Any = core.compile_model(core.read_model(io.BytesIO(model)), "CPU", settings)
    except RuntimeError as error:
        raise BundleError(f"OpenVINO cannot read {MODEL}: {error}") from error
    names = _checked({i.any_name for i in compiled.inputs}, [o.any_name for o in compiled.outputs])

    def run(image: Floats) -> dict[str, Floats]:
        request = compiled.create_infer_request()  # one for each call, so that threads may share the network
        outputs = request.infer({"image": image})
        return {name: np.array(outputs[name]) for name in names}

    return run


def _torch(weights: bytes, method: str, options: Mapping[str, Any], threads: int) -> Network:
    try:
        torch = importlib.import_module("torch")
        # By name: the packages of training lie above this one, and a scan must start without them.
        create = importlib.import_module("unmask.registry").create
        load_exported = importlib.import_module("unmask.bundles.distance").load_exported
    except ImportError as error:
        raise MissingExtraError('the runtime torch is an extra: pip install "unmask[train]"') from error
    network = create("detector", method, options)
    try:
        model = load_exported(network, weights)
    except (RuntimeError, ValueError, KeyError) as error:
        raise BundleError(f"{WEIGHTS} does not fit the detector {method!r}: {error}") from error
    torch.set_num_threads(threads)

    def run(image: Floats) -> dict[str, Floats]:
        with torch.inference_mode():
            outputs = model(torch.from_numpy(image))
        return {name: output.numpy() for name, output in zip(model.outputs, outputs, strict=True)}

    return run


def _checked(inputs: set[str], outputs: list[str]) -> list[str]:
    if inputs != {"image"} or "logits" not in outputs:
        raise BundleError(f"{MODEL} must take 'image' and give 'logits'; it takes {sorted(inputs)} and gives {outputs}")
    return [name for name in ("logits", "distance") if name in outputs]
