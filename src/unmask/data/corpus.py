"""The words of a manifest as a corpus."""

from __future__ import annotations

from collections.abc import Iterator

from unmask.data.manifest import Manifest
from unmask.errors import ManifestError


def corpus(manifest: Manifest, split: str = "train") -> Iterator[str]:
    """Every caption, or every sentence and its partners, of a split, in the order of rows.

    Raises: UnmaskError for a manifest without any.
    """
    columns = ("text", "other", "negative") if manifest.kind == "sentences" else ("caption",)
    count = 0
    if set(columns) <= set(manifest.arrow_schema.names):
        for batch in manifest.tables(("split", *columns)):
            for part, *said in zip(*(batch[c].to_pylist() for c in ("split", *columns)), strict=True):
                for words in said if part == split else ():
                    for text in [words] if isinstance(words, str) else words or ():
                        count += bool(text)
                        yield from [text] if text else []
    if not count:
        raise ManifestError(
            f"no row of {manifest.path} in split {split!r} has words: derive splits with `unmask data split`"
        )
