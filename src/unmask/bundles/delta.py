"""A delta bundle holds what training changed; the weights that it left alone are those of a published encoder.

The card names that encoder (`unmask pull` fetches it) and the sha256 of its file. In `model.onnx` the weights that are
the encoder's are missing, and the nodes that use them call them `base NAME`, or `base NAME as FORM` where the graph
holds them in another form; in `model.safetensors` the metadata `base` says which tensor of the encoder stands for which
one of the detector's. Here the two are put together, in memory, without PyTorch and without the package onnx.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmask.bundles import onnx_weights
from unmask.bundles.encoders import SOURCES, WEIGHTS, folder
from unmask.errors import BundleError
from unmask.types import BaseEncoder, Floats

Array = NDArray[Any]
METADATA = "__metadata__"
MARK = "base "  # before the name of a tensor that is the encoder's, in the graph
_DTYPES = {"F32": "<f4", "F16": "<f2"}


def transposed(weight: Floats) -> Floats:
    """(out, in) as a linear layer stores it -> (in, out) as a product from the right wants it."""
    return np.ascontiguousarray(weight.T)


def scales(weight: Floats) -> Floats:
    """(out, in) -> (out,): the step of each output channel in 7 bits, max |w| / 64."""
    step = np.abs(weight).max(1) / np.float32(64)
    return np.where(step > 0, step, np.float32(1))


def int8(weight: Floats) -> NDArray[np.int8]:
    """(out, in) -> (in, out): round(w / scale) in -64..64."""
    return transposed(np.rint(weight / scales(weight)[:, None]).clip(-64, 64)).astype(np.int8)


FORMS: dict[str, Callable[[Floats], Array]] = {"transposed": transposed, "scales": scales, "int8": int8}


def mark(name: str, form: str = "") -> str:
    """What a graph calls a tensor of the encoder, as it is or in one of `FORMS`."""
    return f"{MARK}{name} as {form}" if form else f"{MARK}{name}"


def named(marked: str) -> tuple[str, str]:
    """The reverse: the tensor's name, and the form or nothing."""
    name, _, form = marked.removeprefix(MARK).partition(" as ")
    return name, form


def find(name: str) -> list[Path]:
    """The files of an encoder that `unmask pull` has fetched, one for each place that it came from; perhaps none."""
    if not re.fullmatch(r"[a-z0-9][a-z0-9.-]{0,63}", name):
        raise BundleError(f"{name!r} cannot be the name of an encoder")
    paths = (folder(name, source) / WEIGHTS for source in SOURCES)
    return [path for path in paths if path.is_file()]


def read_base(base: BaseEncoder) -> dict[str, Floats]:
    """The encoder's tensors. Raises: UnmaskError where it is not on this machine, or holds other weights."""
    found = find(base.name)
    for path in found:
        content = path.read_bytes()
        if hashlib.sha256(content).hexdigest() == base.sha256:
            return tensors(content)
    if found:
        raise BundleError(
            f"the encoder {base.name} on this machine holds other weights than those that this detector was tuned on "
            f"(sha256 {base.sha256[:12]}...): run `unmask pull {base.name}`"
        )
    raise BundleError(f"this detector needs the encoder {base.name}: run `unmask pull {base.name}` once")


def tensors(content: bytes) -> dict[str, Floats]:
    """The floating-point tensors of a safetensors file, by name. Raises: UnmaskError for another file."""
    header, start = _header(content)
    found = {}
    try:
        for name, about in header.items():
            if name != METADATA and about["dtype"] in _DTYPES:
                begin, end = about["data_offsets"]
                flat = np.frombuffer(memoryview(content)[start + begin : start + end], _DTYPES[about["dtype"]])
                found[name] = flat.reshape(about["shape"]).astype(np.float32, copy=False)
    except (KeyError, TypeError, ValueError) as error:
        raise BundleError(f"this is no safetensors file that can be read: {error}") from error
    return found


def complete(file: str, content: bytes, base: Mapping[str, Floats]) -> bytes:
    """A file of a delta bundle with the encoder's tensors in their places.

    Raises: UnmaskError where it asks for tensors that the encoder does not have.
    """
    return _complete_onnx(content, base) if file.endswith(".onnx") else _complete_safetensors(content, base)


def _complete_onnx(content: bytes, base: Mapping[str, Floats]) -> bytes:
    missing = sorted(name for name in onnx_weights.inputs(content) if name.startswith(MARK))
    return onnx_weights.with_initializers(content, {name: _get(base, *named(name)) for name in missing})


def _complete_safetensors(content: bytes, base: Mapping[str, Floats]) -> bytes:
    header, start = _header(content)
    try:
        wanted = json.loads(header.pop(METADATA)["base"]).items()
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise BundleError("the delta's weights do not say which tensors of the encoder they lack") from error
    end = len(content) - start
    arrays = [(name, _get(base, of, "")) for name, of in wanted]
    for name, value in arrays:
        header[name] = {"dtype": "F32", "shape": list(value.shape), "data_offsets": [end, end + value.nbytes]}
        end += value.nbytes
    return b"".join([_encoded(header), content[start:], *(value.tobytes() for _, value in arrays)])


def _get(base: Mapping[str, Floats], name: str, form: str) -> Array:
    if name not in base or (form and form not in FORMS):
        raise BundleError(f"the encoder has no tensor {name} {form}".rstrip() + ": the bundle was made for another one")
    return FORMS[form](base[name]) if form else base[name]


def _header(content: bytes) -> tuple[dict[str, Any], int]:
    """The JSON header of a safetensors file, and where the numbers begin."""
    size = int.from_bytes(content[:8], "little")
    try:
        header = json.loads(content[8 : 8 + size])
        return dict(header), 8 + size
    except (ValueError, TypeError) as error:
        raise BundleError(f"this is no safetensors file: {error}") from error


def _encoded(header: Mapping[str, Any]) -> bytes:
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text
