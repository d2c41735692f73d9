"""unmask tells real faces and pictures from forged ones."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from unmask._version import __version__

if TYPE_CHECKING:
    from unmask.bundles import load
    from unmask.media import open_media
    from unmask.scan import scan

__all__ = ["__version__", "load", "open_media", "scan"]

# Where the verbs live. They are imported when first asked for: `import unmask` and `unmask --help` stay quick.
_VERBS = {"load": "unmask.bundles", "open_media": "unmask.media", "scan": "unmask.scan"}


def __getattr__(name: str) -> Any:
    if name not in _VERBS:
        raise AttributeError(f"module 'unmask' has no attribute {name!r}")
    room = import_module(_VERBS[name])
    return room if name == "scan" else getattr(room, name)  # the room scan can be called: it is the verb


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
