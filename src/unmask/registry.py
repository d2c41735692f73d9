"""A method's file name is its name: `detectors/mobilenet.py` is "mobilenet". Nothing is imported until asked for.

`FAMILIES` is the one table of kinds: which package holds the methods of a kind, and which base class they derive from.
Installed packages add methods of their own through an entry point in the group of that package:

    [project.entry-points."unmask.detectors"]
    mine = "my_package.mine"
"""

from __future__ import annotations

import ast
import difflib
import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
import warnings
from collections.abc import Iterable, Mapping, Sequence
from functools import cached_property
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any, Literal, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from unmask.errors import InputError, UnknownMethodError
from unmask.types import Plain


class MethodCard(Plain):
    """What a method's file says of the method in its literal `CARD = {...}`, readable without importing the file."""

    title: str
    paper: str  # the citation, or "none"
    task: str  # what goes in and what comes out, in a few words
    evidence: str = ""  # of a detector: what it looks at, one of `unmask.measure.coverage_matrix.EVIDENCE`
    # Of a detector: the questions of a scan that it can answer. "face": is a face forged? "whole": was the image
    # generated as a whole?
    answers: tuple[Literal["face", "whole"], ...] = ()
    licence: str  # of the code here, and of published weights where there are any
    verified: str  # what was held against the paper or its weights, and what was not
    needs: tuple[str, ...] = ()  # extras of this package that it cannot run without
    # Options of one that a laptop trains in seconds; for tests, and not shown.
    small: dict[str, Any] = Field(default_factory=dict, exclude=True)


class Family:
    """Interchangeable methods, each a file with one public class that derives from the family's base.

    They are the files of a folder, and what installed packages name in entry points of the group `package`.
    """

    def __init__(self, package: str, base: str) -> None:
        """`base` as "unmask.base.detector:Detector": a name and not a class, so that listing methods needs no torch."""
        self.package, self.base = package, base

    def names(self) -> list[str]:
        return sorted(self._modules)

    def create(self, name: str, options: Mapping[str, Any] | None = None) -> Any:
        """Import the file and build its class.

        Args:
            options: of the class's constructor, as a recipe or a card holds them; what is left out is its default.
        Raises: UnmaskError for an unknown name or option, with the nearest known one, and for a value of a wrong type.
        """
        kind = self.kind(name)
        return kind(**checked(name, kind, dict(options or {})))

    def kind(self, name: str) -> type:
        """The one public class of a method's file. Raises: UnmaskError for an unknown name."""
        path = self._module(name)
        base = pkgutil.resolve_name(self.base)
        try:
            module = importlib.import_module(path)
        except ImportError as error:
            if path.startswith(f"{self.package}."):
                raise
            raise UnknownMethodError(f"the method {name!r} of another package cannot be imported: {error}") from error
        found = [c for c in vars(module).values() if isinstance(c, type) and issubclass(c, base) and c is not base]
        own = [c for c in found if c.__module__ == module.__name__ and not c.__name__.startswith("_")]
        if len(own) != 1:
            raise TypeError(f"{module.__name__} must define one public {base.__name__}, it has {len(own)}")
        return own[0]

    def card(self, name: str) -> MethodCard:
        """What the file says of itself; it is parsed, not imported.

        Raises: UnmaskError for an unknown name; TypeError for a file without a literal CARD.
        """
        path = self._file(name)
        for node in ast.parse(path.read_text("utf-8")).body:
            if isinstance(node, ast.Assign) and [ast.unparse(t) for t in node.targets] == ["CARD"]:
                return MethodCard.model_validate(ast.literal_eval(node.value))
        raise TypeError(f"{path} has no literal CARD = {{...}}")

    def sha256(self, name: str) -> str:
        """Of the file: whether a method is still the one that something was trained with."""
        return hashlib.sha256(self._file(name).read_bytes()).hexdigest()

    def _file(self, name: str) -> Path:
        path = self._module(name)
        try:
            spec = importlib.util.find_spec(path)
        except ImportError:
            spec = None
        if spec is None or spec.origin is None:
            raise UnknownMethodError(f"the method {name!r} should be the module {path}, which is not installed")
        return Path(spec.origin)

    @cached_property
    def _modules(self) -> dict[str, str]:
        """Name -> module. A name of ours stays ours: results under it must mean the same everywhere."""
        spec = importlib.util.find_spec(self.package)  # None for a kind that has no method of ours yet
        found = pkgutil.iter_modules(spec.submodule_search_locations if spec else [])
        own = {m.name: f"{self.package}.{m.name}" for m in found if not m.name.startswith("_")}
        others = {e.name: e.module for e in entry_points(group=self.package)}
        for name in sorted(own.keys() & others.keys()):
            warnings.warn(f"{others[name]} is left out: {self.package} has a {name!r} of its own", stacklevel=2)
        return others | own

    def _module(self, name: str) -> str:
        if name not in self._modules:
            raise UnknownMethodError(f"no method {name!r} in {self.package}; {nearest(name, self.names())}")
        return self._modules[name]


