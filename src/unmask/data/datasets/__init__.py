"""One file for each data set layout: `CARD`, and `rows(root)` that yields its rows and the problems it met.

A layout whose rows are not of media files names their kind as `ROW`.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

from unmask.data.adapter import DataCard, Problem
from unmask.data.manifest import Row
from unmask.errors import UnknownMethodError


class Adapter(Protocol):
    """What a module of this folder offers."""

    CARD: DataCard

    def rows(self, root: Path) -> Iterator[Row | Problem]: ...


def names() -> list[str]:
    """The names of the files; the underscore of `csv_.py`, which keeps it apart from Python's own, is no part of it."""
    return sorted(_modules())


def _modules() -> dict[str, str]:
    return {m.name.removesuffix("_"): m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")}


def adapter(name: str) -> Adapter:
    """Raises: UnmaskError for an unknown name, with the nearest known one."""
    known = name.lower().replace("-", "_")
    if known not in names():
        near = difflib.get_close_matches(known, names(), n=1)
        hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(names())}"
        raise UnknownMethodError(f"no data set layout {name!r}; {hint}")
    module: Adapter = importlib.import_module(f"{__name__}.{_modules()[known]}")
    return module
