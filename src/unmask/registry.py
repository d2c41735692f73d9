"""A method's file name is its name: `detectors/mobilenet.py` is "mobilenet". Nothing is imported until asked for."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from typing import Any

from unmask.nouns import UnmaskError


class Family:
    """A folder of interchangeable methods, each a file with one public class that derives from the family's base."""

    def __init__(self, package: str, base: str) -> None:
        """`base` as "unmask.bases:Detector": a name and not a class, so that listing methods needs no torch."""
        self.package, self.base = package, base

    def names(self) -> list[str]:
        folder = importlib.import_module(self.package).__path__
        return sorted(m.name for m in pkgutil.iter_modules(folder) if not m.name.startswith("_"))

    def create(self, name: str) -> Any:
        """Import the file and build its class with its default options.

        Raises: UnmaskError for an unknown name, with the nearest known one.
        """
        if name not in self.names():
            near = difflib.get_close_matches(name, self.names(), n=1)
            hint = f"did you mean {near[0]!r}?" if near else f"there is {', '.join(self.names())}"
            raise UnmaskError(f"no method {name!r} in {self.package}; {hint}")
        base, module = pkgutil.resolve_name(self.base), importlib.import_module(f"{self.package}.{name}")
        found = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, base) and c is not base]
        own = [c for c in found if c.__module__ == module.__name__ and not c.__name__.startswith("_")]
        if len(own) != 1:
            raise TypeError(f"{module.__name__} must define one public {base.__name__}, it has {len(own)}")
        return own[0]()
