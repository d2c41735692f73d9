"""unmask detects deepfakes and synthetic images, and trains, measures and compares such detectors."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from unmask._version import __version__
from unmask.errors import (
    BundleError,
    CheckpointError,
    InputError,
    InvalidError,
    ManifestError,
    MediaError,
    MissingExtraError,
    OutputError,
    RecipeError,
    UnknownMethodError,
    UnmaskError,
)

if TYPE_CHECKING:
    from unmask.base.attack import Attack
    from unmask.base.decoder import Decoder
    from unmask.base.detector import Batch, Detector, Output
    from unmask.base.explainer import Explainer
    from unmask.base.generator import Forgery, Generator
    from unmask.base.objective import Objective, Views
    from unmask.bench.evaluate import evaluate
    from unmask.bundles import Scorer, load
    from unmask.data.manifest import Manifest
    from unmask.exporting.bundle import export
    from unmask.media import Limits, open_media
    from unmask.registry import card, create, names
    from unmask.scanning import iter_scan, scan
    from unmask.scanning.options import Options as ScanOptions
    from unmask.tasks.recipe import Recipe
    from unmask.train.loop import train as fit
    from unmask.types import Card, FaceReport, FileReport, Finding, InputSpec, Report

# ONNX Runtime (1.32, on Linux too) writes a device id to ~/.cache/Microsoft and reports to its makers, unless it is
# told not to before it is imported. Nothing of a scan leaves this machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# Where the public names live. They are imported when first asked for: `import unmask` and `unmask --help` stay quick.
_LAZY = {
    # verbs
    "card": "unmask.registry",
    "create": "unmask.registry",
    "evaluate": "unmask.bench.evaluate",
    "export": "unmask.exporting.bundle",
    "fit": "unmask.train.loop:train",
    "iter_scan": "unmask.scanning",
    "load": "unmask.bundles",
    "names": "unmask.registry",
    "open_media": "unmask.media",
    "scan": "unmask.scanning",
    # types
    "Attack": "unmask.base.attack",
    "Batch": "unmask.base.detector",
    "Card": "unmask.types",
    "Decoder": "unmask.base.decoder",
    "Detector": "unmask.base.detector",
    "Explainer": "unmask.base.explainer",
    "FaceReport": "unmask.types",
    "FileReport": "unmask.types",
    "Finding": "unmask.types",
    "Forgery": "unmask.base.generator",
    "Generator": "unmask.base.generator",
    "InputSpec": "unmask.types",
    "Limits": "unmask.media",
    "Manifest": "unmask.data.manifest",
    "Objective": "unmask.base.objective",
    "Output": "unmask.base.detector",
    "Recipe": "unmask.tasks.recipe",
    "Report": "unmask.types",
    "ScanOptions": "unmask.scanning.options:Options",
    "Scorer": "unmask.bundles",
    "Views": "unmask.base.objective",
}

__all__ = [
    "Attack",
    "Batch",
    "BundleError",
    "Card",
    "CheckpointError",
    "Decoder",
    "Detector",
    "Explainer",
    "FaceReport",
    "FileReport",
    "Finding",
    "Forgery",
    "Generator",
    "InputError",
    "InputSpec",
    "InvalidError",
    "Limits",
    "Manifest",
    "ManifestError",
    "MediaError",
    "MissingExtraError",
    "Objective",
    "Output",
    "OutputError",
    "Recipe",
    "RecipeError",
    "Report",
    "ScanOptions",
    "Scorer",
    "UnknownMethodError",
    "UnmaskError",
    "Views",
    "__version__",
    "card",
    "create",
    "evaluate",
    "export",
    "fit",
    "iter_scan",
    "load",
    "names",
    "open_media",
    "scan",
]


def __getattr__(name: str) -> Any:
    if name not in _LAZY:
        raise AttributeError(f"module 'unmask' has no attribute {name!r}")
    module, _, inner = _LAZY[name].partition(":")
    return getattr(import_module(module), inner or name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
