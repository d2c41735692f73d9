"""The tensors and nodes of an ONNX file, read and added to without the package `onnx`, which a scan does not have.

Only the fields that hold weights are looked at (onnx.proto: ModelProto.graph = 7; GraphProto.node = 1, initializer = 5;
NodeProto.input = 1, name = 3, op_type = 4; TensorProto.dims = 1, data_type = 2, float_data = 4, int32_data = 5,
name = 8, raw_data = 9).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmask.errors import BundleError

TYPES: dict[int, Any] = {1: np.float32, 2: np.uint8, 3: np.int8, 6: np.int32, 7: np.int64, 10: np.float16}
Field = tuple[int, int | memoryview]  # number, and a varint or the bytes


@dataclass(frozen=True)
class Node:
    name: str
    kind: str
    inputs: tuple[str, ...]


def read(model: bytes) -> tuple[dict[str, NDArray[Any]], list[Node]]:
    """The initialisers by name, and the nodes in their order. Raises: UnmaskError for what is no such file."""
    try:
        graph = next(_bytes(v) for k, v in _fields(memoryview(model)) if k == 7)
        parts = list(_fields(graph))
        tensors = dict(_tensor(_bytes(v)) for k, v in parts if k == 5)
        return tensors, [_node(_bytes(v)) for k, v in parts if k == 1]
    except (StopIteration, IndexError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"this is no ONNX file that can be read: {error}") from error


def inputs(model: bytes) -> set[str]:
    """What the nodes of a graph read, by name. Raises: UnmaskError for what is no such file."""
    try:
        graph = next(_bytes(v) for k, v in _fields(memoryview(model)) if k == 7)
        return {name for k, v in _fields(graph) if k == 1 for name in _node(_bytes(v)).inputs}
    except (StopIteration, IndexError, ValueError, KeyError, TypeError) as error:
        raise BundleError(f"this is no ONNX file that can be read: {error}") from error


def with_initializers(model: bytes, tensors: Mapping[str, NDArray[Any]]) -> bytes:
    """The file with these tensors in its graph: protocol buffers that stand one after the other are one."""
    parts = []
    for name, value in tensors.items():
        kind = next(number for number, of in TYPES.items() if value.dtype == of)
        dims = b"".join(b"\x08" + _encoded(n) for n in value.shape)
        parts.append(
            _field(5, [dims, b"\x10" + _encoded(kind), _field(8, [name.encode()]), _field(9, [value.tobytes()])])
        )
    return model + _field(7, parts)


def _field(number: int, parts: Sequence[bytes]) -> bytes:
    return b"".join([_encoded(number << 3 | 2), _encoded(sum(map(len, parts))), *parts])


def _encoded(value: int) -> bytes:
    """A varint: seven bits a byte, the lowest first."""
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def _tensor(content: memoryview) -> tuple[str, NDArray[Any]]:
    fields = list(_fields(content))
    shape = [d for k, v in fields if k == 1 for d in _integers(v)]
    dtype = TYPES[next(int(v) for k, v in fields if k == 2 and isinstance(v, int))]
    name = next(str(_bytes(v), "utf-8") for k, v in fields if k == 8)
    raw = b"".join(_bytes(v) for k, v in fields if k == 9)
    floats = b"".join(_bytes(v) for k, v in fields if k == 4)
    if raw or floats:
        values = np.frombuffer(raw or floats, dtype)
    else:
        small = np.array([i for k, v in fields if k == 5 for i in _integers(v)], np.uint64)
        values = small.astype(np.int64).astype(dtype)
    return name, values.reshape(shape)


def _node(content: memoryview) -> Node:
    fields = list(_fields(content))
    text = {k: str(_bytes(v), "utf-8") for k, v in fields if k in (3, 4)}
    return Node(text.get(3, ""), text.get(4, ""), tuple(str(_bytes(v), "utf-8") for k, v in fields if k == 1))


def _fields(content: memoryview) -> Iterator[Field]:
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        kind = tag & 7
        if kind == 0:
            value, at = _varint(content, at)
            yield tag >> 3, value
            continue
        if kind == 2:
            size, at = _varint(content, at)
        else:
            size = {1: 8, 5: 4}[kind]
        if at + size > len(content):
            raise ValueError("it ends in the middle of a field")
        yield tag >> 3, content[at : at + size]
        at += size


def _varint(content: memoryview, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = content[at]
        value |= (byte & 127) << shift
        at, shift = at + 1, shift + 7
        if byte < 128:
            return value, at
        if shift > 63:
            raise ValueError("a number of more than 64 bits")


def _integers(value: int | memoryview) -> list[int]:
    """A repeated integer, packed or not."""
    if isinstance(value, int):
        return [value]
    found, at = [], 0
    while at < len(value):
        number, at = _varint(value, at)
        found.append(number)
    return found


def _bytes(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise TypeError("a number where bytes belong")
    return value
