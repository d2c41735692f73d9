"""A published GenD checkpoint becomes a bundle: same numbers, our names, a card that says what is not known of it."""

from __future__ import annotations

import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from unmask._version import __version__
from unmask.bundles import hub, write
from unmask.bundles.bundle import CARD
from unmask.bundles.distance import ExportWrapper, save
from unmask.detectors.gend import GenD
from unmask.errors import BundleError
from unmask.exporting.checkpoints import layouts
from unmask.exporting.onnx import to_onnx
from unmask.nn.backbones import fill
from unmask.registry import FAMILIES
from unmask.types import Card, DataTerms

HEADS = {"LinearNorm": "norm", "linear": "linear"}
CONFIG, FILES = "config.json", ("model.safetensors", "model.ckpt")


@dataclass(frozen=True)
class Published:
    """A checkpoint as found: the detector with its weights, and where they came from."""

    detector: GenD
    options: dict[str, Any]
    source: str
    layout: str


def to_bundle(source: str, out: Path, *, onnx: bool = False, head: str | None = None) -> Card:
    """Write the bundle of a published checkpoint; its weights stay as they are, bitwise.

    Args:
        source: a folder or file in the published layout, or "hub:owner/name[@revision]".
        onnx: also write model.onnx, proven against torch on made-up images.
        head: "norm" or "linear", where the checkpoint does not say; "norm", the published one, unless given.
    Raises: UnmaskError for a source of another layout, naming the tensors that do not fit.
    """
    found = published(source, head)
    with tempfile.TemporaryDirectory() as scratch:
        files = {"model.safetensors": Path(scratch) / "model.safetensors"}
        boxed = ExportWrapper(found.detector).eval()
        save(boxed, str(files["model.safetensors"]))
        if onnx:
            files["model.onnx"] = Path(scratch) / "model.onnx"
            side = found.detector.input.size
            crops = np.random.default_rng(0).integers(0, 256, (5, side, side, 3), np.uint8)
            to_onnx(boxed, files["model.onnx"], crops)
        return write(out, card(found), files)


def kept(name: str, folder: Path) -> Path:
    """The bundle of "owner/name[@revision]", made once and kept in `folder`; see `unmask.bundles.hub`.

    Raises: UnmaskError, see `to_bundle` and `fetched`.
    """
    address = hub.at(name, fetched(name).name)
    out = folder / address.replace("/", "--")
    if not (out / CARD).is_file():
        to_bundle(f"hub:{address}", out, onnx=True)
    return out


def published(source: str, head: str | None = None) -> Published:
    """The detector of a published checkpoint, ready to score. Arguments and errors: see `to_bundle`."""
    path = fetched(source.removeprefix("hub:")) if source.startswith("hub:") else Path(source)
    files = [path / name for name in FILES] if path.is_dir() else [path]
    file = next((f for f in files if f.is_file()), None)
    if file is None:
        raise BundleError(f"no GenD checkpoint at {path}: expected a folder with {' or '.join(FILES)}")
    held = layouts.read(file)
    settings = {**_settings(held.get("hyper_parameters")), **_settings(_config(file.parent / CONFIG))}
    encoder, linear = layouts.gend(layouts.weights(held, file))
    options = {"backbone": layouts.backbone_of(encoder), "head": head or HEADS[settings.get("head", "LinearNorm")]}
    detector: GenD = FAMILIES["detector"].create("gend", options)
    fill(detector.encoder.body, encoder, f"the encoder of {file.name}")
    fill(detector.head, linear, f"the head of {file.name}")
    return Published(detector.eval(), options, source, file.name)


def fetched(name: str) -> Path:
    """The folder, named by its commit, that holds the checkpoint of "owner/name[@revision]".

    Its configuration is read first: the weights of another kind of model are not fetched.

    Raises: UnmaskError where there is none of these layouts.
    """
    first = hub.first_of(name, (CONFIG, FILES[1]))
    if first.name == CONFIG:
        if not _config(first).get("model_type"):
            raise BundleError(f"hub:{name} is no GenD: its {CONFIG} names no model_type")
        hub.download(hub.at(name, first.parent.name), FILES[0])
    return first.parent


def card(found: Published) -> Card:
    """What is known of an imported checkpoint, which is little: no calibration, no figures that we measured."""
    return Card(
        name=f"gend-{found.options['backbone']}",
        version=__version__,
        summary="A published GenD or LN-tuned CLIP checkpoint, imported; its authors' weights, not measured here.",
        method="gend",
        options=found.options,
        input=found.detector.input,
        trained_on=("according to its papers: face swaps and re-enactments of FaceForensics++ (c23)",),
        limits=(
            "not calibrated: its logits are no probabilities; fit a calibration on your own validation data first",
            "not measured here: neither its accuracy nor the agreement with the authors' pre-processing",
            "it judges each frame by itself: no lip movement, no sound, no flicker",
        ),
        misuse=("as the only ground for a decision about a person: accusation, moderation without review, evidence",),
        data=(
            DataTerms(name="FaceForensics++", use="training, by its authors", terms="FaceForensics++, research use"),
            DataTerms(name="the backbone's images", use="pre-training, by its makers", terms="see the backbone's card"),
        ),
        licence="the authors' weights: MIT according to their page; the backbone's own licence holds too",
        recipe={"imported": found.source, "layout": found.layout},
        files={},
    )


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        return {}
    try:
        config = json.loads(path.read_bytes())
    except ValueError as error:
        raise BundleError(f"{path} is no JSON: {error}") from error
    if not isinstance(config, dict):
        raise BundleError(f"{path} holds no settings but a {type(config).__name__}")
    if config.get("model_type", "GenD") != "GenD":
        raise BundleError(f"{path} is of a {config['model_type']!r}, not of a GenD")
    return config


def _settings(held: Any) -> dict[str, str]:
    """The head's name, if the checkpoint says it. Raises: UnmaskError for a head that we do not have."""
    head = held.get("head") if isinstance(held, dict) else None
    if head is None:
        return {}
    if head not in HEADS:
        raise BundleError(f"the checkpoint has the head {head!r}; known are {', '.join(HEADS)}")
    return {"head": head}
