"""`unmask scan`: verdicts on images and videos."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from unmask.app.errors import errors_in_a_line
from unmask.app.options import Address, On, Where

DETECTION, OUTPUT, SPEED, LIMITS = "Detector", "Results", "Speed", "Limits for one file"
EXIT_CODES = (
    "Exit codes: 0 all files were scanned, 1 a file is in a state of --fail-on, 2 wrong usage or a missing file, "
    "3 a file could not be read, 70 a bug in unmask, 130 interrupted."
)


class FailOn(StrEnum):
    """States that can make a scan exit with 1."""

    fake = "fake"
    uncertain = "uncertain"
    not_applicable = "not_applicable"
    failed = "failed"


def scan(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH...", help="Images, videos, folders (searched recursively).", show_default=False),
    ] = None,
    detector: Annotated[
        str,
        typer.Option(
            help="embedded, clip, the path of a bundle, or hub:owner/name@revision. Several, separated by commas, "
            "stand side by side; the verdict is the first one's.",
            rich_help_panel=DETECTION,
        ),
    ] = "embedded",
    fusion: Annotated[
        str,
        typer.Option(
            help="File of `unmask eval fuse` that makes one number of these detectors.",
            rich_help_panel=DETECTION,
            show_default=False,
        ),
    ] = "",
    whole_detector: Annotated[
        str,
        typer.Option(
            help="Detector of whole images, asked beside that of faces: auto (the shipped one beside a shipped one), "
            "none, or as --detector.",
            rich_help_panel=DETECTION,
        ),
    ] = "auto",
    runtime: Annotated[
        str,
        typer.Option(
            help="Runtime: auto (the first that can run it), onnx, openvino or torch (these two need their extras).",
            rich_help_panel=DETECTION,
        ),
    ] = "auto",
    face_detector: Annotated[
        str,
        typer.Option(help="embedded, yunet, or an ONNX file with YuNet's outputs.", rich_help_panel=DETECTION),
    ] = "embedded",
    frames: Annotated[
        int,
        typer.Option(min=1, max=10_000, help="Frames of a video, evenly spaced in time.", rich_help_panel=DETECTION),
    ] = 32,
    error_rate: Annotated[
        float,
        typer.Option(
            min=0.001,
            max=0.499,
            help="Accepted rate of false positives, and of false negatives.",
            rich_help_panel=DETECTION,
        ),
    ] = 0.1,
    whole_image: Annotated[
        bool,
        typer.Option("--whole-image", help="Ask about whole images alone, not about faces.", rich_help_panel=DETECTION),
    ] = False,
    no_checks: Annotated[
        bool,
        typer.Option(
            "--no-checks", help="Do not test the verdict under JPEG 70, half size and blur.", rich_help_panel=DETECTION
        ),
    ] = False,
    json: Annotated[
        str | None,
        typer.Option(metavar="FILE|-", help="Write the report as JSON; - for standard output.", rich_help_panel=OUTPUT),
    ] = None,
    html: Annotated[
        Path | None, typer.Option(help="Write the report as one HTML file.", rich_help_panel=OUTPUT)
    ] = None,
    out: Annotated[
        Path | None,
        typer.Option(
            help="Store results in a Parquet table; files in it are not scanned again.", rich_help_panel=OUTPUT
        ),
    ] = None,
    fail_on: Annotated[
        list[FailOn] | None,
        typer.Option(
            help="Exit with 1 if a file is in this state; may be repeated.", rich_help_panel=OUTPUT, show_default=False
        ),
    ] = None,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="No progress bar, no table.", rich_help_panel=OUTPUT)
    ] = False,
    jobs: Annotated[
        int | None,
        typer.Option(
            min=1, max=1024, help="Files at once.", rich_help_panel=SPEED, show_default="one for each core, at most 8"
        ),
    ] = None,
    threads: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1024,
            help="Detector threads for each file.",
            rich_help_panel=SPEED,
            show_default="cores / jobs",
        ),
    ] = None,
    on: Where = On.local,
    address: Address = None,
    url: Annotated[bool, typer.Option("--url", help="Also download http(s) addresses.")] = False,
    camera: Annotated[
        int | None, typer.Option(min=0, help="Record from camera N and scan it.", show_default=False)
    ] = None,
    camera_seconds: Annotated[float, typer.Option(min=0.1, max=60, help="Seconds to record.")] = 5.0,
    max_bytes: Annotated[
        int | None, typer.Option(min=1, help="Bytes.", rich_help_panel=LIMITS, show_default="4 GiB")
    ] = None,
    max_pixels: Annotated[
        int | None,
        typer.Option(
            min=1, help="Pixels of a frame, width x height.", rich_help_panel=LIMITS, show_default="80 million"
        ),
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds of video.", rich_help_panel=LIMITS, show_default="4 hours")
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Frames of a video.", rich_help_panel=LIMITS, show_default="1 million")
    ] = None,
    max_decode_seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Seconds to decode.", rich_help_panel=LIMITS, show_default="120")
    ] = None,
    max_file_seconds: Annotated[float, typer.Option(min=1, help="Seconds in all.", rich_help_panel=LIMITS)] = 900,
) -> None:
    """Detect forged faces, and pictures generated as a whole, in images and videos.

    Each file gets a verdict, its reasons and, where a detector can answer, a calibrated probability with an interval.
    """
    with errors_in_a_line():
        from unmask.app.progress import listed as listed_names
        from unmask.app.scanning import Wanted, run, run_on_ray
        from unmask.media import Limits
        from unmask.scanning import batch
        from unmask.scanning.listing import listed
        from unmask.scanning.options import Options

        listing = listed(paths or [], allow_url=url)
        files = listing.files
        if not files and camera is None:
            raise typer.BadParameter("name a file, a folder or a --camera", param_hint="PATH")
        workers, jobs = jobs, jobs or batch.default_jobs(len(files))
        limits = Limits(
            bytes=max_bytes or Limits.bytes,
            pixels=max_pixels or Limits.pixels,
            seconds=max_seconds or Limits.seconds,
            frames=max_frames or Limits.frames,
            decode_seconds=max_decode_seconds or Limits.decode_seconds,
        )
        first, *also = [detector] if Path(detector).exists() else listed_names(detector)
        if fusion and not also:
            raise typer.BadParameter("a fusion is of several: --detector A,B", param_hint="--fusion")
        options = Options(
            detector=first,
            also=tuple(also),
            fusion=fusion,
            whole=whole_detector,
            runtime=runtime,
            faces=face_detector,
            frames=frames,
            error_rate=error_rate,
            whole_image=whole_image,
            checks=not no_checks,
            pictures=html is not None,
            allow_url=url,
            threads=threads or (1 if on is On.ray else max(1, batch.cores() // jobs)),
            limits=limits,
            seconds_per_file=max_file_seconds,
        )
        wanted = Wanted(json=json, html=html, out=out, quiet=quiet, passed_over=listing.passed_over())
        recorded = (camera, camera_seconds) if camera is not None else None
        if on is On.ray:
            states = run_on_ray(files, options, workers, wanted, address, recorded)
        else:
            states = run(files, options, jobs, wanted, recorded)
    if any(state.value in states for state in fail_on or ()):
        raise typer.Exit(1)
    raise typer.Exit(3 if "failed" in states else 0)
