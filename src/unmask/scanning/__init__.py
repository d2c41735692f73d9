"""media + faces + bundle -> Report."""

from __future__ import annotations

from collections.abc import Iterable
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing import BinaryIO

    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from unmask.media import Limits
    from unmask.types import Report

    Source = str | PathLike[str] | bytes | bytearray | memoryview | BinaryIO | NDArray[np.uint8] | Image


def scan(
    sources: Source | Iterable[Source],
    *,
    detector: str = "embedded",
    whole: str = "auto",
    runtime: str = "auto",
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
    out: str | PathLike[str] | None = None,
) -> Report:
    """Scans images and videos for forged faces, and asks whether they were generated as a whole.

    Args:
        sources: a file, a folder (with all below it), a URL if `allow_url`, the bytes of a file, a file opened for
            reading bytes, pixels as uint8 (H, W, 3) in RGB or (H, W) in grey, an image of Pillow's, or several of them.
        detector: "embedded", "clip", the path of a bundle, or "hub:owner/name[@revision]".
            One of whole images (its card says margin 0) is asked alone.
        whole: the detector of whole images that is asked beside that of faces: "auto" = the shipped one, if it is
            installed and `detector` is a shipped one too; "none"; or as `detector`.
        runtime: what runs it: "onnx", "openvino" or "torch" (the latter two with their extras); "auto" = what can.
        faces: the face detector: "embedded", "yunet", or the path of an ONNX file of that layout.
        frames: looked at in a video, evenly spaced in time.
        error_rate: share of real faces that may be called fake, and of forged ones that may be called real.
        whole_image: ask about the whole image alone; with a detector of faces that is an error.
        checks: take a verdict back that turns round under JPEG 70, half size or a mild blur.
        pictures: make thumbnails and heat maps for HTML; they cost 64 more scores for each face.
        jobs: processes for several files; default one for each core, at most 8.
        threads: of the detector in each of them; default: cores / jobs.
        limits: what one file may cost; see `unmask.media.Limits`.
        out: a Parquet table that keeps the answers; what it knows already is not scanned again (and has no images).

    Returns: one FileReport for each file, in the order of `sources`. A file that cannot be read is one in state
        `failed`; where a file shows no face, `face_state` is `not_applicable`. Neither has a score.
    Raises: UnmaskError for a source that does not exist, or a detector or option that cannot be used.
    """
    # Here and not above: `unmask --help` must not wait for NumPy and ONNX Runtime.
    from pydantic import ValidationError

    from unmask.media import Limits
    from unmask.scanning import batch
    from unmask.scanning.listing import Listing
    from unmask.scanning.options import Options, report_of
    from unmask.scanning.sources import InMemory, sorted_out
    from unmask.types import UnmaskError

    for name, value in (("jobs", jobs), ("threads", threads)):
        if value is not None and value < 1:
            raise UnmaskError(f"{name} is {value}; give 1 or more, or leave it out")
    limits = limits or Limits()
    given, listing = sorted_out(sources, limits), Listing()
    wanted: list[str | InMemory] = []
    for source in given:
        wanted += listing.add(source, allow_url=allow_url) if isinstance(source, str) else [source]
    jobs = batch.default_jobs(len(listing.files)) if jobs is None else jobs
    try:
        options = Options(
            detector=detector,
            whole=whole,
            runtime=runtime,
            faces=faces,
            frames=frames,
            error_rate=error_rate,
            whole_image=whole_image,
            checks=checks,
            pictures=pictures,
            allow_url=allow_url,
            threads=threads or max(1, batch.cores() // jobs),
            limits=limits,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise UnmaskError(f"{first['loc'][0]} is {first['input']!r}: {first['msg']}") from None
    scanner = options.ready()
    answers = dict(batch.scan_many(wanted, scanner, options, jobs, Path(out) if out is not None else None))
    found = {"files": tuple(answers[i] for i in sorted(answers)), "passed_over": listing.passed_over()}
    return report_of(scanner).model_copy(update=found)
