"""Bundles from the Hugging Face Hub: only the card and the files that it lists, all of one revision.

A repository without a card may hold a checkpoint in its authors' layout. An importer makes it into a bundle, once, and
keeps that in the cache. Importers need the extra `train`, and a scan must start without it: so nothing here knows them,
and they name themselves in an entry point of the group `unmask.importers`.

HF_HUB_OFFLINE, HF_HOME, HF_TOKEN and HF_ENDPOINT mean what they mean to huggingface_hub, which does the work.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Sequence
from importlib.metadata import entry_points
from pathlib import Path

from unmask.bundles.bundle import CARD, read_card
from unmask.errors import InputError, MissingExtraError, UnmaskError

IMPORTERS = "unmask.importers"
Importer = Callable[[str, Path], Path]  # owner/name[@revision], the folder of all imported bundles -> the bundle in it


class AbsentError(UnmaskError):
    """The repository is there, and the file is not."""


class UnreachableError(AbsentError):
    """Nobody can say: there is no network, and the file is not in the cache."""


def fetch(name: str) -> Path:
    """`owner/name[@revision]` -> the folder in a cache that holds the bundle.

    A revision is a branch, a tag or a commit; only a commit names the same bundle for ever.

    Raises: UnmaskError for a malformed name, a missing extra, no network and nothing cached, no such repository, or
        one that holds neither a bundle nor a checkpoint of a layout that we can import.
    """
    try:
        card = download(name, CARD)
    except AbsentError as absent:
        try:
            return imported(name)  # without a network too, where that has happened before
        except UnmaskError:
            if isinstance(absent, UnreachableError):
                raise absent from None
            raise
    commit = card.parent.name  # the cache keeps one folder per commit: a branch that moves meanwhile mixes nothing
    for file in read_card(card).files:
        download(at(name, commit), file)
    return card.parent


def imported(name: str) -> Path:
    """A repository in a layout of its authors, as a bundle in the cache. Raises: UnmaskError, see `fetch`."""
    try:
        importer: Importer = next(iter(entry_points(group=IMPORTERS))).load()
    except (StopIteration, ImportError) as error:
        raise MissingExtraError(
            f"hub:{name} holds no bundle. If it is a published checkpoint, it must be imported once where the extra "
            f'`train` is (pip install "unmask[train]"): unmask import gend hub:{name} -o DIR --onnx'
        ) from error
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return importer(name, cache / "unmask" / "imported")


def first_of(name: str, files: Sequence[str]) -> Path:
    """The first of these files that the repository has; its folder is named by the commit.

    Raises: AbsentError when it has none of them; UnmaskError otherwise.
    """
    for file in files:
        try:
            return download(name, file)
        except UnreachableError:
            if file == files[-1]:
                raise
        except AbsentError:
            continue
    raise AbsentError(f"hub:{name} holds no checkpoint that can be imported: none of {', '.join(files)}")


def download(name: str, file: str) -> Path:
    """One file of `owner/name[@revision]`, from the network or the hub's cache.

    Raises: AbsentError where the repository lacks it, UnreachableError where nobody can say; UnmaskError otherwise.
    """
    repository, revision = _parts(name)
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import (
            EntryNotFoundError,
            HfHubHTTPError,
            HFValidationError,
            LocalEntryNotFoundError,
        )
    except ImportError as error:
        raise MissingExtraError('bundles from the hub need an extra: pip install "unmask[hub]"') from error
    try:
        return Path(hf_hub_download(repository, file, revision=revision))
    except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
        reason = str(error).strip().splitlines()[0]
        absent = AbsentError if isinstance(error, EntryNotFoundError) else UnmaskError
        kind = UnreachableError if isinstance(error, LocalEntryNotFoundError) else absent
        raise kind(f"cannot get {file} of hub:{name}, from the network or from the cache: {reason}") from error


def _parts(name: str) -> tuple[str, str | None]:
    match = re.fullmatch(r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?", name, re.ASCII)
    if match is None:
        raise InputError(f"hub:{name} is no bundle's address; write hub:owner/name or hub:owner/name@revision")
    return match["repository"], match["revision"]


def at(name: str, revision: str) -> str:
    """The same repository at this revision."""
    return f"{_parts(name)[0]}@{revision}"
