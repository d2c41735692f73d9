"""A face or image encoder in a box: its card, one ONNX file, and unit vectors that may be compared.

FOLDER/card.json     what it takes, what licence it has, which other encoders' embeddings are comparable with its own
FOLDER/model.onnx    "image", float32 (N, 3, size, size), -> (N, D)

An ONNX file alone is read too: then its preparation is what its makers say, given as an `EmbeddingCard`.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Literal

import numpy as np
import onnxruntime
from pydantic import Field, ValidationError

from unmask.errors import BundleError, InputError
from unmask.types import Floats, InputSpec, Pixels, Plain

CARD, MODEL = "card.json", "model.onnx"
CHUNK = 16
ARCFACE = InputSpec(size=112, margin=1.0, template="arcface5", mean=(0.5, 0.5, 0.5), std=(128 / 255,) * 3)


class EmbeddingCard(Plain):
    """What is known of an encoder.

    `mean`, `std`: of pixels in 0..1, applied before the network; 0 and 1 where the network owns its normalisation.
    `comparable`: sha256 of other encoders whose embeddings lie in the same space (harmonic embeddings): a gallery that
        one of them made can still be read.
    """

    format: Literal["unmask.embedding/1"] = "unmask.embedding/1"
    name: str
    version: str
    input: InputSpec
    mean: tuple[float, float, float] = (0.0, 0.0, 0.0)
    std: tuple[float, float, float] = (1.0, 1.0, 1.0)
    dim: int = Field(ge=1)
    method: str = ""
    licence: str
    trained_on: tuple[str, ...] = ()
    comparable: tuple[str, ...] = ()
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$", description="of model.onnx")


class Embedder:
    """An encoder ready to embed. Threads may share it.

    Attributes:
        card: what is known of it; `card.sha256` is the version of its embeddings.
    """

    def __init__(self, card: EmbeddingCard, model: bytes, threads: int = 1) -> None:
        """Raises: UnmaskError for content that is not the card's, and a file that is no ONNX encoder."""
        if hashlib.sha256(model).hexdigest() != card.sha256:
            raise BundleError(f"the encoder {card.name} is not the file that its card names: get it anew")
        self.card = card
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads, options.inter_op_num_threads, options.log_severity_level = threads, 1, 3
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # ONNX Runtime's own errors share no base class
            raise BundleError(f"the encoder {card.name} is not a readable ONNX file: {error}") from error
        (taken, *more), (self._output, *_) = self._session.get_inputs(), [o.name for o in self._session.get_outputs()]
        side = card.input.size
        if more or list(taken.shape[1:]) != [3, side, side]:
            raise BundleError(f"the encoder {card.name} takes {taken.shape}, and its card says (N, 3, {side}, {side})")
        self._input, self._fixed = taken.name, isinstance(taken.shape[0], int)
        self._batch: int = taken.shape[0] if self._fixed else CHUNK  # some files take one image at a time

    def __call__(self, crops: Pixels) -> Floats:
        """uint8 (N, size, size, 3) RGB -> float32 (N, dim), rows of length 1.

        Raises: UnmaskError for crops of another kind, and embeddings that are not finite or of another length.
        """
        side = self.card.input.size
        if crops.dtype != np.uint8 or crops.ndim != 4 or crops.shape[1:] != (side, side, 3):
            raise InputError(f"{self.card.name} embeds crops of uint8 (N, {side}, {side}, 3), not {crops.shape}")
        parts = [self._embedded(crops[i : i + self._batch]) for i in range(0, len(crops), self._batch)]
        z = np.concatenate([np.zeros((0, self.card.dim), np.float32), *parts])
        if z.shape[1] != self.card.dim or not np.isfinite(z).all():
            raise BundleError(f"the encoder {self.card.name} gives no finite embeddings of length {self.card.dim}")
        return np.asarray(z / np.maximum(np.linalg.norm(z, axis=1, keepdims=True), 1e-12), np.float32)

    def _embedded(self, crops: Pixels) -> Floats:
        mean, std = (np.asarray(v, np.float32) for v in (self.card.mean, self.card.std))
        image = (crops.astype(np.float32) / np.float32(255) - mean) / std
        missing = self._batch - len(crops) if self._fixed else 0
        image = np.pad(image, ((0, missing), (0, 0), (0, 0), (0, 0)))
        found = self._session.run([self._output], {self._input: np.ascontiguousarray(image.transpose(0, 3, 1, 2))})[0]
        return np.asarray(found.reshape(len(image), -1)[: len(crops)], np.float32)


def read_embedder(path: Path, bare: InputSpec = ARCFACE, threads: int = 1) -> Embedder:
    """
    Args:
        path: the folder of an embedding bundle, or an ONNX file.
        bare: of an ONNX file: the crop, and the mean and deviation of pixels in 0..1 that it takes.
    Raises: UnmaskError that names the file and the fault.
    """
    model = path / MODEL if path.is_dir() else path
    try:
        content = model.read_bytes()
        text = (path / CARD).read_bytes() if path.is_dir() else b""
    except OSError as error:
        raise BundleError(f"no encoder at {path}: {Path(error.filename or path).name}: {error.strerror}") from error
    if not path.is_dir():
        return Embedder(_bare(path.stem, content, bare), content, threads)
    try:
        return Embedder(EmbeddingCard.model_validate_json(text), content, threads)
    except ValidationError as error:
        first = error.errors()[0]
        raise BundleError(f"{path / CARD} is no card of an encoder: {first['loc']}: {first['msg']}") from error


def _bare(name: str, content: bytes, spec: InputSpec) -> EmbeddingCard:
    """The card of an ONNX file that has none; sides and lengths are the file's own."""
    try:
        session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise BundleError(f"{name} is not a readable ONNX file: {error}") from error
    side, dim = session.get_inputs()[0].shape[-1], session.get_outputs()[0].shape[-1]
    if not isinstance(side, int) or not isinstance(dim, int):
        raise BundleError(f"{name} does not say its side and length ({side}, {dim}): write a card.json beside it")
    return EmbeddingCard(
        name=name,
        version="",
        input=spec.model_copy(update={"size": side}),
        mean=spec.mean,
        std=spec.std,
        dim=dim,
        licence="not stated: there is no card",
        sha256=hashlib.sha256(content).hexdigest(),
    )