FAMILIES: dict[str, Family] = {
    "detector": Family("unmask.detectors", "unmask.base.detector:Detector"),
    "objective": Family("unmask.objectives", "unmask.base.objective:Objective"),
    "attack": Family("unmask.attacks", "unmask.base.attack:Attack"),
    "explainer": Family("unmask.explainers", "unmask.base.explainer:Explainer"),
    "generator": Family("unmask.generators", "unmask.base.generator:Generator"),
    "decoder": Family("unmask.decoders", "unmask.base.decoder:Decoder"),
}


def names(kind: str = "detector") -> list[str]:
    """The methods of a kind. Raises: UnmaskError for an unknown kind."""
    return _family(kind).names()


def card(kind: str, name: str | None = None) -> MethodCard:
    """What a method's file says of itself: `card("attack", "pgd")`; `card("xception")` is a detector's.

    Raises: UnmaskError for an unknown kind or name, with the nearest known one.
    """
    return FAMILIES["detector"].card(kind) if name is None else _family(kind).card(name)


def create(kind: str, name: str | None = None, options: Mapping[str, Any] | None = None) -> Any:
    """Build a method: `create("attack", "pgd", {"steps": 10})`; `create("xception")` is a detector.

    Args:
        options: of the class's constructor; what is left out is its default.
    Raises: UnmaskError for an unknown kind, name or option, with the nearest known one.
    """
    if name is None:
        kind, name = "detector", kind
    return _family(kind).create(name, options)


def named(kind: str, names: Sequence[str], changes: Sequence[str] = ()) -> dict[str, dict[str, Any]]:
    """Methods of a kind and their options, from names and "name.option=value" (values are YAML).

    Raises: UnmaskError for unknown names and options, with the nearest known one.
    """
    import yaml

    found: dict[str, dict[str, Any]] = {name: {} for name in names}
    for change in changes:
        key, equals, text = change.partition("=")
        name, dot, option = key.partition(".")
        if not (equals and dot and option) or name not in found:
            raise InputError(f"{change!r} changes no {kind} of {', '.join(names)}: write name.option=value")
        try:
            found[name][option] = yaml.safe_load(text)
        except yaml.YAMLError:
            raise InputError(f"the value of {change!r} is no YAML: quote it") from None
    for name, options in found.items():
        create(kind, name, options)
    return found


def _family(kind: str) -> Family:
    if kind not in FAMILIES:
        raise UnknownMethodError(f"no kind of method {kind!r}; {nearest(kind, FAMILIES)}")
    return FAMILIES[kind]


def checked(method: str, kind: type, options: dict[str, Any]) -> dict[str, Any]:
    """`options` as the constructor's annotations want them."""
    hints, parameters = get_type_hints(kind.__init__), list(inspect.signature(kind).parameters.values())  # type: ignore[misc]
    known = [p.name for p in parameters]
    for option in options:
        if option not in known:
            raise InputError(f"{method} has no option {option!r}; {nearest(option, known)}")
    fields: dict[str, Any] = {
        p.name: (hints[p.name], ... if p.default is p.empty else p.default) for p in parameters if p.name in options
    }
    form: type[BaseModel] = create_model(method, __config__=ConfigDict(protected_namespaces=()), **fields)
    try:
        valid = form.model_validate(options)
    except ValidationError as error:
        faults = "; ".join(f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors())
        raise InputError(f"{method} cannot be built with these options: {faults}") from error
    return {name: getattr(valid, name) for name in options}


def nearest(wanted: str, known: Iterable[str]) -> str:
    """For the end of a message about an unknown name: the known one that it resembles, or all that there are."""
    names = sorted(known)
    near = difflib.get_close_matches(wanted, names, n=1)
    return f"did you mean {near[0]!r}?" if near else f"there is {', '.join(names) or 'none'}"
