"""media + faces + bundle -> Report."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from os import PathLike
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import BinaryIO

    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from unmask.media import Limits
    from unmask.scanning.listing import Listing
    from unmask.scanning.options import Options
    from unmask.scanning.pipeline import Scanner
    from unmask.types import FileReport, Report

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
        pictures: make thumbnails for HTML, and heat maps where they were measured to point at forgeries; one costs 64
            more scores for each face.
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
    from unmask.scanning.options import Options, report_of
    from unmask.scanning.shift import watched
    from unmask.types import UnmaskError

    threads_asked: dict[str, Any] = {} if threads is None else {"threads": threads}
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
            limits=limits or Limits(),
            **threads_asked,
        )
    except ValidationError as error:
        first = error.errors()[0]
        raise UnmaskError(f"{first['loc'][0]} is {first['input']!r}: {first['msg']}") from None
    scanner, listing, answers = _started(sources, options, jobs, out)
    by_position = dict(answers)
    files = tuple(by_position[i] for i in sorted(by_position))
    found = {"files": files, "passed_over": listing.passed_over(), "shift": watched(files)}
    return report_of(scanner).model_copy(update=found)


def iter_scan(
    sources: Source | Iterable[Source],
    options: Options | None = None,
    *,
    jobs: int | None = None,
    out: str | PathLike[str] | None = None,
) -> Iterator[FileReport]:
    """Scans as `scan` does and yields each file's report as soon as it is finished, in no order.

    Closing the iterator ends the scan at once; what `out` holds by then is kept.

    Args:
        sources, jobs, out: as for `scan`.
        options: an `unmask.ScanOptions`; None = its defaults.

    Raises: UnmaskError as `scan` does, at the call and not at the first file.
    """
    from unmask.scanning.options import Options

    _, _, answers = _started(sources, options or Options(), jobs, out)
    return (report for _, report in answers)


def _started(
    sources: Source | Iterable[Source], options: Options, jobs: int | None, out: str | PathLike[str] | None
) -> tuple[Scanner, Listing, Iterator[tuple[int, FileReport]]]:
    """The scanner, what was found under `sources`, and (position, report) as they are finished."""
    from unmask.scanning import batch
    from unmask.scanning.listing import Listing
    from unmask.scanning.sources import InMemory, sorted_out
    from unmask.types import UnmaskError

    if jobs is not None and jobs < 1:
        raise UnmaskError(f"jobs is {jobs}; give 1 or more, or leave it out")
    listing = Listing()
    wanted: list[str | InMemory] = []
    for source in sorted_out(sources, options.limits):
        wanted += listing.add(source, allow_url=options.allow_url) if isinstance(source, str) else [source]
    jobs = batch.default_jobs(len(listing.files)) if jobs is None else jobs
    if "threads" not in options.model_fields_set:
        options = options.model_copy(update={"threads": max(1, batch.cores() // jobs)})
    scanner = options.ready()
    return scanner, listing, batch.scan_many(wanted, scanner, options, jobs, Path(out) if out is not None else None)
