"""What each bench is asked: whose crops, which detectors, where their results go, and the hashes to find again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from unmask.bench.scorers import expect
from unmask.bench.training import ONE_BY_ONE, How
from unmask.data.manifest import Manifest
from unmask.data.pictures import rows_of
from unmask.errors import ManifestError


@dataclass(frozen=True, kw_only=True)
class Options:
    """
    Attributes:
        data: a manifest of faces; of media, where whole images are scored.
        detectors: by the names that the command line has for them, see `unmask.bench.entries`.
        out: folder of tables and scores.
        runs: folder of the trainings; None = `out`.
        expect_data, expect_bundles: hashes that must be found again; empty = whatever is there.
    """

    data: Path
    detectors: tuple[str, ...]
    out: Path
    how: How = ONE_BY_ONE
    runs: Path | None = None
    expect_data: str = ""
    expect_bundles: tuple[str, ...] = ()

    def opened(self, *, media: bool = False) -> tuple[Manifest, pa.Table]:
        """The manifest, and all columns of its rows.

        Args:
            media: it may list media, for detectors that look at whole images.
        Raises: UnmaskError for data of another hash, and for media where faces are needed.
        """
        manifest = Manifest(self.data)
        expect("data", self.expect_data, manifest.digest)
        if manifest.kind != "faces" and not media:
            raise ManifestError(f"{self.data} lists media, not faces: run `unmask data extract` first")
        return manifest, rows_of(manifest)


def expecting(data: str, bundles: Sequence[str]) -> list[str]:
    """The end of the one command that gives a table again, or refuses: words that ask for these hashes."""
    return ["--expect-data", data, *(word for one in bundles for word in ("--expect-bundle", one))]
