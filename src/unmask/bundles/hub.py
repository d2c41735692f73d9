"""Bundles from the Hugging Face Hub: only the card and the files that it lists, all of one revision.

HF_HUB_OFFLINE, HF_HOME, HF_TOKEN and HF_ENDPOINT mean what they mean to huggingface_hub, which does the work.
"""

from __future__ import annotations

import re
from pathlib import Path

from unmask.bundles.bundle import CARD, read_card
from unmask.nouns import UnmaskError


def fetch(name: str) -> Path:
    """`owner/name[@revision]` -> the folder in the hub's cache that holds the bundle.

    A revision is a branch, a tag or a commit; only a commit names the same bundle for ever.

    Raises: UnmaskError for a malformed name, a missing extra, no network and nothing cached, no such repository.
    """
    match = re.fullmatch(r"(?P<repository>[\w.-]+/[\w.-]+)(@(?P<revision>[\w./-]+))?", name, re.ASCII)
    if match is None:
        raise UnmaskError(f"hub:{name} is no bundle's address; write hub:owner/name or hub:owner/name@revision")
    try:
        from huggingface_hub import hf_hub_download
        from huggingface_hub.errors import HfHubHTTPError, HFValidationError
    except ImportError as error:
        raise UnmaskError('bundles from the hub need an extra: pip install "unmask[hub]"') from error

    def get(file: str, revision: str | None) -> Path:
        try:
            return Path(hf_hub_download(match["repository"], file, revision=revision))
        except (OSError, ValueError, HfHubHTTPError, HFValidationError) as error:
            reason = str(error).strip().splitlines()[0]
            raise UnmaskError(
                f"cannot get {file} of hub:{name}, from the network or from the cache: {reason}"
            ) from error

    card = get(CARD, match["revision"])
    commit = card.parent.name  # the cache keeps one folder per commit: a branch that moves meanwhile mixes nothing
    for file in read_card(card).files:
        get(file, commit)
    return card.parent
