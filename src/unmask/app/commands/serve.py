"""`unmask serve`: the HTTP API and the web page."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unmask.app.errors import errors_in_a_line

DETECTOR, ACCESS, STORAGE, LIMITS = "Detector", "Access", "Storage", "Limits for one scan"


def serve(
    host: Annotated[str, typer.Option(help="Address to listen on.", rich_help_panel=ACCESS)] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, rich_help_panel=ACCESS, help="Port to listen on.")] = 8000,
    token_file: Annotated[
        Path | None,
        typer.Option(help="Tokens that grant access, one `name: token` a line.", rich_help_panel=ACCESS),
    ] = None,
    allow_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Host name to answer to; may be repeated.",
            rich_help_panel=ACCESS,
            show_default="any with tokens, else local names",
        ),
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="With --without-token: open to everybody.", rich_help_panel=ACCESS)
    ] = False,
    without_token: Annotated[
        bool, typer.Option("--without-token", help="With --public: open to everybody.", rich_help_panel=ACCESS)
    ] = False,
    rate: Annotated[
        float, typer.Option(min=1, help="Scans that one token may start in a minute.", rich_help_panel=ACCESS)
    ] = 120,
    url: Annotated[
        bool, typer.Option("--url", help="Also download http(s) addresses.", rich_help_panel=ACCESS)
    ] = False,
    webhook_secret_file: Annotated[
        Path | None,
        typer.Option(help="Secret that signs webhooks; without one, none are sent.", rich_help_panel=ACCESS),
    ] = None,
    data: Annotated[
        Path | None,
        typer.Option(
            help="Folder for uploads and reports.", rich_help_panel=STORAGE, show_default="~/.local/state/unmask"
        ),
    ] = None,
    db: Annotated[
        str,
        typer.Option(
            help="postgresql://user@host/name, or sqlite:////path.",
            envvar="UNMASK_DB",  # it may hold a password, which has no place in a list of processes
            rich_help_panel=STORAGE,
            show_default="SQLite in --data",
        ),
    ] = "",
    keep: Annotated[
        str, typer.Option(help="How long uploads are kept: 90s, 30m, 24h, 7d.", rich_help_panel=STORAGE)
    ] = "24h",
    keep_reports: Annotated[str, typer.Option(help="How long reports are kept.", rich_help_panel=STORAGE)] = "90d",
    storage: Annotated[
        int, typer.Option(min=1, help="Bytes of uploads that one token may store.", rich_help_panel=STORAGE)
    ] = 20 << 30,
    queue: Annotated[int, typer.Option(min=1, help="Scans that may wait in the queue.", rich_help_panel=STORAGE)] = 100,
    workers: Annotated[
        int | None, typer.Option(min=1, max=256, help="Scans at once.", show_default="one for each core, at most 8")
    ] = None,
    batch_wait: Annotated[
        float | None,
        typer.Option(
            min=0,
            max=1000,
            help="Batch the crops of all workers in one process; milliseconds to wait for a batch.",
            show_default="no batching",
            rich_help_panel=DETECTOR,
        ),
    ] = None,
    detector: Annotated[
        str,
        typer.Option(
            help="embedded, clip, the path of a bundle, or hub:owner/name@revision.", rich_help_panel=DETECTOR
        ),
    ] = "embedded",
    whole_detector: Annotated[
        str,
        typer.Option(
            help="Detector of whole images: auto (the shipped one beside a shipped one), none, or as --detector.",
            rich_help_panel=DETECTOR,
        ),
    ] = "auto",
    runtime: Annotated[str, typer.Option(help="auto, onnx, openvino or torch.", rich_help_panel=DETECTOR)] = "auto",
    face_detector: Annotated[
        str, typer.Option(help="embedded, yunet, or an ONNX file with YuNet's outputs.", rich_help_panel=DETECTOR)
    ] = "embedded",
    frames: Annotated[
        int, typer.Option(min=1, max=256, help="Frames of a video, evenly spaced in time.", rich_help_panel=DETECTOR)
    ] = 32,
    error_rate: Annotated[
        float,
        typer.Option(
            min=0.001,
            max=0.499,
            help="Accepted rate of false positives, and of false negatives.",
            rich_help_panel=DETECTOR,
        ),
    ] = 0.1,
    max_bytes: Annotated[int, typer.Option(min=1, help="Bytes.", rich_help_panel=LIMITS)] = 512 << 20,
    max_pixels: Annotated[
        int, typer.Option(min=1, help="Pixels of a frame, width x height.", rich_help_panel=LIMITS)
    ] = 50_000_000,
    max_seconds: Annotated[float, typer.Option(min=0.1, help="Seconds of video.", rich_help_panel=LIMITS)] = 1800,
    max_file_seconds: Annotated[float, typer.Option(min=1, help="Seconds in all.", rich_help_panel=LIMITS)] = 300,
    max_memory: Annotated[int, typer.Option(min=1 << 28, help="Bytes of memory.", rich_help_panel=LIMITS)] = 8 << 30,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Log errors only.")] = False,
) -> None:
    """Serve scans over HTTP: an API under /v1 (described by /openapi.json) and a web page at /."""
    with errors_in_a_line():
        from dataclasses import replace

        from unmask.errors import MissingExtraError, UnmaskError
        from unmask.scanning import batch
        from unmask.scanning.options import Options

        try:
            from unmask.app.serve import server, settings
            from unmask.app.serve.guard import refuse_open_door
        except ModuleNotFoundError as error:
            raise MissingExtraError("the service is an extra: pip install 'unmask[serve]'") from error

        workers = workers or batch.default_jobs(batch.cores())
        options = Options(
            detector=detector,
            whole=whole_detector,
            runtime=runtime,
            faces=face_detector,
            frames=frames,
            error_rate=error_rate,
            pictures=True,
            allow_url=url,
            threads=max(1, batch.cores() // workers),
            limits=replace(settings.LIMITS, bytes=max_bytes, pixels=max_pixels, seconds=max_seconds),
            seconds_per_file=max_file_seconds,
        )
        wanted = settings.Settings(
            folder=data or settings.default_folder(),
            options=options,
            host=host,
            port=port,
            db=db,
            tokens=settings.read_tokens(token_file) if token_file else {},
            hosts=frozenset(name.lower() for name in allow_host or ()),
            workers=workers,
            queue=queue,
            rate=rate,
            storage=storage,
            keep=settings.seconds(keep),
            keep_reports=settings.seconds(keep_reports),
            memory=max_memory,
            batch=None if batch_wait is None else batch_wait / 1000,
            secret=settings.read_secret(webhook_secret_file) if webhook_secret_file else b"",
        )
        closed = refuse_open_door(wanted, public=public, without_token=without_token)
        if closed:
            raise UnmaskError(closed)
        server.serve(wanted, quiet=quiet)
