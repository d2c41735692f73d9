"""Published weights of detectors, in their authors' layouts, become bundles: same numbers, our names."""

from __future__ import annotations

import importlib
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from unmask._version import __version__
from unmask.base.detector import Detector
from unmask.bundles import write
from unmask.bundles.distance import ExportWrapper, save
from unmask.errors import BundleError, MissingExtraError, UnknownMethodError
from unmask.exporting.checkpoints import deepfakebench, fsfm, genconvit, layouts, ucf, videos
from unmask.nn.backbones import fill
from unmask.registry import FAMILIES, create
from unmask.types import Card

State = dict[str, Tensor]


def to_bundle(method: str, source: Path, out: Path) -> Card:
    """Write the bundle of a published checkpoint; it has no calibration.

    Args:
        method: a name in `LAYOUTS` or `WITH_OPTIONS`.
    Raises: UnmaskError for another method, and for a file whose tensors do not fit; they are named.
    """
    detector, options = _made(method, source)
    with tempfile.TemporaryDirectory() as scratch:
        weights = Path(scratch) / "model.safetensors"
        save(ExportWrapper(detector), str(weights))
        card = Card(
            name=f"{method}-imported",
            version=__version__,
            summary=f"Published weights of {FAMILIES['detector'].card(method).title}, imported; not measured here.",
            method=method,
            options=options,
            input=detector.input,
            limits=("not calibrated: its logits are no probabilities", "its accuracy was not measured here"),
            misuse=(
                "as the only ground for a decision about a person: accusation, moderation without review, evidence",
            ),
            licence="the authors' weights: see their page",
            recipe={"imported": source.name},
            files={},
        )
        return write(out, card, {"model.safetensors": weights})


def published(method: str, source: Path) -> Detector:
    """The detector with its authors' weights, ready to score. Raises: see `to_bundle`."""
    return _made(method, source)[0]


def _made(method: str, source: Path) -> tuple[Detector, dict[str, Any]]:
    """The detector, and the options it was built with."""
    if method in WITH_OPTIONS:
        options, state = WITH_OPTIONS[method](source)
        detector: Detector = create("detector", method, options)
    elif method in LAYOUTS:
        options = OPTIONS.get(method, {})
        detector = create("detector", method, options)
        state = LAYOUTS[method](detector, source)
    else:
        known = ", ".join(sorted([*LAYOUTS, *WITH_OPTIONS]))
        raise UnknownMethodError(f"no published layout of {method!r} is known; there is {known}")
    fill(detector, state, str(source))
    return detector.eval(), options


def _npr(detector: Detector, source: Path) -> State:
    """`NPR.pth`: a bare table, or one under "model"; one logit, that of fake."""
    state = layouts.weights(layouts.read(source), source)
    state = {k.removeprefix("module."): v for k, v in state.items()}
    ours = {f"body.{k}": v for k, v in state.items() if not k.startswith("fc1.")}
    for part in ("weight", "bias"):
        if f"fc1.{part}" in state:
            fake = state[f"fc1.{part}"]
            ours[f"head.{part}"] = torch.cat([torch.zeros_like(fake), fake])
    return ours


def _meso(detector: Detector, source: Path) -> State:
    """The authors' Keras file: layers by their numbers, kernels (h, w, in, out), dense weights on (h, w, channel).

    Their one output is P(real): its logit becomes ours of class 0, and that of class 1 is 0.
    """
    convs, norms, dense = _keras(source)
    stages = [m for m in detector.modules() if isinstance(m, torch.nn.Conv2d)]
    batch_norms = [m for m in detector.modules() if isinstance(m, torch.nn.BatchNorm2d)]
    if (len(convs), len(norms), len(dense)) != (len(stages), len(batch_norms), 2):
        raise BundleError(
            f"{source} has {len(convs)} convolutions, {len(norms)} norms and {len(dense)} dense layers, "
            f"not {len(stages)}, {len(batch_norms)} and 2"
        )
    names, ours = {m: n for n, m in detector.named_modules()}, State()
    for module, held in zip(stages, convs, strict=True):
        ours[f"{names[module]}.weight"] = held["kernel"].permute(3, 2, 0, 1)
        ours[f"{names[module]}.bias"] = held["bias"]
    for norm, held in zip(batch_norms, norms, strict=True):
        pairs = {"weight": "gamma", "bias": "beta", "running_mean": "moving_mean", "running_var": "moving_variance"}
        ours |= {f"{names[norm]}.{mine}": held[theirs] for mine, theirs in pairs.items()}
        ours[f"{names[norm]}.num_batches_tracked"] = torch.tensor(0)
    hidden, real = dense
    side = round((len(hidden["kernel"]) / 16) ** 0.5)
    ours["head.hidden.weight"] = hidden["kernel"].view(side, side, 16, -1).permute(3, 2, 0, 1).flatten(1)
    ours["head.hidden.bias"] = hidden["bias"]
    ours["head.out.weight"] = torch.cat([real["kernel"].T, torch.zeros_like(real["kernel"].T)])
    ours["head.out.bias"] = torch.cat([real["bias"], torch.zeros_like(real["bias"])])
    return ours


def _keras(source: Path) -> tuple[list[State], list[State], list[State]]:
    """Convolutions, batch norms and dense layers of a Keras weight file, each kind in the order of its numbers."""
    try:
        h5py: Any = importlib.import_module("h5py")
    except ImportError as error:
        raise MissingExtraError("reading Keras' weights needs h5py: pip install h5py") from error
    kinds: dict[str, dict[int, State]] = {"conv2d": {}, "batch_normalization": {}, "dense": {}}
    try:
        with h5py.File(source, "r") as file:
            for layer, group in file.items():
                kind, _, number = layer.rpartition("_")
                if kind in kinds and number.isdecimal():
                    tensors = group[layer]
                    kinds[kind][int(number)] = {k.split(":")[0]: torch.from_numpy(v[()]) for k, v in tensors.items()}
    except (OSError, KeyError, TypeError, AttributeError) as error:
        raise BundleError(f"cannot read {source} as Keras' weights: {error}") from error
    convs, norms, dense = ([held[n] for n in sorted(held)] for held in kinds.values())
    return convs, norms, dense


LAYOUTS: dict[str, Callable[[Detector, Path], State]] = {
    "meso4": _meso,
    "meso_inception4": _meso,
    "npr": _npr,
    "xception": deepfakebench.xception,
    "efficientnet_b4": deepfakebench.efficientnet_b4,
    "effort": deepfakebench.effort,
    "i3d": videos.read(videos.i3d),
    "altfreezing": videos.read(videos.i3d),
    "ftcn": videos.read(videos.ftcn),
    "tall": videos.read(videos.tall),
    "stil": videos.read(videos.stil),
    "timesformer": videos.read(videos.transformer),
    "videomae": videos.read(videos.transformer),
    "xclip": videos.read(videos.transformer),
    "sbi": deepfakebench.sbi,
}
# What a published layout needs the method's class to be built with ...
OPTIONS: dict[str, dict[str, Any]] = {
    "efficientnet_b4": {"network": "efficientnet-b4-static"},
    "videomae": {"half": True},
    "xclip": {"frames": 32, "half": True},
    "sbi": {"network": "efficientnet-b4-sbi"},
}
# ... and files that decide it themselves.
WITH_OPTIONS: dict[str, Callable[[Path], tuple[dict[str, Any], State]]] = {
    "fsfm": fsfm.layout,
    "genconvit": genconvit.layout,
    "ucf": ucf.layout,
}
