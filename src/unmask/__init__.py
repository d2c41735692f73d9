"""unmask tells real faces and images from forged ones."""

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

from unmask._version import __version__

if TYPE_CHECKING:
    from unmask.bench.evaluate import evaluate
    from unmask.bundles import load
    from unmask.exporting.bundle import export
    from unmask.media import open_media
    from unmask.registry import card, create, names
    from unmask.scanning import scan
    from unmask.train.loop import train as fit

# ONNX Runtime (1.32, on Linux too) writes a device id to ~/.cache/Microsoft and reports to its makers, unless it is
# told not to before it is imported. Nothing of a scan leaves this machine.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__all__ = ["__version__", "card", "create", "evaluate", "export", "fit", "load", "names", "open_media", "scan"]

# Where the verbs live. They are imported when first asked for: `import unmask` and `unmask --help` stay quick.
_VERBS = {
    "card": "unmask.registry:card",
    "create": "unmask.registry:create",
    "evaluate": "unmask.bench.evaluate:evaluate",
    "export": "unmask.exporting.bundle:export",
    "fit": "unmask.train.loop:train",
    "load": "unmask.bundles:load",
    "names": "unmask.registry:names",
    "open_media": "unmask.media:open_media",
    "scan": "unmask.scanning:scan",
}


def __getattr__(name: str) -> Any:
    if name not in _VERBS:
        raise AttributeError(f"module 'unmask' has no attribute {name!r}")
    room, _, verb = _VERBS[name].partition(":")
    return getattr(import_module(room), verb)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
