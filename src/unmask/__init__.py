"""unmask tells real faces and pictures from forged ones."""

from ._version import __version__

__all__ = ["__version__"]
