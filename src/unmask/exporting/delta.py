"""What of an exported detector is a published encoder's is left out of its bundle: a delta."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from unmask.bundles.delta import FORMS, find, mark, named, tensors
from unmask.errors import BundleError
from unmask.types import BaseEncoder, Floats

SMALLEST = 16  # numbers in a tensor, below which leaving it out saves nothing
Key = tuple[tuple[int, ...], bytes]


def subtract(files: Mapping[str, Path], name: str) -> BaseEncoder:
    """Take the weights that are the encoder's, bit for bit, out of model.onnx and model.safetensors, in place.

    Args:
        name: of an encoder that `unmask pull` has fetched.
    Raises: UnmaskError where it is not on this machine, and where the detector has no large tensor of it.
    """
    found = find(name)
    if not found:
        raise BundleError(f"the encoder {name} is not on this machine: run `unmask pull {name}` once")
    for path in found:
        content = path.read_bytes()
        index = _index(tensors(content))
        if _subtract_onnx(files["model.onnx"], index):
            if "model.safetensors" in files:
                _subtract_safetensors(files["model.safetensors"], index)
            return BaseEncoder(name=name, sha256=hashlib.sha256(content).hexdigest())
    raise BundleError(
        f"no weight of this detector is one of {name}: a delta can be made of a run that started from that encoder, "
        "kept most of it frozen, and is exported in fp32 or int8"
    )


def _index(base: Mapping[str, Floats]) -> dict[Key, str]:
    """Every form in which a graph may hold a tensor of the encoder -> what stands for it."""
    found: dict[Key, str] = {}
    for name, value in base.items():
        if value.size < SMALLEST:
            continue
        for form, change in FORMS.items() if value.ndim == 2 else ():
            found[_key(change(value))] = mark(name, form)
        found[_key(value)] = mark(name)
    return found


def _key(value: NDArray[np.generic]) -> Key:
    return value.shape, hashlib.sha256(value.dtype.str.encode() + np.ascontiguousarray(value).tobytes()).digest()


def _subtract_onnx(path: Path, index: Mapping[Key, str]) -> bool:
    """Returns: whether a matrix was among what was left out; if not, the file stays as it was."""
    import onnx
    from onnx import numpy_helper

    proto = onnx.load(path)
    names: dict[str, str] = {}
    kept, matrices = [], 0
    for tensor in proto.graph.initializer:
        value = numpy_helper.to_array(tensor)
        if (stands_for := index.get(_key(value))) is None:
            kept.append(tensor)
        else:
            names[tensor.name] = stands_for
            matrices += value.ndim > 1
    if not matrices:
        return False
    for node in proto.graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
    del proto.graph.initializer[:]
    proto.graph.initializer.extend(kept)
    onnx.save(proto, path)
    return True


def _subtract_safetensors(path: Path, index: Mapping[Key, str]) -> None:
    from safetensors.numpy import load_file, save_file

    state = load_file(path)
    whole = {name: named(index.get(_key(value), "")) for name, value in state.items()}
    base = {name: of for name, (of, form) in whole.items() if of and not form}
    save_file({n: v for n, v in state.items() if n not in base}, path, {"base": json.dumps(base)})
