"""media + faces + bundle -> Report."""

from __future__ import annotations

import os
from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from unmask.media import Limits
    from unmask.types import Report

Source = str | PathLike[str]


def scan(
    sources: Source | bytes | Iterable[Source],
    *,
    detector: str = "embedded",
    runtime: str = "onnx",
    faces: str = "embedded",
    frames: int = 32,
    error_rate: float = 0.1,
    whole_image: bool = False,
    checks: bool = True,
    pictures: bool = True,
    jobs: int | None = None,
    threads: int | None = None,
    allow_url: bool = False,
    limits: Limits | None = None,
    out: Source | None = None,
) -> Report:
    """Scans pictures and clips for forged faces.

    Args:
        sources: a file, a folder (with all below it), the bytes of a file, a URL if `allow_url`, or several of them.
        detector: "embedded", the path of a bundle, or "hub:owner/name[@revision]".
        runtime: what runs it: "onnx", "openvino" or "torch" (the latter two with their extras).
        faces: the face detector: "embedded", "yunet", or the path of an ONNX file of that layout.
        frames: looked at in a clip, evenly spaced in time.
        error_rate: share of real faces that may be called fake, and of forged ones that may be called real.
        whole_image: insist on a detector that looks at the whole picture.
        checks: take a verdict back that turns round under JPEG 70, half size or a mild blur.
        pictures: make thumbnails and heat maps for HTML; they cost 64 more scores for each face.
        jobs: processes for several files; default one for each core, at most 8.
        threads: of the detector in each of them; default: cores / jobs.
        limits: what one file may cost; see `unmask.media.Limits`.
        out: a Parquet table that keeps the answers; what it knows already is not scanned again (and has no pictures).

    Returns: one FileReport for each file, in the order of `sources`. A file that cannot be read is one in state
        `failed`, a file without a face one that is `not_applicable`; neither has a score.
    Raises: UnmaskError for a source that does not exist, or a detector or option that cannot be used.
    """
    # Here and not above: `unmask --help` must not wait for NumPy and ONNX Runtime.
    from unmask.media import Limits
    from unmask.scanning import batch
    from unmask.scanning.options import Options, report_of

    several = [sources] if isinstance(sources, (str, PathLike)) else [] if isinstance(sources, bytes) else list(sources)
    paths = batch.expand([os.fspath(source) for source in several], allow_url=allow_url)
    jobs = batch.default_jobs(len(paths)) if jobs is None else jobs
    options = Options(
        detector=detector,
        runtime=runtime,
        faces=faces,
        frames=frames,
        error_rate=error_rate,
        whole_image=whole_image,
        checks=checks,
        pictures=pictures,
        allow_url=allow_url,
        threads=threads or max(1, batch.cores() // jobs),
        limits=limits or Limits(),
    )
    scanner = options.ready()
    if isinstance(sources, bytes):
        answers = {0: scanner.scan(sources)}
    else:
        answers = dict(batch.scan_many(paths, scanner, options, jobs, Path(out) if out else None))
    files = tuple(answers[i] for i in sorted(answers))
    return report_of(scanner).model_copy(update={"files": files})
